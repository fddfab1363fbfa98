"""Tests of thinning: bounded, even, in order, and honest about what it left out."""

from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.report.picture.thinning import Thinned


@given(st.integers(0, 5_000), st.integers(2, 100))
def test_what_is_kept_is_bounded_in_order_and_even(count: int, most: int) -> None:
    thinned = Thinned[int](most)
    for number in range(count):
        thinned.add(number)
    assert len(thinned.items) <= most
    assert thinned.left_out == count - len(thinned.items)
    steps = {after - before for before, after in zip(thinned.items, thinned.items[1:], strict=False)}
    assert len(steps) <= 1
    assert count > most or thinned.items == list(range(count))
