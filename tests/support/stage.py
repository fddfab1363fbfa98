"""Helpers for live tests: a quick policy, a client on a log, and what must hold at the end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from comfy_fsm import Policy
from comfy_fsm.errors import TaskError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.testing import FakeComfy, picture
from replay import Replay, replay

QUICK = Policy(
    check_seconds=0.4, warn_seconds=20, expire_seconds=60, settle_seconds=0.1, look_seconds=0.05,
    look_limit_seconds=0.4, reopen_seconds=0.02, reopen_limit_seconds=0.2, damp_seconds=0.1, prove_seconds=0.15,
    open_seconds=10, deadline_seconds=2, absence_seconds=0.1, post_seconds=0.2,
)  # fmt: skip
"""The default policy, a hundred times faster."""


def graph(seed: int = 0, *, seconds: float = 0.0) -> dict[str, Any]:
    """An image that no other seed gives from the cache, after some time."""
    if seconds:
        return with_node("FakeSleep", seed, seconds=seconds)
    return picture(seed)


def with_node(name: str, seed: int = 0, **inputs: object) -> dict[str, Any]:
    """The same, by way of a node of this class."""
    nodes = graph(seed) | {"3": {"class_type": name, "inputs": {"image": ["1", 0]} | inputs}}
    nodes["2"]["inputs"]["images"] = ["3", 0]
    return nodes


def play(story: Callable[..., Awaitable[None]], path: Path, *, version: str = "0.3.64", **settings: Any) -> Replay:
    """Tell the story with a fake server and a client, then replay the log: it must say the same as was said live."""

    async def told() -> dict[str, str]:
        async with FakeComfy(version=version) as comfy:
            async with Client(comfy.url, log=path, **({"policy": QUICK} | settings)) as client:
                async with asyncio.timeout(120):
                    await story(comfy, client)
                live = {task.prompt_id or "": str(task.state) for task in client.board.tasks}
            return live

    live = asyncio.run(told())
    replayed = replay(path)
    assert {task.prompt_id: str(task.state) for task in replayed.tasks} == live
    assert not [finding for finding in replayed.findings if finding.code == "double-delivery"]
    return replayed


async def outcome(task: TaskHandle) -> str:
    """How it ended, success or not."""
    try:
        return (await task).state
    except TaskError as error:
        return error.result.state


def codes(replayed: Replay) -> set[str]:
    return {finding.code for finding in replayed.findings}


async def until(found: Callable[[], object]) -> None:
    """What is waited for is in another room, which tells nobody: a server, a thread, a process."""
    async with asyncio.timeout(60):
        while not found():
            await asyncio.sleep(0.01)


def bytes_of(path: Path) -> dict[str, bytes]:
    """A log as it is on the disk, with what SQLite keeps beside it."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.name.startswith(path.name)}


def record(prompt_id: str, said: str = "success", **changed: Any) -> dict[str, Any]:
    """A history entry as a server writes it."""
    told = "execution_success" if said == "success" else "execution_error"
    files = [{"filename": "kept.png", "subfolder": "", "type": "output"}]
    return {
        "prompt": [1, prompt_id, {}, {}, ["2"]],
        "outputs": {"2": {"images": files}},
        "status": {"status_str": said, "completed": said == "success", "messages": [[told, {"prompt_id": prompt_id}]]},
    } | changed
