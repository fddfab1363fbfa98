"""Counters: histograms that count each and add up, and what counts as an answer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.findings import Code
from comfy_fsm.core.registry.counters import SECONDS, Histogram, ServerCounters
from tests.support.stories import AWAY, ID, begun, record

durations = st.lists(st.floats(0.0, 10_000.0), min_size=1, max_size=60)


@given(durations)
def test_each_duration_is_counted_up_to_the_bound_that_it_does_not_exceed(seen_ones: list[float]) -> None:
    histogram = Histogram(SECONDS)
    for seconds in seen_ones:
        histogram.observe(seconds)
    for number, bound in enumerate(SECONDS):
        assert sum(histogram.counts[: number + 1]) == sum(seconds <= bound for seconds in seen_ones)
    assert (histogram.count, histogram.longest) == (len(seen_ones), max(seen_ones))


@given(durations, durations)
def test_histograms_add_up(some: list[float], others: list[float]) -> None:
    one, other, both = Histogram(SECONDS), Histogram(SECONDS), Histogram(SECONDS)
    for histogram, values in ((one, some), (other, others), (both, some + others)):
        for value in values:
            histogram.observe(value)
    one.add(other)
    assert (one.counts, one.longest) == (both.counts, both.longest)
    assert one.sum == pytest.approx(both.sum)


@pytest.mark.parametrize("odd", [math.nan, -1.0, -math.inf, math.inf, 1e308])
def test_no_time_of_a_trace_makes_a_sum_anything_but_a_number(odd: float) -> None:
    histogram = Histogram(SECONDS)
    histogram.observe(odd)
    assert 0.0 <= histogram.sum < 1e10
    assert histogram.count == 1


@pytest.mark.parametrize(
    ("status", "result"),
    [(200, "answered"), (399, "answered"), (400, "refused"), (500, "failed"), (None, "unanswered")],
)
def test_a_request_is_counted_by_its_status_and_one_without_an_answer_has_no_latency(
    status: int | None, result: str
) -> None:
    counters = ServerCounters()
    counters.answer(status, 0.5)
    assert {name: count for name, count in counters.answers.items() if count} == {result: 1}
    assert counters.waits.count == (status is not None)


def test_a_copy_does_not_grow_with_what_it_was_copied_from() -> None:
    histogram = Histogram(SECONDS)
    copy = histogram.copy()
    histogram.observe(1.0)
    assert (copy.count, histogram.count) == (0, 1)


def test_a_settlement_is_counted_with_its_source_and_a_gap_with_its_recovery() -> None:
    counters = begun().hang_up().wait(9).listen().fetch(record()).board().registry.counters
    assert counters.completions == {("completed", "history", "verified"): 1}
    assert (counters.impaired, counters.recovered, counters.gaps.count) == (1, 1, 1)
    assert counters.found[Code.SOCKET_GAP] == 1


def test_a_task_that_another_server_was_asked_about_has_strayed() -> None:
    story = begun().elsewhere(AWAY, "h", f"/history/{ID}", {})
    assert story.board().registry.counters.strayed == {ID}
