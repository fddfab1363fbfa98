"""Tests of expected durations: a pair that was never seen, and the room that all pairs take."""

import pytest

from comfy_fsm.core.scheduling.durations import Durations


def test_a_duration_is_expected_of_a_pair_that_was_never_seen() -> None:
    known = Durations()
    for _ in range(20):
        known.learn("small", "fast", 1.0)
        known.learn("small", "slow", 4.0)
        known.learn("large", "fast", 10.0)
    assert known.expected("large", "slow") == pytest.approx(40.0, rel=0.2)


def test_graphs_without_number_do_not_fill_the_memory() -> None:
    known = Durations()
    for number in range(20_000):
        known.learn(f"graph {number}", "one", 1.0)
    assert len(known._pairs) <= 4_096
    assert len(known._sizes) <= 4_096
    assert len(known._medians) <= 4_096
