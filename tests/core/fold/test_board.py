"""The board: what it is told, what it then says, and that nothing is folded twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import AnyObservation, Entry
from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.core.wire import codec
from comfy_fsm.testing.strategies import observations
from tests.support.examples import few
from tests.support.folding import entries, fold_all, outcomes
from tests.support.stories import AWAY, HOME, ID, ID2, ME, OTHER, STORIES, Story, begun, record


def codes(board: Board) -> set[Code]:
    return {finding.code for finding in board.findings}


@pytest.mark.parametrize("name", STORIES)
def test_an_entry_that_was_folded_already_changes_nothing(name: str) -> None:
    once, twice = Board(), Board()
    for entry in entries(map(codec.parse, STORIES[name][0].lines)):
        once.fold(entry)
        twice.fold(entry)
        twice.fold(entry)
    assert outcomes(once) == outcomes(twice)
    assert [(each.code, each.count) for each in once.findings] == [(each.code, each.count) for each in twice.findings]
    assert once.position == twice.position


def test_damage_is_told_even_where_its_entry_was_read_all_the_same() -> None:
    board = begun().board()
    damage = seen.Damaged(at=board.now, data=seen.DamageData("damaged", "a cell is broken"))
    board.fold(Entry(1, damage))
    assert [finding.text for finding in board.findings] == ["a cell is broken"]


@few
@given(st.lists(observations(), max_size=15))
def test_no_observation_raises_and_what_is_asked_for_is_handed_over_once(drawn: list[AnyObservation]) -> None:
    board = fold_all(drawn)
    effects = board.drain()
    assert [effect.due for effect in effects] == sorted(effect.due for effect in effects)
    assert board.drain() == []
    assert board.position == len(drawn)


def test_effects_that_nobody_performs_are_dropped() -> None:
    board = begun().hear("execution_success").board()
    board.discard()
    assert board.drain() == []


def test_it_wants_a_tick_while_something_is_open_and_none_when_all_is_said() -> None:
    assert Board().due == math.inf
    board = begun().board()
    assert board.now < board.due < board.now + DEFAULT.check_seconds
    settled = begun().hear("execution_success").hear("executing", node=None).fetch(record()).wait(1_000).board()
    assert settled.due == math.inf


def test_where_a_trace_ends_what_is_open_is_undecided() -> None:
    assert Code.UNRESOLVED not in codes(begun().board())
    (note,) = (finding for finding in begun().board(finish=True).findings if finding.code == Code.UNRESOLVED)
    assert note.text == "still in_progress where the trace ends"


def test_where_a_trace_ends_frames_that_nobody_claimed_are_of_an_unknown_prompt() -> None:
    story = Story().listen().hear("progress", value=1, max=2)
    assert Code.UNKNOWN_PROMPT in codes(story.board(finish=True))


def test_where_a_trace_ends_outputs_of_a_record_without_a_status_count() -> None:
    """Before January 2024 a record does not say how it ended, and its outputs may be partial."""
    entry = {"prompt": [1, ID, {}, {}, ["2", "3"]], "outputs": {"2": {"images": [{"filename": "a.png"}]}}}
    board = Story().listen().post().hear("execution_start").fetch(entry).board(finish=True)
    (task,) = board.tasks
    assert (task.state, [output.filename for output in task.outputs]) == (State.ENDING, ["a.png"])


def test_what_it_says_of_tasks_and_servers_is_what_it_was_told() -> None:
    board = Story().listen().post().post(prompt_id=ID2).look(running=(ID,), pending=(ID2,)).board()
    assert [task.prompt_id for task in board.tasks] == [ID, ID2]
    assert board.listed(HOME) == {ID, ID2}
    assert board.listed(AWAY) is None
    assert (board.addresses, board.windows) == ([HOME], [ME])
    assert [task.prompt_id for task in board.open_at(HOME)] == [ID, ID2]
    assert board.open_at(AWAY) == []
    assert board.takes_ids(HOME)
    assert not board.takes_ids(AWAY)
    assert board.size == len(board.tasks) + 2
    assert board.imaged is None
    task = board.task(ID, HOME)
    assert task is not None
    assert board.task(ID, AWAY) is None
    assert board.findings_of(task) == []
    assert board.witness_for(task) is None
    assert not board.still_absent(task, board.now)
    assert board.may_move(task) is None
    assert not board.denied(task)
    assert begun().vanish().board().denied(begun().vanish().board().tasks[0])


def test_an_absence_is_proved_when_its_rounds_suffice_and_when_it_is_settled() -> None:
    story = Story().listen().post().look().fetch()
    board = story.board()
    assert not board.proved_absent(board.tasks[0])
    board = story.wait(15.0).look().fetch().board()
    assert (board.tasks[0].settled, board.proved_absent(board.tasks[0])) == (False, True)
    board = story.wait(5).board()
    assert (board.tasks[0].settled, board.proved_absent(board.tasks[0])) == (True, True)


def test_the_findings_about_a_task_are_in_the_order_of_their_table() -> None:
    story = begun().hear("execution_start", timestamp=1).vanish()
    board = story.board()
    (task,) = board.tasks
    assert [finding.code for finding in board.findings_of(task)] == [
        code for code in Code if code in {finding.code for finding in board.findings}
    ]


def test_a_name_that_a_server_did_not_take_finds_the_task_that_it_was_chosen_for() -> None:
    body = {"prompt": {}, "prompt_id": ID, "client_id": ME}
    board = Story().listen().ask("POST", "/prompt", body, 200, {"prompt_id": ID2}).board()
    assert board.task(ID, HOME) is board.task(ID2, HOME) is board.tasks[0]


# headers, and lines that say little


def header(**policy: object) -> Story:
    return Story().tell("trace", {"version": 1, "policy": policy}, window=None, server=None)


def test_a_header_states_the_policy_unless_it_is_fixed_or_says_nothing() -> None:
    assert header(check_seconds=7.0).board().policy.check_seconds == 7.0
    assert header().board().policy == DEFAULT
    fixed = Board(Policy(check_seconds=9.0), fixed=True)
    fixed.fold_observation(1, codec.parse(header(check_seconds=7.0).lines[0]))
    assert fixed.policy.check_seconds == 9.0


LINES = {
    Code.UNDECODABLE: Story().tell("ws.undecodable", {"error": "no JSON", "text": "x"}),
    Code.UNRECOGNIZED: Story().tell("unheard of", {}),
}


@pytest.mark.parametrize("code", LINES)
def test_a_line_that_says_nothing_of_a_task_is_noted(code: Code) -> None:
    assert codes(LINES[code].board()) == {code}


@pytest.mark.parametrize(
    "line", [b'{"at":1,"kind":"tick","redacted":true}', b'{"at":1,"kind":"tick","data":{},"redacted":true}']
)
def test_a_line_from_which_something_was_removed_is_noted(line: bytes) -> None:
    board = fold_all([codec.parse(line)])
    assert [(finding.code, finding.text) for finding in board.findings] == [(Code.REDACTED, "in a line of kind tick")]


def test_a_known_kind_of_an_unknown_shape_says_why_it_was_not_judged() -> None:
    (note,) = Story().tell("http.request", {"id": 7}).board().findings
    assert note.text.startswith("line of kind 'http.request': ")


def test_time_is_that_of_the_monotonic_clock_where_there_is_one() -> None:
    lines = [b'{"at":%d,"kind":"tick","mono":%d}' % (at, mono * 10**9) for at, mono in ((100, 1), (9_000, 2))]
    assert fold_all(map(codec.parse, lines)).now == 101.0


def test_whose_frames_only_go_to_it_has_nothing_to_ask_about_when_it_is_taken_over() -> None:
    board = Story().listen().post(client_id=OTHER).tell("command", {"name": "resume"}, OTHER).board()
    assert board.server(HOME).outage is None
    assert begun().command("resume").board().server(HOME).outage is not None
