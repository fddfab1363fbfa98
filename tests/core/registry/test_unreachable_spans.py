"""Spans in which a server could not be asked: what of a silence counts, with one sum for any number of them."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.registry.unreachable_spans import MOST, UnreachableSpans

spans = st.lists(st.integers(1, 50), min_size=2, max_size=20).filter(lambda each: len(each) % 2 == 0)


def paused(spans: list[int]) -> tuple[UnreachableSpans, list[tuple[float, float]]]:
    """UnreachableSpans one after the other: time between them and time within them in turn."""
    times = [float(at) for at in accumulate(spans)]
    each = [pair for number, pair in enumerate(pairwise(times)) if number % 2 == 0]
    pauses = UnreachableSpans()
    for begun, over in each:
        pauses.add(begun, over)
    return pauses, each


@given(spans, st.floats(0.0, 1_000.0))
def test_a_silence_counts_without_the_pauses_in_it(spans: list[int], since: float) -> None:
    pauses, each = paused(spans)
    within = sum(over - max(begun, since) for begun, over in each if over > since)
    assert pauses.skip(since, 0) == pytest.approx(since + within)


@given(spans)
def test_a_pause_that_was_taken_into_account_before_is_not_taken_again(spans: list[int]) -> None:
    pauses, each = paused(spans)
    assert pauses.skip(0.0, pauses.count) == 0.0
    assert pauses.skip(0.0, pauses.count - 1) == pytest.approx(each[-1][1] - each[-1][0])


def test_without_a_pause_all_of_a_silence_counts() -> None:
    assert UnreachableSpans().skip(7.0, 0) == 7.0


def test_of_many_pauses_the_last_are_remembered_and_all_are_counted() -> None:
    pauses = UnreachableSpans()
    for number in range(3 * MOST):
        pauses.add(10.0 * number, 10.0 * number + 1.0)
    assert pauses.count == 3 * MOST
    assert len(pauses.over) <= 2 * MOST
    last = 10.0 * (3 * MOST - 1)
    assert pauses.skip(last - 5.0, pauses.count - 1) == last - 4.0


def test_a_pause_that_is_told_to_end_before_the_last_one_makes_no_time_run_backwards() -> None:
    pauses = UnreachableSpans()
    pauses.add(10.0, 20.0)
    pauses.add(12.0, 15.0)
    assert pauses.skip(10.0, 0) == 20.0
