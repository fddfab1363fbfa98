"""The summary of a report: what was counted, and null where there was nothing to count."""

from __future__ import annotations

import pytest
from hypothesis import given

from comfy_fsm.core.metrics.summary import Metrics, measure
from comfy_fsm.testing.strategies import true_runs
from comfy_fsm.testing.strategies.scripted import TrueRun
from tests.support.examples import few
from tests.support.folding import fold_all
from tests.support.stories import HOME, ID2, Story, begun, record


def of(story: Story) -> Metrics:
    return measure(story.board())


def test_of_nothing_there_is_no_share_and_no_mean() -> None:
    found = of(Story())
    rates = (found.completion_rate, found.recovery_rate, found.server_consistency, found.attribution)
    assert rates == (None, None, None, None)
    assert (found.mean_seconds, found.median_seconds, found.p95_seconds, found.gaps.mean_seconds) == (None,) * 4
    assert (found.tasks, found.requests, found.reconnects) == (0, [], [])


def test_a_run_is_measured_from_its_post_to_its_end() -> None:
    found = of(begun().hear("execution_success").fetch(record()))
    assert (found.tasks, found.settled, found.completion_rate, found.attribution) == (1, 1, 1.0, 1.0)
    assert found.mean_seconds == found.median_seconds == found.p95_seconds == 5.0
    (completed,) = found.completions
    assert (completed.state, completed.source, completed.confidence, completed.count) == (
        "completed", "execution_success", "verified", 1
    )  # fmt: skip


def test_a_task_that_is_not_settled_has_no_duration() -> None:
    found = of(begun())
    assert (found.settled, found.completion_rate, found.mean_seconds) == (0, 0.0, None)


def test_what_a_gap_hid_and_was_settled_all_the_same_is_a_recovery() -> None:
    story = begun().hang_up().wait(9).listen().fetch(record())
    found = of(story)
    assert (found.recoveries, found.recovery_rate, found.gaps.count, found.gaps.longest_seconds) == (1, 1.0, 1, 11.0)
    assert [(each.server, each.reason, each.count) for each in found.reconnects] == [(HOME, "abnormal", 1)]


@pytest.mark.parametrize(
    ("status", "counted"),
    [(200, (2, 0, 0, 0)), (404, (1, 1, 0, 0)), (502, (1, 0, 1, 0)), ("ReadTimeout", (1, 0, 0, 1))],
)
def test_requests_are_counted_by_how_they_ended(status: int | str, counted: tuple[int, int, int, int]) -> None:
    (told,) = of(Story().listen().post().look(pending=(ID2,), status=status)).requests
    assert (told.answered, told.refused, told.failed, told.unanswered) == counted
    assert told.longest_seconds == 1.0
    assert told.queue == (1 if status == 200 else None)


@few
@given(true_runs())
def test_of_a_true_run_every_share_is_one_and_all_is_counted_once(run: TrueRun) -> None:
    board = fold_all(run.observations)
    found = measure(board)
    assert found.tasks == len(board.tasks)
    assert found.settled == sum(each.count for each in found.completions) == sum(task.settled for task in board.tasks)
    assert found.server_consistency in (None, 1.0)
