"""Delta debugging, of any list and any wish that a larger part fulfils with a smaller one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replay.reduction.delta_debugging import minimal, minimal_in_pairs


@given(st.integers(0, 60), st.sets(st.integers(0, 59)))
def test_what_is_needed_is_left_and_nothing_else(count: int, wanted: set[int]) -> None:
    parts = list(range(count))
    needed = wanted & set(parts)
    assert minimal(parts, lambda some: needed <= set(some)) == sorted(needed)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 60))
def test_of_what_is_left_no_single_part_can_be_left_out(parts: list[int], least: int) -> None:
    def holds(some: list[int]) -> bool:
        return sum(some) >= min(least, sum(parts))

    kept = minimal(parts, holds)
    assert holds(kept)
    assert not any(holds(kept[:n] + kept[n + 1 :]) for n in range(len(kept)))


def test_two_that_are_of_no_use_but_to_each_other_are_left_out_together() -> None:
    def holds(some: list[int]) -> bool:
        return 1 in some and (2 in some) == (3 in some)

    assert minimal([1, 2, 3], holds) == [1, 2, 3]
    assert minimal_in_pairs([1, 2, 3], holds) == [1]
