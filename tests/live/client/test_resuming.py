"""Tests of resumed tasks: each comes to the callback of the next process once, until its result was taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm import Client, Dispatcher, TaskHandle, Undelivered, Update
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.stage import QUICK, codes, graph, until


def opened(comfy: FakeComfy, log: Path, on_resume: Callable[[TaskHandle], Any] | None = None) -> Client:
    return Client(comfy.url, log=log, policy=QUICK, on_resume=on_resume)


async def leave(comfy: FakeComfy, log: Path, seconds: float = 1.0) -> None:
    """A process that submits a task and is gone before its end."""
    async with opened(comfy, log) as client:
        task = await client.window().submit(graph(seconds=seconds), tag="left")
        await until(lambda: task.state == "in_progress")


async def test_a_coroutine_may_wait_for_the_task_that_it_is_given(tmp_path: Path) -> None:
    taken: list[object] = []

    async def take(task: TaskHandle) -> None:
        result = await task
        taken.append((task.tag, result.state, result.tag))

    async with FakeComfy() as comfy:
        await leave(comfy, tmp_path / "a.log")
        async with opened(comfy, tmp_path / "a.log", take) as client:
            await until(lambda: taken)
            await until(lambda: not client.tasks)
        async with opened(comfy, tmp_path / "a.log", take) as client:
            await (await client.window().submit(graph()))
    assert taken == [("left", "completed", "left")]
    assert "double-delivery" not in codes(replay(tmp_path / "a.log"))


async def test_a_function_may_give_it_callbacks_before_anything_of_it_is_delivered(tmp_path: Path) -> None:
    told, seen = list[TaskHandle](), list[Update]()

    def take(task: TaskHandle) -> None:
        task.when_complete(told.append)
        task.when_progress(seen.append)

    async with FakeComfy() as comfy:
        await leave(comfy, tmp_path / "a.log")
        async with opened(comfy, tmp_path / "a.log", take):
            await until(lambda: told)
    assert [(task.tag, task.state) for task in told] == [("left", "completed")]
    assert seen


async def test_who_cannot_take_it_is_given_it_again_by_the_next_process(tmp_path: Path) -> None:
    tries: list[str] = []

    async def take(task: TaskHandle) -> None:
        tries.append((await task).state)
        if len(tries) < 3:
            raise Undelivered

    async with FakeComfy() as comfy:
        await leave(comfy, tmp_path / "a.log", seconds=0.5)
        for number in (1, 2, 3):
            async with opened(comfy, tmp_path / "a.log", take) as client:
                await until(lambda number=number: len(tries) == number)
                await until(lambda client=client: not client.tasks)
        async with opened(comfy, tmp_path / "a.log", take) as client:
            assert not client.tasks
    assert tries == ["completed"] * 3


def test_closing_ends_who_waits_and_blames_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begun: list[TaskHandle] = []

    async def take(task: TaskHandle) -> None:
        begun.append(task)
        await task

    async def story() -> None:
        async with FakeComfy() as comfy:
            await leave(comfy, tmp_path / "a.log", seconds=60.0)
            for number in (1, 2):
                async with opened(comfy, tmp_path / "a.log", take):
                    await until(lambda number=number: len(begun) == number)

    with caplog.at_level(logging.ERROR):
        asyncio.run(story())
    assert not caplog.records


async def test_one_that_raises_is_told_and_its_task_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def take(task: TaskHandle) -> None:
        raise RuntimeError("mine")

    async with FakeComfy() as comfy:
        await leave(comfy, tmp_path / "a.log", seconds=0.5)
        async with opened(comfy, tmp_path / "a.log", take) as client:
            await asyncio.gather(*client.tasks)
    assert [record.exc_text and "mine" in record.exc_text for record in caplog.records if record.levelname == "ERROR"]


async def test_jobs_that_waited_come_too_and_tasks_of_this_process_do_not(tmp_path: Path) -> None:
    log, given = tmp_path / "a.log", list[object]()

    async def take(task: TaskHandle) -> None:
        given.append(task.tag)
        await task

    async with FakeComfy() as comfy:
        async with opened(comfy, log, take) as client, Dispatcher(client, capacity=1) as dispatcher:
            first = await dispatcher.enqueue(graph(seconds=1.0), tag="placed")
            await until(lambda: first.state == "in_progress")
            await dispatcher.enqueue(graph(1), tag="waiting")
        assert not given
        async with opened(comfy, log, take) as client, Dispatcher(client):
            await until(lambda: not client.tasks)
    assert given == ["placed", "waiting"]
