"""The clock: elapsed time is that of the monotonic clock, whatever the wall clock does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.observations import AnyObservation, Header, HeaderData, Tick
from comfy_fsm.core.registry.elapsed_time import STEP, ElapsedTime

NANO = 1_000_000_000
START = 1_700_000_000.0


def tick(clock: ElapsedTime, wall: float, mono: float) -> AnyObservation:
    return clock.steady(Tick(at=START + wall), int(mono * NANO))


def test_while_both_clocks_agree_an_observation_is_as_it_was() -> None:
    clock = ElapsedTime()
    for second in range(10):
        o = Tick(at=START + second)
        assert clock.steady(o, second * NANO) is o


@given(st.lists(st.tuples(st.integers(0, 1_000), st.integers(-100_000, 100_000)), min_size=2, max_size=20))
def test_whatever_steps_the_wall_clock_makes_the_seconds_that_passed_are_told(told: list[tuple[int, int]]) -> None:
    clock, mono, wall, at = ElapsedTime(), 0, 0.0, [tick(ElapsedTime(), 0.0, 0.0).at]
    tick(clock, 0.0, 0.0)
    for passed, step in told:
        mono, wall = mono + passed, wall + passed + (step if abs(step) > STEP else 0)
        at.append(tick(clock, wall, mono).at)
    assert at == pytest.approx([START + sum(passed for passed, _ in told[:n]) for n in range(len(told) + 1)], abs=0.01)


def test_a_wall_clock_that_is_adjusted_slowly_is_followed() -> None:
    clock = ElapsedTime()
    for second in range(100):
        assert tick(clock, second * 1.001, second).at == START + second * 1.001


@pytest.mark.parametrize("restart", ["header", "monotonic clock"])
def test_a_header_and_a_restart_of_the_machine_start_the_clock_anew(restart: str) -> None:
    clock = ElapsedTime()
    tick(clock, 0.0, 1_000.0)
    assert tick(clock, 5_000.0, 1_001.0).at == START + 1.0
    if restart == "header":
        o: AnyObservation = Header(at=START + 6_000.0, data=HeaderData(version=1))
        assert clock.steady(o, 1_002 * NANO) is o
    else:
        assert tick(clock, 6_000.0, 3.0).at == START + 6_000.0
