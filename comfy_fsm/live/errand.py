"""One errand of the command: open a client, follow its tasks to their end, save their files, and close in order.

What is shown of it is the business of the screen that it is given.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from comfy_fsm.errors import ClientError, ComfyFsmError
from comfy_fsm.live.client import Client
from comfy_fsm.live.tasks import TaskHandle
from comfy_fsm.live.updates import Update

COMPLETED, NOT_COMPLETED, BY_SIGNAL = 0, 1, 128


class Screen(Protocol):
    """Where an errand is watched."""

    def begin(self, name: str, state: str) -> Any: ...
    def move(self, bar: Any, state: str, update: Update) -> None: ...
    def end(self, bar: Any, state: str) -> None: ...
    def say(self, text: str) -> None: ...
    def complain(self, text: str) -> None: ...


def submit(
    graphs: Sequence[tuple[str, Mapping[str, Any]]], folder: str, open_client: Callable[[], Client], screen: Screen
) -> int:
    """Submit workflows; returns the exit status."""

    async def tasks(client: Client) -> list[tuple[str, TaskHandle]]:
        window = client.window()
        return [(Path(name).name, await window.submit(graph)) for name, graph in graphs]

    return asyncio.run(_until_signal(_errand(tasks, folder, open_client, screen)))


def resume(folder: str, open_client: Callable[[], Client], screen: Screen) -> int:
    """Take up what the log holds; returns the exit status."""

    async def tasks(client: Client) -> list[tuple[str, TaskHandle]]:
        return [(task.prompt_id, task) for task in client.tasks]

    return asyncio.run(_until_signal(_errand(tasks, folder, open_client, screen)))


async def _errand(
    tasks: Callable[[Client], Coroutine[Any, Any, list[tuple[str, TaskHandle]]]],
    folder: str,
    open_client: Callable[[], Client],
    screen: Screen,
) -> int:
    async with open_client() as client:
        named = await tasks(client)
        await asyncio.gather(*(_follow(name, task, screen) for name, task in named))
        return max([await _save(name, task, folder, screen) for name, task in named], default=COMPLETED)


async def _follow(name: str, task: TaskHandle, screen: Screen) -> None:
    bar = screen.begin(name, task.state)
    async for update in task:
        screen.move(bar, task.state, update)
    screen.end(bar, task.state)


async def _save(name: str, task: TaskHandle, folder: str, screen: Screen) -> int:
    status = COMPLETED
    try:
        await task
    except ComfyFsmError as error:
        screen.complain(f"{name}: {error}")
        status = NOT_COMPLETED
    for output in task.outputs:
        try:
            screen.say(str(await output.save_into(folder)))
        except (ClientError, OSError) as error:
            screen.complain(f"{name}: {error}")
            status = NOT_COMPLETED
    return status


async def _until_signal(work: Coroutine[Any, Any, int]) -> int:
    """SIGTERM and SIGINT cancel the work, which then closes its client in order."""
    loop, working, got = asyncio.get_running_loop(), asyncio.ensure_future(work), list[int]()

    def end(number: int) -> None:
        got.append(number)
        working.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        return await working
    except asyncio.CancelledError:
        return BY_SIGNAL + got[0]
