"""Differences of reports: none with itself, the same from both sides, and each class where it belongs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from comfy_fsm.core.wire import codec
from comfy_fsm.report import json_report
from comfy_fsm.report.player import replay
from comfy_fsm.testing.strategies import TrueRun, true_runs
from replay.comparison.difference import Judged, Report, Told, differences, pair


def report(run: TrueRun) -> Report:
    return msgspec.json.decode(json_report.encode(replay(map(codec.encode, run.observations))), type=Report)


@given(true_runs())
def test_a_report_does_not_differ_from_itself(run: TrueRun) -> None:
    tasks = report(run).tasks
    assert differences(pair(tasks, tasks), same_lines=True) == []


@given(true_runs(), true_runs())
def test_both_sides_see_the_same_differences(one: TrueRun, other: TrueRun) -> None:
    left, right = report(one).tasks, report(other).tasks
    ways = [differences(pair(*sides), same_lines=False) for sides in ((left, right), (right, left))]
    assert sorted(str(each.kind) for each in ways[0]) == sorted(str(each.kind) for each in ways[1])


@given(true_runs())
def test_under_other_names_the_tasks_are_paired_by_order_and_agree(run: TrueRun) -> None:
    tasks = report(run).tasks
    renamed = tuple(
        msgspec.structs.replace(task, prompt_id=f"other {task.prompt_id}", window=f"other {task.window}")
        for task in tasks
    )
    pairing = pair(tasks, renamed)
    assert differences(pairing, same_lines=False) == []
    assert not tasks or pairing.by == "order"


BEFORE = Judged("p", "w", "s", "completed", "completed", "verified", "history", 2.0, (Told("history", 9),), ())


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"state": "failed", "outcome": "failed"}, "state"),
        ({"outcome": None}, "outcome"),
        ({"confidence": "stated", "findings": ("unverified",)}, "confidence"),
        ({"completion_source": "jobs"}, "source"),
        ({"findings": ("missed-end",)}, "finding"),
        ({"settled_at": 3.0}, "time"),
    ],
)
def test_the_gravest_difference_is_the_class(changed: dict[str, Any], kind: str) -> None:
    (found,) = differences(pair([BEFORE], [msgspec.structs.replace(BEFORE, **changed)]), same_lines=True)
    assert found.kind == kind


def test_a_time_is_no_difference_of_two_recordings() -> None:
    assert differences(pair([BEFORE], [msgspec.structs.replace(BEFORE, settled_at=3.0)]), same_lines=False) == []


def test_a_task_that_one_side_alone_has_differs_in_its_state() -> None:
    (found,) = differences(pair([BEFORE], []), same_lines=True)
    assert (found.kind, found.a, found.b, found.first) == ("state", "completed", None, None)
