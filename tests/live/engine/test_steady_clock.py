"""Tests of clocks set in mid-run: no deadline, query or silence is affected."""

import asyncio
import logging
import time
from pathlib import Path
from unittest import mock

import pytest

from comfy_fsm.live.client.client import Client
from comfy_fsm.live.engine.steady_clock import STEP, SteadyClock
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.stage import QUICK, graph, outcome, until

HOUR = 3600.0


class Wall:
    """A clock on the wall, which may be set."""

    def __init__(self) -> None:
        self.off = 0.0
        self._time = time.time

    def time(self) -> float:
        return self._time() + self.off


@pytest.mark.parametrize("step", [HOUR, -HOUR, 24 * HOUR, -24 * HOUR])
def test_a_clock_that_is_set_ends_no_task_and_stops_no_look(
    step: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server loses the end, so that it is found by looks alone, which are wanted for a time of day."""
    wall, path = Wall(), tmp_path / "a.log"

    async def test() -> str:
        async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK, log=path) as client:
            comfy.faults.lose_end = 1
            task = await client.window().submit(graph(seconds=1.5))
            await until(lambda: task.state == "in_progress")
            wall.off = step
            return await outcome(task)

    with caplog.at_level(logging.WARNING), mock.patch("time.time", wall.time):
        assert asyncio.run(test()) == "completed"
    (task,) = replay(path).tasks
    assert str(task.state) == "completed"
    assert any("clock of this machine was set" in record.getMessage() for record in caplog.records)


async def test_a_steady_clock_goes_on_and_tells_each_step_once() -> None:
    wall = Wall()
    clock = SteadyClock(wall.time)
    assert clock.step() is None
    before = clock()
    wall.off = HOUR
    assert 0 <= clock() - before < STEP
    assert clock.step() == pytest.approx(HOUR, abs=STEP)
    assert clock.step() is None
    wall.off = 0.0
    assert clock.step() == pytest.approx(0.0, abs=STEP)
