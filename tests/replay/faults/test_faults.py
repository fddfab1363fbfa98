"""Single faults: what each makes of a trace, and that none makes what no recorder could have seen."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.testing.strategies import TrueRun, observations, true_runs
from replay.faults.consequences import compare, judge
from replay.faults.faults import Fault, Kind, apply, is_possible, words
from replay.faults.sweep import parts, singles, sweep
from replay.lines.order import source_of
from replay.lines.reading import Line
from tests.support.fixtures import RECORDINGS, name_of
from tests.support.replaying import as_lines, lines_of

KINDS: tuple[Kind, ...] = get_args(Kind)
law = settings(max_examples=15)  # each sweep folds a run some hundred times
runs = true_runs().map(lambda run: as_lines(run.observations))


@st.composite
def faults(draw: st.DrawFn, lines: list[Line]) -> Fault:
    kind, index = draw(st.sampled_from(KINDS)), draw(st.integers(0, len(lines) - 1))
    fault = Fault(kind, index, draw(st.sampled_from((0.01, 1.0))))
    return fault if is_possible(fault, lines) else Fault("drop", fault.index)


@given(runs)
def test_without_a_fault_it_is_what_it_was(lines: list[Line]) -> None:
    assert apply(None, lines) == [line.observation for line in lines]
    assert compare(judge(apply(None, lines)), judge(apply(None, lines))).is_nothing


@given(st.data(), st.lists(observations(), min_size=1, max_size=20).map(as_lines))
def test_any_fault_of_any_trace_can_be_judged_and_told(data: st.DataObject, lines: list[Line]) -> None:
    fault = data.draw(faults(lines))
    judge(apply(fault, lines))
    assert words(fault, lines).startswith(f"line {fault.index + 1} (")


@given(st.data(), runs)
def test_no_answer_comes_before_its_request_and_each_source_keeps_its_time(
    data: st.DataObject, lines: list[Line]
) -> None:
    fault = data.draw(faults(lines))
    asked = {line.observation.data.id for line in lines if isinstance(line.observation, seen.Request)}
    made = apply(fault, lines)
    last: dict[object, float] = {}
    for o in made:
        if fault.kind not in ("delay", "drop", "swap"):
            if isinstance(o, seen.Request):
                asked.discard(o.data.id)
            assert not isinstance(o, seen.Response | seen.NoAnswer) or o.data.id not in asked
        if source_of(o)[2] == "socket":
            assert o.at >= last.get(source_of(o), 0.0)
            last[source_of(o)] = o.at


def two_windows() -> list[AnyObservation]:
    one = "http://one:8188"
    ends = [seen.ExecutionSuccess(seen.PromptData(name)) for name in ("p2", "p3", "p6")]
    early, late, last = (
        seen.Message(at=at, window="a", server=one, data=end) for at, end in zip((2.0, 3.0, 6.0), ends, strict=True)
    )
    other = seen.Message(at=4.0, window="b", server=one, data=seen.Status())
    return [seen.Opened(at=1.0, window="a", server=one), early, late, other, last]


def told(made: list[AnyObservation]) -> list[tuple[str, str, float]]:
    return [(str(o.__struct_config__.tag), o.window or "", o.at) for o in made]


def test_a_frame_that_is_late_holds_up_those_behind_it_and_no_other_socket() -> None:
    made = apply(Fault("delay", 1, 2.5), as_lines(two_windows()))
    assert [(window, at) for _, window, at in told(made)] == [
        ("a", 1.0), ("b", 4.0), ("a", 4.5), ("a", 4.5), ("a", 6.0),
    ]  # fmt: skip


def test_a_socket_that_is_cut_brings_nothing_until_it_is_open_again() -> None:
    made = apply(Fault("cut", 2, 2.0), as_lines(two_windows()))
    assert told(made) == [
        ("ws.open", "a", 1.0), ("ws.message", "a", 2.0), ("ws.close", "a", 3.0), ("ws.message", "b", 4.0),
        ("ws.open", "a", 5.0), ("ws.message", "a", 6.0),
    ]  # fmt: skip


def test_what_is_swapped_changes_places_and_leaves_the_times() -> None:
    before = two_windows()
    made = apply(Fault("swap", 2), as_lines(before))
    assert [o.at for o in made] == [o.at for o in before]
    assert made[2] == msgspec.structs.replace(before[4], at=3.0)
    assert made[4] == msgspec.structs.replace(before[2], at=6.0)


def test_a_server_that_forgets_shows_no_prompt_of_before_in_any_body() -> None:
    for path in RECORDINGS:
        if path.name.startswith(("completed", "jobs", "socket-drop")):
            lines = lines_of(path).lines
            end = max(n for n, line in enumerate(lines) if isinstance(line.observation, seen.Response))
            made = apply(Fault("forget", end), lines)
            assert len(made) == len(lines)
            assert made[:end] == [line.observation for line in lines[:end]]


@law
@given(true_runs())
def test_a_frame_that_comes_twice_changes_no_task(run: TrueRun) -> None:
    lines = as_lines(run.observations)
    whole = judge(run.observations)
    for fault in singles(lines):
        if fault.kind == "double":
            assert not compare(whole, judge(apply(fault, lines))).tasks


@law
@given(true_runs())
def test_server_by_server_comes_to_the_same_as_all_at_once(run: TrueRun) -> None:
    lines = as_lines(run.observations)
    whole = judge(run.observations)
    assert {index for part in parts(lines) for index in part} == set(range(len(lines)))
    for swept in list(sweep(lines))[::7]:
        assert compare(whole, judge(apply(swept.fault, lines))) == swept.consequence


@pytest.mark.parametrize("path", [path for path in RECORDINGS if path.name.startswith("fleet-small")], ids=name_of)
def test_of_a_fleet_each_server_is_judged_by_itself_and_comes_to_the_same(path: Path) -> None:
    lines = lines_of(path).lines
    assert len(parts(lines)) > 1
    whole = judge(line.observation for line in lines)
    for part in parts(lines):
        chosen = [lines[index] for index in part]
        alone = judge(apply(None, chosen))
        for fault in list(singles(chosen))[::90]:
            there = Fault(fault.kind, part[fault.index])
            assert compare(whole, judge(apply(there, lines))) == compare(alone, judge(apply(fault, chosen)))
