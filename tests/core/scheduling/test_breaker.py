"""The circuit breaker: when a server is left out, for how long, and what brings it back."""

from __future__ import annotations

import pytest

from comfy_fsm.core.scheduling.breaker import Breaker, Standing


def test_a_server_that_fails_is_left_alone_for_twice_as_long_each_time_and_tried_with_one_task() -> None:
    breaker, now, waits = Breaker(first_seconds=1.0, limit_seconds=8.0), 0.0, []
    for _ in range(6):
        breaker.fail(now)
        assert breaker.room(5) == 0
        waits.append(breaker.again_at - now)
        breaker.answer(breaker.again_at - 0.01)
        assert breaker.room(5) == 0
        now = breaker.again_at
        breaker.answer(now)
        assert breaker.room(5) == 1
    assert waits == [1, 2, 4, 8, 8, 8]
    breaker.accept()
    assert (breaker.room(5), breaker.failures) == (5, 6)
    breaker.complete()
    assert breaker.failures == 0


def test_a_server_where_nothing_moves_is_out_until_something_does() -> None:
    breaker = Breaker(still_seconds=100)
    breaker.see(frozenset("ab"), 3, 0.0)
    breaker.see(frozenset("abc"), 3, 99.0)  # more in its queue is no movement
    assert breaker.standing is Standing.UP
    breaker.see(frozenset("abcd"), 3, 100.0)
    assert breaker.standing is Standing.STILL
    breaker.answer(1e9)
    assert breaker.room(5) == 0  # that it answers was never in doubt
    breaker.see(frozenset("bcd"), 3, 200.0)
    assert breaker.room(5) == 1
    breaker.accept()
    assert breaker.room(5) == 1  # it accepted before, too
    breaker.complete()
    assert breaker.room(5) == 5


def test_a_queue_that_we_emptied_ourselves_is_no_movement_and_each_trial_comes_later() -> None:
    breaker, now, waits = Breaker(still_seconds=10, limit_seconds=60), 0.0, []
    for trial in "abcde":
        breaker.see(frozenset(trial), 0, now)
        breaker.see(frozenset(trial), 0, now := now + 10)
        assert breaker.standing is Standing.STILL
        began = now
        while breaker.standing is Standing.STILL:
            breaker.see(frozenset(), 0, now := now + 1, frozenset(trial))
        waits.append(now - began)
    assert waits == [10, 20, 40, 60, 60]


@pytest.mark.parametrize(("standing", "room"), [("up", 5), ("trial", 1), ("out", 0), ("still", 0)])
def test_its_standing_says_how_many_tasks_a_server_may_hold(standing: str, room: int) -> None:
    assert Breaker(standing=Standing(standing)).room(5) == room
    assert Breaker(standing=Standing(standing)).room(0) == 0


@pytest.mark.parametrize("act", ["complete", "accept"])
def test_a_server_that_is_up_or_out_is_not_moved_by_what_it_did_before(act: str) -> None:
    for standing in (Standing.UP, Standing.OUT, Standing.STILL):
        breaker = Breaker(standing=standing)
        getattr(breaker, act)()
        assert breaker.standing is standing


def test_a_frame_is_movement_where_the_queue_stays_as_it_is() -> None:
    breaker = Breaker(still_seconds=10)
    for now in range(0, 100, 5):
        breaker.see(frozenset("a"), now, float(now))
    assert breaker.standing is Standing.UP
