"""Tests of our client at the same servers: it reports what its tasks did, and a replay of its log says the same.

COMFYUI_CONFORMANCE_RECORDING names a folder for the log of the first real server, as a fixture with its verdict.
"""

import asyncio
import gzip
import json
import os
from pathlib import Path

import pytest

from comfy_fsm import Result, State
from comfy_fsm.errors import TaskError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.log.reader import read
from comfy_fsm.testing import PROFILES
from replay import Replay, replay
from tests.conformance.places import URLS, Fake, Real
from tests.conformance.protocol import Server
from tests.conformance.workflows import workflow

FOLDER = os.environ.get("COMFYUI_CONFORMANCE_RECORDING")
NAME = "live-client"
STEP = 0.05  # seconds for each node of the fake, so that what is slow still runs when it is cancelled
PLACES: list[Real | Fake] = [*map(Real, URLS), *(Fake(version, STEP) for version in PROFILES)]
ENDS = {
    "picture": State.COMPLETED,
    "two pictures": State.COMPLETED,
    "silent": State.COMPLETED,
    "half": State.COMPLETED,
    "failing": State.FAILED,
    "without an output": State.REJECTED,
}
RECORDED = {State.COMPLETED, State.FAILED}


@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_the_client_says_what_the_server_did_and_so_does_its_log(place: Real | Fake, tmp_path: Path) -> None:
    log = tmp_path / "client.log"
    told = await live_through(place, log)
    replayed = replay(log)
    assert {task.prompt_id: task.state for task in replayed.tasks} == told
    assert replayed.verdict == "pass"
    if FOLDER and place == Real(URLS[0]):
        keep(log, replayed, Path(FOLDER))


async def live_through(place: Real | Fake, log: Path) -> dict[str | None, str]:
    """Two windows, each graph from both, and two cancels; what was told of each task."""
    async with place.opened() as (server, _):
        try:
            async with asyncio.timeout(120), Client(server.url, log=log) as client:
                windows = client.window(), client.window()
                tasks = [(await window.submit(workflow(name)), ENDS[name]) for name in ENDS for window in windows]
                ends = {(await outcome(task)).prompt_id: (task, wanted) for task, wanted in tasks}
                running, waiting = await windows[0].submit(workflow("slow")), await windows[1].submit(workflow("slow"))
                await waiting.cancel()  # first, while the other still runs
                heeded = await running.cancel()
                wanted = State.CANCELLED if heeded else State.COMPLETED  # before 0.3.57 none is cancelled alone (P31)
                ends[(await outcome(running)).prompt_id] = running, wanted
                ends[(await outcome(waiting)).prompt_id] = waiting, State.CANCELLED
                assert {i: task.state for i, (task, _) in ends.items()} == {i: end for i, (_, end) in ends.items()}
                for prompt_id, (task, wanted) in ends.items():
                    await check(server, str(prompt_id), task, wanted)
                return {prompt_id: task.state for prompt_id, (task, _) in ends.items()}
        finally:
            await server.settle()


async def check(server: Server, prompt_id: str, task: TaskHandle, wanted: State) -> None:
    """By the server's own record, which is asked for past our client."""
    record = (await server.get(f"/history/{prompt_id}")).body.get(prompt_id)
    assert record is not None or wanted not in RECORDED
    stored = [file for output in (record or {"outputs": {}})["outputs"].values() for file in output.get("images", ())]
    assert task.done()
    if wanted is State.COMPLETED:
        assert sorted(file.filename for file in task.outputs) == sorted(file["filename"] for file in stored)
        for file in task.outputs:
            assert await file.read()


async def outcome(task: TaskHandle) -> Result:
    try:
        return await task
    except TaskError as error:
        return error.result


def keep(log: Path, replayed: Replay, folder: Path) -> None:
    """The log as a recording, and the verdict that was told live beside it."""
    lines = [record.line for record in read(log) if record.line is not None]
    (folder / f"{NAME}.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines) + b"\n", mtime=0))
    tasks = {
        task.prompt_id: {
            "window": task.window, "server": task.server, "truth": task.state, "state": task.state,
            "outcome": task.outcome,
        }
        for task in replayed.tasks
    }  # fmt: skip
    codes = sorted({finding.code for finding in replayed.findings if finding.severity != "note"})
    expected = {"scenario": NAME, "tasks": tasks, "findings": codes, "notes": []}
    (folder / f"{NAME}.expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
