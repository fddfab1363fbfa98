"""A recording judges as the clients in it do, outlives a log that fails, and continues one that an earlier one left."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_fsm import Client
from comfy_fsm.errors import LogLocked
from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.lines import fill, frame, line
from tests.support.recording import Recorded, recorded_by, run, until
from tests.support.stage import QUICK, graph, outcome


def test_a_client_works_through_it_and_both_logs_judge_alike(log: Path, tmp_path: Path) -> None:
    async def story() -> list[str]:
        async with FakeComfy() as comfy, recorded_by(log, comfy.url) as recorded:
            async with Client(recorded.url, log=tmp_path / "own.log", policy=QUICK) as client:
                tasks = [await client.window().submit(graph(seed)) for seed in range(3)]
                tasks.append(await client.window().submit({"1": {"class_type": "NoSuch", "inputs": {}}}))
                ends = [await outcome(task) for task in tasks]
                assert await tasks[0].outputs[0].read()
            return ends

    assert run(story()) == ["completed"] * 3 + ["rejected"]
    own, passed = replay(tmp_path / "own.log"), replay(log)
    assert {task.prompt_id: (task.state, task.confidence, task.window) for task in passed.tasks} == {
        task.prompt_id: (task.state, task.confidence, task.window) for task in own.tasks
    }
    assert passed.exit_status == 0


def test_several_servers_are_told_apart_by_their_addresses(log: Path) -> None:
    async def story() -> list[str]:
        async with FakeComfy() as one, FakeComfy() as two, recorded_by(log, one.url, two.url) as recorded:
            async with Client(recorded.urls, policy=QUICK) as client:
                for url in recorded.urls:
                    assert await outcome(await client.window().submit(graph(), server=url)) == "completed"
            return [one.url, two.url]

    urls = run(story())
    assert [task.server for task in replay(log).tasks] == urls


def test_a_log_that_fails_stops_no_client_and_is_counted(log: Path) -> None:
    async def story() -> Recorded:
        async with FakeComfy() as comfy, recorded_by(log, comfy.url) as recorded, httpx.AsyncClient() as client:
            await client.get(f"{recorded.url}/queue")
            await until(lambda: recorded.lines("http.response"))
            await asyncio.to_thread(log.rename, log.with_name("moved"))
            assert (await client.get(f"{recorded.url}/queue")).status_code == 200
            failure = await recorded.recording.failed()
            assert failure is not None
            assert "proxy.log" in str(failure)
            for _ in range(3):
                assert (await client.get(f"{recorded.url}/queue")).status_code == 200
        return recorded

    recorded = run(story())
    assert "6 that could not be written" in recorded.recording.summary()


def test_a_recording_continues_a_log_and_says_that_nobody_watched_meanwhile(log: Path) -> None:
    fill(log, line("ws.open", {}), frame("execution_start", prompt_id="p"))

    async def story() -> list[dict[str, Any]]:
        async with FakeComfy() as comfy, recorded_by(log, comfy.url) as recorded:
            return recorded.lines("command")

    assert [(each["window"], each["data"]["name"]) for each in run(story())] == [("w", "resume")]


def test_a_log_is_recorded_into_by_one_alone(log: Path) -> None:
    async def story() -> None:
        async with await Log.open(log):
            with pytest.raises(LogLocked, match="is being written by"):
                async with recorded_by(log, "http://127.0.0.1:1"):
                    pass

    run(story())
