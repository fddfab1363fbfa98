"""What a line needs before it, and that a part which keeps it is one that a recorder could have seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.testing.strategies import TrueRun, observations, true_runs
from replay.lines.order import admissible, needs
from tests.support.replaying import as_lines


@given(st.data(), true_runs())
def test_an_admissible_part_holds_no_answer_without_its_request_and_no_frame_without_its_socket(
    data: st.DataObject, run: TrueRun
) -> None:
    lines = as_lines(run.observations)
    chosen = data.draw(st.sets(st.sampled_from(range(len(lines)))))
    part = [lines[index].observation for index in admissible(chosen, needs(lines))]
    assert unfounded(part) == []


def unfounded(part: list[AnyObservation]) -> list[AnyObservation]:
    """What of a part could not have been seen, found by the slow and obvious way."""
    asked: set[str] = set()
    opened: set[tuple[str | None, str | None]] = set()
    found = []
    for o in part:
        match o:
            case seen.Request():
                asked.add(o.data.id)
            case seen.Response() | seen.NoAnswer() if o.data.id not in asked:
                found.append(o)
            case seen.Opened():
                opened.add((o.window, o.server))
            case seen.Message() | seen.Closed() | seen.Binary() if (o.window, o.server) not in opened:
                found.append(o)
    return found


@given(true_runs())
def test_the_whole_is_admissible(run: TrueRun) -> None:
    lines = as_lines(run.observations)
    assert admissible(range(len(lines)), needs(lines)) == list(range(len(lines)))


@given(st.data(), st.lists(observations(), max_size=20))
def test_of_any_trace_what_is_admissible_is_so_again_and_more_of_it_leaves_no_less(
    data: st.DataObject, line: list[AnyObservation]
) -> None:
    needed = needs(as_lines(line))
    assert all(before < index for index, some in enumerate(needed) for before in some)
    few = data.draw(st.sets(st.integers(0, max(len(line) - 1, 0)))) & set(range(len(line)))
    once = admissible(few, needed)
    assert admissible(once, needed) == once
    assert set(once) <= set(admissible(range(len(line)), needed))


def test_what_names_a_prompt_needs_the_line_that_gave_it_its_id() -> None:
    """A chosen id is given by the POST, another by its answer; what came before either needs neither."""
    chosen, given_id = Raw(b'{"prompt_id":"p1"}'), Raw(b'{"prompt_id":"p2"}')
    where = {"window": "w", "server": "http://one:8188"}
    frame = seen.Executing(seen.ExecutingData("p2", "1"))
    line: list[AnyObservation] = [
        seen.Message(at=1.0, data=frame, **where),
        seen.Request(at=2.0, data=seen.RequestData("r", "POST", "/prompt", chosen), **where),
        seen.Response(at=3.0, data=seen.ResponseData("r", 200, given_id), **where),
        seen.Message(at=4.0, data=frame, **where),
        seen.Command(at=5.0, data=seen.CommandData("recover", "p1")),
    ]
    assert needs(as_lines(line)) == [frozenset(), frozenset(), frozenset({1}), frozenset({2}), frozenset({1})]
