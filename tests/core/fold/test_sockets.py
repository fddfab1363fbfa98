"""Sockets: what a gap may have hidden is asked for, and a close says why."""

from __future__ import annotations

import pytest

from comfy_fsm.core.effects import AnyEffect, FetchHistory, LookAtQueue, OpenSocket
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from tests.support.stories import HOME, ID, ME, OTHER, Story, begun, record


def codes(board: Board) -> set[Code]:
    return {finding.code for finding in board.findings}


def wanted(board: Board) -> set[type[AnyEffect]]:
    return {type(effect) for effect in board.drain()}


def test_a_socket_that_closes_while_its_window_waits_is_opened_again() -> None:
    assert OpenSocket in wanted(begun().hang_up().board())
    assert OpenSocket not in wanted(begun().hang_up().listen().board())
    assert wanted(Story().listen().hang_up().board()) == set()


@pytest.mark.parametrize("back", ["socket", "request"])
def test_after_a_gap_what_was_in_flight_is_asked_for(back: str) -> None:
    story = begun().hang_up()
    board = (story.listen() if back == "socket" else story.ask("GET", "/system_stats", None, 200, {})).board()
    assert Code.SOCKET_GAP in codes(board)
    assert LookAtQueue in wanted(board)


def test_a_gap_before_the_answer_to_a_post_hides_nothing_of_it() -> None:
    board = Story().listen().post(502).hang_up().listen().board()
    assert Code.SOCKET_GAP not in codes(board)


def test_what_ended_before_the_gap_missed_nothing_and_what_did_not_may_have() -> None:
    """Before July 2024, a success is concluded from what was not reported; behind a gap that proves nothing."""
    run = Story().listen().post().hear("execution_start").hear("executing", node="1").hear("executed", node="2")
    assert run.hang_up().listen().hear("executing", node=None).board().tasks[0].outcome is None


def test_a_close_that_is_told_after_what_came_later_opens_no_gap() -> None:
    story = begun().hang_up()
    story._at -= 9.0
    assert Code.SOCKET_GAP not in codes(story.ask("GET", "/system_stats", None, 200, {}).board())


@pytest.mark.parametrize(
    ("code", "outage"), [(1001, "hang-up"), (1006, "hang-up"), (1012, "hang-up"), (1000, None), (1009, None)]
)
def test_only_a_close_that_a_dying_server_leaves_is_an_outage(code: int, outage: str | None) -> None:
    cause = begun().hang_up(code).board().server(HOME).outage
    assert (cause.kind if cause is not None else None) == outage


def test_a_second_socket_of_a_window_is_told_and_the_first_close_leaves_the_other() -> None:
    story = begun().listen()
    assert Code.SHARED_CLIENT_ID in codes(story.board())
    assert OpenSocket not in wanted(story.hang_up().board())
    assert OpenSocket in wanted(story.hang_up().board())


def test_a_close_of_a_socket_that_is_not_open_changes_nothing() -> None:
    story = Story().post().hang_up()
    assert wanted(story.board()) == wanted(Story().post().board())
    assert begun().hang_up().hang_up().board().registry.counters.gaps.count == 0


def test_a_gap_of_one_window_is_none_of_another() -> None:
    story = begun().tell("ws.open", {}, OTHER).tell("ws.close", {"code": 1000}, OTHER).tell("ws.open", {}, OTHER)
    assert Code.SOCKET_GAP not in codes(story.board())


def test_a_close_ends_the_count_of_its_socket() -> None:
    status = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 1}}}}
    story = begun().tell("ws.message", status).hang_up()
    assert [count for _, count in story.board().server(HOME).sockets[ME].counts] == [1, None]


def test_a_gap_is_told_once_though_the_socket_falls_again_while_nothing_was_told_of_it() -> None:
    story = begun().hang_up().listen().hang_up().listen()
    (gap,) = (finding for finding in story.board().findings if finding.code == Code.SOCKET_GAP)
    assert gap.count == 1
    story.look((ID,)).hang_up().listen()
    (gap,) = (finding for finding in story.board().findings if finding.code == Code.SOCKET_GAP)
    assert gap.count == 2


def test_a_window_that_is_taken_over_while_its_socket_is_down_keeps_the_moment_at_which_it_fell() -> None:
    board = begun().hang_up().wait(9).command("resume").listen().board()
    (gap,) = (finding for finding in board.findings if finding.code == Code.SOCKET_GAP)
    assert gap.positions == [len(begun().lines) + 1]


def test_what_a_gap_hid_is_settled_by_its_record() -> None:
    board = begun().hang_up().listen().look().fetch(record()).board()
    (task,) = board.tasks
    assert (task.state, task.confidence, task.prompt_id) == (State.COMPLETED, "verified", ID)
    assert FetchHistory not in wanted(board)
