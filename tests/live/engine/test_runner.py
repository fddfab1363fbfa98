"""Tests of a runner where sockets fail and HTTP works: it goes on by HTTP alone, unless sockets are required."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from comfy_fsm.core.effects import Result
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from comfy_fsm.errors import ClientError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.live.engine.runner import Undelivered, in_turns
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.stage import QUICK, graph, outcome, until, with_node

FOR_GOOD = [200, 302, 400, 401, 403, 404, 405, 410, 426, 501, 505]


PASSING = [429, 500, 502, 503, 504]


FOREVER = 1_000_000


SHUT = "http://127.0.0.1:1"


@asynccontextmanager
async def blocked(status: int = 400, **faults: object) -> AsyncIterator[FakeComfy]:
    """A server that answers over HTTP, and refuses each handshake so."""
    async with FakeComfy() as comfy:
        comfy.faults.turn({"refuse_sockets": [FOREVER, status]} | faults)
        yield comfy


@pytest.mark.parametrize("status", FOR_GOOD)
def test_where_sockets_are_refused_for_good_and_http_answers_http_alone_decides(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> list[str]:
        async with blocked(status) as comfy, Client(comfy.url, policy=QUICK) as client:
            window = client.window()
            tasks = [await window.submit(graph(n, seconds=0.2)) for n in range(2)]
            tasks.append(await window.submit(with_node("FakeFail", 7)))
            assert not any(task.state in ("expired", "lost") for task in tasks)
            return [await outcome(task) for task in tasks]

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(test()) == ["completed", "completed", "failed"]
    assert [record.getMessage().count("HTTP alone") for record in caplog.records] == [1]


@pytest.mark.parametrize("status", PASSING)
async def test_where_they_are_refused_as_if_for_a_while_http_decides_when_that_lasts(status: int) -> None:
    policy = msgspec.structs.replace(QUICK, open_seconds=0.3)
    async with blocked(status) as comfy, Client(comfy.url, policy=policy) as client:
        assert [await outcome(await client.window().submit(graph(n))) for n in range(2)] == ["completed", "completed"]


async def test_a_task_that_was_cancelled_where_no_socket_tells_of_it_is_cancelled() -> None:
    async with blocked(400) as comfy, Client(comfy.url, policy=QUICK) as client:
        task = await client.window().submit(graph(seconds=60))
        await until(lambda: task.state == "in_progress")
        await task.cancel()
        assert await outcome(task) == "cancelled"


async def test_what_was_left_where_sockets_do_not_pass_is_taken_up_by_http(tmp_path: Path) -> None:
    async with blocked(404) as comfy:
        async with Client(comfy.url, policy=QUICK, log=tmp_path / "a.log") as client:
            await client.window().submit(graph(seconds=1.0))
        async with Client(comfy.url, policy=QUICK, log=tmp_path / "a.log") as client:
            (task,) = client.tasks
            assert await outcome(task) == "completed"


async def test_a_handshake_that_is_never_answered_is_a_socket_that_does_not_pass() -> None:
    async with blocked(delay={"GET /ws": 1000.0}) as comfy:
        policy = Policy(open_seconds=0.3, look_seconds=0.05, http_seconds=0.1)
        async with Client(comfy.url, policy=policy) as client:
            assert await outcome(await client.window().submit(graph())) == "completed"


@pytest.mark.parametrize("status", [*FOR_GOOD, *PASSING])
async def test_who_requires_sockets_gets_none_submitted_without(status: int) -> None:
    policy = Policy(open_seconds=0.3, reopen_seconds=0.02)
    async with blocked(status) as comfy:
        async with Client(comfy.url, policy=policy, sockets="require") as client:
            with pytest.raises(ClientError, match="nothing was submitted"):
                await client.window().submit(graph())
        assert not comfy.posts


def test_sockets_are_preferred_or_required() -> None:
    with pytest.raises(ClientError, match="'prefer' or 'require'"):
        Client(SHUT, sockets="never")


async def test_tasks_of_an_earlier_process_are_taken_up_while_others_have_their_turns() -> None:
    turns, taken, most = 0, 0, 0

    async def others() -> None:
        nonlocal turns, taken, most
        while True:
            turns, taken, most = turns + 1, 0, max(most, taken)
            await asyncio.sleep(0)

    turning = asyncio.create_task(others())
    async for _ in in_turns([Task(server="s", window="w") for _ in range(10_000)]):
        taken += 1
    turning.cancel()
    assert turns >= 100
    assert most <= 100


async def test_a_client_forgets_what_it_delivered_long_ago_and_its_log_keeps_all(tmp_path: Path) -> None:
    log, policy = tmp_path / "a.log", msgspec.structs.replace(QUICK, delivered=3)
    delivered: list[str | None] = []
    async with FakeComfy() as comfy:
        for half in range(2):
            async with Client(comfy.url, policy=policy, log=log) as client:
                assert len(client.board.tasks) <= 10
                window = client.window()
                for seed in range(10 * half, 10 * half + 10):
                    task = await window.submit(graph(seed), on_complete=lambda r: delivered.append(r.prompt_id))
                    assert await outcome(task) == "completed"
                    assert len(client.board.tasks) <= 10
                held = client
    assert len(delivered) == len(set(delivered)) == 20
    assert held.board.tasks[-1].prompt_id == delivered[-1]
    assert [task.state for task in replay(log).tasks] == ["completed"] * 20


async def test_what_was_not_delivered_is_not_forgotten(tmp_path: Path) -> None:
    log, policy = tmp_path / "a.log", msgspec.structs.replace(QUICK, delivered=1)
    taken: list[str] = []

    async def refuse(result: Result) -> None:
        raise Undelivered

    async def take(task: TaskHandle) -> None:
        taken.append((await task).prompt_id or "")

    async with FakeComfy() as comfy:
        async with Client(comfy.url, policy=policy, log=log) as client:
            window = client.window()
            posted = [await window.submit(graph(seed), on_complete=refuse) for seed in range(6)]
            assert [await outcome(task) for task in posted] == ["completed"] * 6
        async with Client(comfy.url, policy=policy, log=log, on_resume=take) as client:
            await until(lambda: not client.tasks)
    assert sorted(taken) == sorted(task.prompt_id for task in posted)
