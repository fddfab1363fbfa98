"""One errand of the command: open a client, follow its tasks to their end, save their files, and close in order.

What is shown of it is the business of the screen that it is given.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from comfy_fsm.core.effects import Text
from comfy_fsm.errors import ClientError, TaskError
from comfy_fsm.live.client import Client
from comfy_fsm.live.dispatch import Dispatcher
from comfy_fsm.live.outputs import Names, save_all
from comfy_fsm.live.tasks import TaskHandle
from comfy_fsm.live.updates import Update

COMPLETED, NOT_COMPLETED, BY_SIGNAL = 0, 1, 128
LONG, LINES = 2_000, 40
"""Characters and lines of a text beyond which it is saved as a file, not printed."""


class Screen(Protocol):
    """Where an errand is watched."""

    def begin(self, name: str, state: str) -> Any: ...
    def move(self, bar: Any, state: str, update: Update) -> None: ...
    def end(self, bar: Any, state: str) -> None: ...
    def say(self, text: str) -> None: ...
    def complain(self, text: str) -> None: ...


class Order(Protocol):
    """A workflow file that was read."""

    @property
    def name(self) -> str: ...
    @property
    def workflow(self) -> Mapping[str, Any]: ...
    @property
    def extra_data(self) -> Mapping[str, Any]: ...


def submit(
    orders: Sequence[Order],
    folder: str,
    open_client: Callable[[], Client],
    screen: Screen,
    capacity: int | None = None,
) -> int:
    """Submit workflows, at once or so many at a server; returns the exit status."""

    async def tasks(client: Client, dispatcher: Dispatcher | None) -> list[tuple[str, TaskHandle]]:
        submit = dispatcher.enqueue if dispatcher is not None else client.window().submit
        return [
            (Path(order.name).name, await submit(order.workflow, extra_data=order.extra_data)) for order in orders
        ]

    return asyncio.run(_errand(tasks, folder, open_client, screen, capacity))


def resume(folder: str, open_client: Callable[[], Client], screen: Screen, capacity: int | None = None) -> int:
    """Take up what the log holds, what waits to be placed too; returns the exit status."""

    async def tasks(client: Client, dispatcher: Dispatcher | None) -> list[tuple[str, TaskHandle]]:
        left.extend(task for task in client.tasks if task.server and task.server not in client.servers)
        for task in left:
            screen.complain(f"{task.prompt_id}: left alone, since {task.server} is not named; give it as --server")
        return [(task.prompt_id, task) for task in client.tasks if task not in left]

    left: list[TaskHandle] = []
    status = asyncio.run(_errand(tasks, folder, open_client, screen, capacity))
    return max(status, NOT_COMPLETED) if left else status


async def _errand(
    tasks: Callable[[Client, Dispatcher | None], Coroutine[Any, Any, list[tuple[str, TaskHandle]]]],
    folder: str,
    open_client: Callable[[], Client],
    screen: Screen,
    capacity: int | None,
) -> int:
    async def work() -> int:
        named = await tasks(client, dispatcher)
        await asyncio.gather(*(_follow(name, task, screen) for name, task in named))
        return max([await _save(name, task, folder, screen, names) for name, task in named], default=COMPLETED)

    names = Names()

    async with open_client() as client, _dispatching(client, capacity) as dispatcher:
        return await _until_signal(work())


def _dispatching(client: Client, capacity: int | None) -> AbstractAsyncContextManager[Dispatcher | None]:
    """Where it is wanted, and where the log holds what only a dispatcher can place."""
    if capacity is None and not client.board.backlog.waiting:
        return nullcontext()
    return Dispatcher(client, capacity=capacity) if capacity is not None else Dispatcher(client)


async def _follow(name: str, task: TaskHandle, screen: Screen) -> None:
    bar = screen.begin(name, task.state)
    async for update in task:
        screen.move(bar, task.state, update)
    screen.end(bar, task.state)


async def _save(name: str, task: TaskHandle, folder: str, screen: Screen, names: Names) -> int:
    """What it produced, on the disk and told of; anything that is not there makes the status."""
    status = COMPLETED
    try:
        await task
    except (TaskError, ClientError) as error:
        screen.complain(f"{name}: {error}")
        status = NOT_COMPLETED
    texts = task.result.texts if task.result is not None else ()
    for text in texts:
        for line in [] if _is_long(text) else text.text.splitlines():
            screen.say(line)
    async for saved in save_all(task.outputs, filter(_is_long, texts), folder, names):
        if saved.path is not None:
            screen.say(str(saved.path))
        if saved.renamed or saved.error:
            screen.complain(f"{name}: {saved.renamed or saved.error}")
        status = NOT_COMPLETED if saved.error else status
    for lack in _lacks(task):
        screen.complain(f"{name}: {lack}")
        status = NOT_COMPLETED
    return status


def _is_long(text: Text) -> bool:
    return len(text.text) > LONG or text.text.count("\n") > LINES


def _lacks(task: TaskHandle) -> Iterator[str]:
    """What its result has not, though it was told or should have come."""
    result = task.result
    if result is not None and result.left_out:
        yield (
            f"{result.left_out:,} of its outputs are left out, since more were told than one task may have; "
            "fetch them from the server by hand, or split the workflow"
        )
    if result is not None and result.missed:
        yield (
            f"images of node {', '.join(result.missed[:5])} may be missing: they come over the socket alone, which "
            "was not heard from start to end; run it again, or save them by SaveImage"
        )


async def _until_signal(work: Coroutine[Any, Any, int]) -> int:
    """SIGTERM and SIGINT cancel the work, once; the closing in order that comes after it, no signal cuts short."""
    loop, working, got = asyncio.get_running_loop(), asyncio.ensure_future(work), list[int]()

    def end(number: int, _: object) -> None:
        if not got and not working.done():
            got.append(number)
            loop.call_soon_threadsafe(working.cancel)

    # Not by the loop, which would take its handlers back when it closes, and there are none of those on Windows.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        return await working
    except asyncio.CancelledError:
        return BY_SIGNAL + got[0]
