"""Assignment: the plan of a batch, against all plans that there are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.scheduling.makespan import BUDGET, assign

LOADS = [0.5, 0.0, 2.0]


def ends(seconds: Sequence[Sequence[float]], plan: Sequence[int]) -> float:
    loads = list(LOADS)
    for job, server in enumerate(plan):
        loads[server] += seconds[job][server]
    return max(loads)


@given(st.lists(st.lists(st.floats(0.1, 9), min_size=3, max_size=3), min_size=1, max_size=6))
def test_a_plan_is_the_best_of_all(seconds: list[list[float]]) -> None:
    best = min(ends(seconds, plan) for plan in product(range(3), repeat=len(seconds)))
    assert ends(seconds, assign(seconds, LOADS)) == pytest.approx(best)


def test_a_search_that_is_stopped_still_gives_every_job_a_server() -> None:
    """Twelve jobs at eight servers have more plans than may be tried."""
    seconds = [[float((3 * job + 7 * server) % 11 + 1) for server in range(8)] for job in range(12)]
    assert 8 ** len(seconds) > BUDGET
    plan = assign(seconds, [0.0] * 8)
    assert len(plan) == len(seconds)
    assert set(plan) <= set(range(8))


def test_of_no_jobs_there_is_nothing_to_plan() -> None:
    assert assign([], LOADS) == []
