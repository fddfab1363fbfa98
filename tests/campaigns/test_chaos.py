"""Test of a short chaos campaign; longer ones run by `python -m tests.campaigns.chaos`."""

from pathlib import Path

import pytest

from tests.campaigns.chaos import judge, live_through

TASKS = 250


@pytest.mark.parametrize("steps", [False, True], ids=["", "clock-steps"])
@pytest.mark.parametrize("seed", [1])
async def test_after_a_bad_day_every_task_is_settled_and_none_was_run_or_delivered_twice(
    seed: int, steps: bool, tmp_path: Path
) -> None:
    judge((await live_through(TASKS, seed, tmp_path / "chaos.log", steps=steps)), TASKS, steps=steps)
