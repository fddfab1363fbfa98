"""Tests of a sample of POST schedules; more of them by `python -m tests.faults.schedules`."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from tests.faults.schedules import Ended, Schedule, Told, play_one, wrong_with

SAMPLE = range(150)
ONCE_WRONG = {
    6321: "a look that was asked before the POST arrived was taken for a lie of the queue",
    53744: "so were rounds of absence of a POST that came later than its grace",
    51064: "lists of the queue that were asked for again and again put off the end of a task for ever",
    305777: "a difference of two times was rounded to less than the pause, and the task was never thought of again",
}


def test_no_schedule_of_posts_runs_a_workflow_twice_or_leaves_it_unsaid() -> None:
    logging.disable(logging.ERROR)
    try:
        wrong = {seed: found for seed in (*SAMPLE, *ONCE_WRONG) if (found := wrong_with(play_one(Schedule(seed))))}
    finally:
        logging.disable(logging.NOTSET)
    assert not wrong


def test_the_sample_has_every_kind_of_post() -> None:
    schedules = [Schedule(seed) for seed in SAMPLE]
    plans = [schedule.plan() for schedule in schedules for _ in range(4)]
    assert {plan.says for plan in plans} >= {200, 429, 500, 502, 503, 504}
    assert {plan.arrives is None for plan in plans} == {plan.cut is None for plan in plans} == {True, False}
    assert {schedule.policy.resubmits for schedule in schedules} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("told", "runs", "logged"),
    [
        (Told("completed", False), 2, {"completed"}),
        (Told("unsaid", False), 1, {"pending"}),
        (Told("completed", False), 0, {"completed"}),
        (Told("rejected", True), 1, {"completed"}),
        (Told("lost", False), 1, {"lost"}),
    ],
)
def test_what_is_wrong_is_seen(told: Told, runs: int, logged: set[str]) -> None:
    assert wrong_with(Ended([told], Counter({0: runs}), {0: logged}))
