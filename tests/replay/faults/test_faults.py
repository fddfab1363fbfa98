"""Single faults: what each makes of a trace, and that none makes what no recorder could have seen."""

from __future__ import annotations

from typing import get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.testing.strategies import TrueRun, observations, true_runs
from replay.faults.consequences import compare, judge
from replay.faults.faults import Fault, Kind, apply, is_possible, observed, words
from replay.faults.sweep import singles
from replay.lines.order import source_of
from replay.lines.reading import Line
from tests.support.fixtures import RECORDINGS
from tests.support.replaying import as_lines, lines_of

KINDS: tuple[Kind, ...] = get_args(Kind)
law = settings(max_examples=15)  # each sweep folds a run some hundred times
runs = true_runs().map(lambda run: observed(as_lines(run.observations)))


@st.composite
def faults(draw: st.DrawFn, whole: list[AnyObservation]) -> Fault:
    kind, index = draw(st.sampled_from(KINDS)), draw(st.integers(0, len(whole) - 1))
    fault = Fault(kind, index, draw(st.sampled_from((0.01, 1.0))))
    return fault if is_possible(fault, whole) else Fault("drop", fault.index)


@given(runs)
def test_without_a_fault_it_is_what_it_was(whole: list[AnyObservation]) -> None:
    assert apply(None, whole) == whole
    assert compare(judge(whole), judge(apply(None, whole))).is_nothing


@given(st.data(), st.lists(observations(), min_size=1, max_size=20).map(as_lines))
def test_any_fault_of_any_trace_can_be_judged_and_told(data: st.DataObject, lines: list[Line]) -> None:
    whole = observed(lines)
    fault = data.draw(faults(whole))
    judge(apply(fault, whole))
    assert words(fault, lines).startswith(f"line {fault.index + 1} (")


@given(st.data(), runs)
def test_no_answer_comes_before_its_request_and_each_source_keeps_its_time(
    data: st.DataObject, whole: list[AnyObservation]
) -> None:
    fault = data.draw(faults(whole))
    asked = {o.data.id for o in whole if isinstance(o, seen.Request)}
    made = apply(fault, whole)
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


def test_in_a_log_with_a_monotonic_clock_a_late_frame_is_late() -> None:
    own = [msgspec.structs.replace(o, mono=int(o.at * 1e9)) for o in two_windows()]
    made = apply(Fault("delay", 1, 2.5), observed(as_lines(own)))
    assert made == apply(Fault("delay", 1, 2.5), two_windows())


def told(made: list[AnyObservation]) -> list[tuple[str, str, float]]:
    return [(str(o.__struct_config__.tag), o.window or "", o.at) for o in made]


def test_a_frame_that_is_late_holds_up_those_behind_it_and_no_other_socket() -> None:
    made = apply(Fault("delay", 1, 2.5), two_windows())
    assert [(window, at) for _, window, at in told(made)] == [
        ("a", 1.0), ("b", 4.0), ("a", 4.5), ("a", 4.5), ("a", 6.0),
    ]  # fmt: skip


def test_a_socket_that_is_cut_brings_nothing_until_it_is_open_again() -> None:
    made = apply(Fault("cut", 2, 2.0), two_windows())
    assert told(made) == [
        ("ws.open", "a", 1.0), ("ws.message", "a", 2.0), ("ws.close", "a", 3.0), ("ws.message", "b", 4.0),
        ("ws.open", "a", 5.0), ("ws.message", "a", 6.0),
    ]  # fmt: skip


def test_what_is_swapped_changes_places_and_leaves_the_times() -> None:
    before = two_windows()
    made = apply(Fault("swap", 2), before)
    assert [o.at for o in made] == [o.at for o in before]
    assert made[2] == msgspec.structs.replace(before[4], at=3.0)
    assert made[4] == msgspec.structs.replace(before[2], at=6.0)


def test_a_server_that_forgets_shows_no_prompt_of_before_in_any_body() -> None:
    for path in RECORDINGS:
        if path.name.startswith(("completed", "jobs", "socket-drop")):
            whole = observed(lines_of(path).lines)
            end = max(n for n, o in enumerate(whole) if isinstance(o, seen.Response))
            made = apply(Fault("forget", end), whole)
            assert len(made) == len(whole)
            assert made[:end] == whole[:end]


@law
@given(true_runs())
def test_a_frame_that_comes_twice_changes_no_task(run: TrueRun) -> None:
    whole = list(run.observations)
    for fault in singles(whole):
        if fault.kind == "double":
            assert not compare(judge(whole), judge(apply(fault, whole))).tasks
