"""Tests of when one server is asked about its tasks, and what for."""

import asyncio
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest

from comfy_fsm import Board, Policy
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.engine.exchange import Exchange
from comfy_fsm.live.engine.ingest import Ingest
from comfy_fsm.live.engine.poller import Poller
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.arrivals import Answer
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.log.memory import MemoryLog
from comfy_fsm.testing import FakeComfy
from tests.support.stage import QUICK, graph, outcome, play, until

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("breaths", range(5))
async def test_a_cancel_that_comes_with_news_is_heeded(breaths: int) -> None:
    board, redactor, server = Board(Policy()), Redactor(), Comfy(NOBODY)
    ingest = Ingest(MemoryLog(), board, redactor, lambda *_: None, lambda: None)
    exchange = Exchange(server, ingest, board, redactor, Policy(), time.time)
    poller = Poller(exchange, board, Policy(), time.time)
    running = asyncio.create_task(poller.run())
    await asyncio.sleep(0.01)
    poller.schedule("a prompt", time.time() + 1_000, queue_first=True)
    for _ in range(breaths):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running], timeout=1)
    assert running.cancelled()
    with suppress(asyncio.CancelledError):
        await running
    await ingest.close()
    await server.close()


async def test_a_record_that_does_not_come_holds_up_no_other() -> None:
    """Nothing tells of the end of either; the record of the first one hangs until the second has ended."""
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK) as client:
        window, server, let_go = client.window(), client.runner.exchanges[comfy.url].server, asyncio.Event()
        comfy.faults.lose_end = 2
        first, second = [await window.submit(graph(n, seconds=0.2)) for n in range(2)]
        send = server.send

        async def hang(ask: HttpRequest, *, deadline: float | None = None) -> Answer:
            if ask.path.endswith(first.prompt_id):
                await let_go.wait()
            return await send(ask, deadline=deadline)

        with mock.patch.object(server, "send", hang):
            assert await outcome(second) == "completed"
            let_go.set()
            assert await outcome(first) == "completed"


def asked_in(comfy: FakeComfy) -> Counter[str]:
    """How often each kind of question was asked, whatever prompt it was about."""
    return Counter(f"{method} {'/'.join(path.split('/')[:3])}" for method, path in comfy.requests)


def test_where_there_are_jobs_one_question_tells_an_end(tmp_path: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        await client.runner.exchanges[comfy.url].detect_features()
        tasks = [await client.window().submit(graph(n)) for n in range(3)]
        assert [await outcome(task) for task in tasks] == ["completed"] * 3
        asked = asked_in(comfy)
        assert not [name for name in asked if "history" in name]
        assert asked["GET /api/jobs"] <= 2 * len(tasks) + 1

    play(story, tmp_path / "log.sqlite", version="0.33.0")


@pytest.mark.parametrize(
    ("version", "asked"),
    [("0.3.64", {"GET /queue"}), *((each, {"GET /api/jobs"}) for each in ("0.8.2", "0.24.0", "0.33.0", "latest"))],
)
def test_many_open_tasks_cost_one_list_a_look(version: str, asked: set[str], tmp_path: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        poller, window = client.runner.pollers[comfy.url], client.window()
        await client.runner.exchanges[comfy.url].detect_features()
        blocker = comfy.stranger(seconds=3600)
        tasks = [await window.submit(graph(n)) for n in range(200)]
        comfy.requests.clear()
        now = client.runner.clock()
        for task in tasks:
            poller.schedule(task.prompt_id, now, queue_first=True)
        await until(lambda: comfy.requests)
        await until(lambda: not poller._running)
        found = asked_in(comfy)
        assert found.keys() == asked
        assert max(found.values()) < 5, "a look of its own may come between"
        comfy.execution.interrupt(blocker)
        assert {await outcome(task) for task in tasks} == {"completed"}

    play(story, tmp_path / "log.sqlite", version=version)


def test_a_list_that_is_broken_is_no_empty_one_and_the_queue_tells(tmp_path: Path) -> None:
    """P41: one odd prompt of anybody, for as long as it waits."""

    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.stranger(seconds=3600)
        comfy.stranger()
        for item in comfy.state.queue:
            item.extra_data["extra_pnginfo"] = {"workflow": None}
        window = client.window()
        tasks = [await window.submit(graph(n)) for n in range(3)]
        await until(lambda: asked_in(comfy)["GET /queue"] >= 3)
        assert {task.state for task in tasks} == {"pending"}
        comfy.execution.interrupt()
        assert {await outcome(task) for task in tasks} == {"completed"}

    play(story, tmp_path / "log.sqlite", version="0.33.0")


NO_JOBS: dict[str, tuple[int, object]] = {
    "null": (200, None), "empty": (200, {}), "nulls": (200, {"id": None, "status": None, "outputs": None}),
    "a word": (200, "ok"), "a list of others": (200, [1, None, {}]),
    "no ids": (200, {"jobs": [{}, None, {"status": 1}]}),
    "an unknown status": (200, {"status": "resting", "jobs": [{"status": "resting"}]}),
    "another job": (200, {"id": "another", "status": "failed", "jobs": [{"id": "another", "status": "failed"}]}),
    "of another server": (404, {"detail": "Not Found"}), "not allowed": (405, {"error": "Method Not Allowed"}),
    "broken": (500, {"error": "Job not found"}),
}  # fmt: skip
"""What a proxy, another server or a broken one answers to who asks for jobs."""


@pytest.mark.parametrize("answer", NO_JOBS.values(), ids=NO_JOBS)
def test_whatever_is_answered_of_jobs_the_record_tells_and_nothing_is_lost(
    answer: tuple[int, dict[str, object]], tmp_path: Path
) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        await client.runner.exchanges[comfy.url].detect_features()
        comfy.jobs.one = lambda _: answer
        comfy.jobs.page = lambda _: answer
        comfy.faults.drop_types = {"execution_success", "executing", "executed", "progress_state"}
        tasks = [await client.window().submit(graph(n)) for n in range(3)]
        assert [await outcome(task) for task in tasks] == ["completed"] * 3
        assert all(task.result().outputs for task in tasks)
        notes = Counter(finding.text for finding in client.board.findings if finding.code == "unrecognized")
        assert not notes or max(notes.values()) <= len(tasks)

    play(story, tmp_path / "log.sqlite", version="0.33.0")


@pytest.mark.parametrize("fault", ["html", "garbage", "cut_answer"])
def test_a_page_and_half_an_answer_are_no_jobs(fault: str, tmp_path: Path) -> None:
    """P33: whether by the list or by the id, the old routes tell."""

    async def story(comfy: FakeComfy, client: Client) -> None:
        await client.runner.exchanges[comfy.url].detect_features()
        setattr(comfy.faults, fault, {"GET /jobs": 1_000_000})
        comfy.faults.drop_types = {"execution_success", "executing", "executed", "progress_state"}
        tasks = [await client.window().submit(graph(n)) for n in range(3)]
        assert [await outcome(task) for task in tasks] == ["completed"] * 3

    play(story, tmp_path / "log.sqlite", version="0.33.0")


class Cleared(dict[str, object]):
    """A history that somebody clears as soon as something is in it."""

    def __setitem__(self, key: str, value: object) -> None:
        pass


def test_a_history_that_is_cleared_at_once_leaves_nobody_waiting(tmp_path: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.state.history = Cleared()
        comfy.faults.lose_end = 1
        comfy.faults.drop_types = {"executing", "progress_state", "executed"}
        assert await outcome(await client.window().submit(graph(seconds=0.2))) == "lost"

    play(story, tmp_path / "log.sqlite", version="0.33.0")
