"""Sweep over single faults: whatever it leaves out of a fold, it comes to what a replay of the whole trace comes to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.testing.strategies import TrueRun, observations, true_runs
from replay.faults.consequences import compare, judge
from replay.faults.faults import apply, observed
from replay.faults.sweep import parts, singles, sweep
from replay.lines.reading import Line
from tests.support.fixtures import RECORDINGS, name_of
from tests.support.replaying import as_lines, lines_of

law = settings(max_examples=10)  # each sweep folds a run some hundred times
_SAMPLED = 20
"""Faults of each recording that are judged the slow way, too."""
_SOME = [path for path in RECORDINGS if path.parent.name == "0.33.0" or path.name.startswith("history-cleared")]


def assert_as_the_slow_way(lines: tuple[Line, ...] | list[Line], step: int) -> None:
    whole = observed(lines)
    before = judge(whole)
    for swept in list(sweep(lines))[::step]:
        assert swept.consequence == compare(before, judge(apply(swept.fault, whole))), swept.fault


@law
@given(st.integers(7, 11), true_runs())
def test_of_a_true_run_it_comes_to_what_each_whole_replay_comes_to(step: int, run: TrueRun) -> None:
    assert_as_the_slow_way(as_lines(run.observations), step)


@law
@given(st.lists(observations(), min_size=1, max_size=15))
def test_of_any_trace_it_comes_to_what_each_whole_replay_comes_to(whole: list[AnyObservation]) -> None:
    assert_as_the_slow_way(as_lines(whole), 1)


@pytest.mark.long
@pytest.mark.parametrize("path", RECORDINGS, ids=name_of)
def test_of_each_recording_it_comes_to_what_each_whole_replay_comes_to(path: Path) -> None:
    assert_as_the_slow_way(lines_of(path).lines, 1)


@pytest.mark.parametrize("path", _SOME, ids=name_of)
def test_of_a_recording_it_comes_to_what_each_whole_replay_comes_to(path: Path) -> None:
    lines = lines_of(path).lines
    assert_as_the_slow_way(lines, max(1, len(list(singles(observed(lines)))) // _SAMPLED))


@law
@given(true_runs())
def test_each_line_is_in_a_part(run: TrueRun) -> None:
    whole = list(run.observations)
    assert {index for part in parts(whole) for index in part} == set(range(len(whole)))


def test_of_a_fleet_each_server_is_a_part() -> None:
    for path in RECORDINGS:
        if path.name.startswith("fleet-small"):
            assert len(parts(observed(lines_of(path).lines))) > 1
