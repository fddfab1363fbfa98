"""Deaf sockets: open, and without what was sent to them."""

from __future__ import annotations

import pytest

from comfy_fsm.core.effects import OpenSocket
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.policy import Policy
from tests.support.stories import AWAY, ID, ID2, ME, Story, begun, record


def codes(board: Board) -> set[Code]:
    return {finding.code for finding in board.findings}


def reopens(board: Board) -> bool:
    return any(isinstance(effect, OpenSocket) for effect in board.drain())


def test_an_open_socket_without_a_frame_about_what_runs_is_deaf_and_opened_anew() -> None:
    board = Story().listen().post().look((ID,)).wait(5).board()
    assert Code.DEAF_SOCKET in codes(board)
    assert reopens(board)


NOT_DEAF: dict[str, Story] = {
    "its time is not over": Story().listen().post().look((ID,)),
    "it heard something": Story().listen().post().hear("execution_start").look((ID,)).wait(5),
    "it heard something in time": Story().listen().post().look((ID,)).hear("execution_start").wait(5),
    "it is closed": Story().listen().hang_up(1000).post().look((ID,)).wait(5),
    "it was opened after the post": Story().post().listen().look((ID,)).wait(5),
    "nobody is addressed": Story().listen().post(client_id=None).look((ID,)).wait(5),
    "it waits, and there is nothing to hear": Story().listen().post().look(pending=(ID,)).wait(5),
}


@pytest.mark.parametrize("name", NOT_DEAF)
def test_a_socket_is_not_called_deaf_while(name: str) -> None:
    assert Code.DEAF_SOCKET not in codes(NOT_DEAF[name].board())


def test_a_close_is_the_last_moment_for_what_was_to_come() -> None:
    assert Code.DEAF_SOCKET in codes(Story().listen().post().look((ID,)).hang_up().board())
    assert Code.DEAF_SOCKET in codes(Story().listen().post().look((ID,)).board(finish=True))


def test_an_end_that_only_the_record_told_was_missed_once_its_time_is_over() -> None:
    board = begun().fetch(record()).board()
    assert Code.MISSED_END not in codes(board)
    assert reopens(board)
    assert Code.MISSED_END in codes(begun().fetch(record()).wait(5).board())
    assert Code.MISSED_END in codes(begun().fetch(record()).board(finish=True))


def test_an_end_that_comes_a_moment_after_its_record_was_not_missed() -> None:
    story = begun().fetch(record())
    story._at -= 0.9
    assert Code.MISSED_END not in codes(story.hear("execution_success").wait(5).board())


def test_what_a_closed_socket_did_not_hear_is_missed_and_no_reason_to_open_another() -> None:
    board = begun().hang_up().fetch(record()).wait(5).board()
    assert Code.MISSED_END in codes(board)


def test_a_window_that_never_had_a_socket_missed_nothing() -> None:
    assert Code.MISSED_END not in codes(Story().post().fetch(record()).wait(5).board())


def test_what_was_moved_elsewhere_is_no_longer_expected_here() -> None:
    patient = Policy(settle_seconds=60)
    story = Story().listen().post().look((ID,)).look().fetch().look().fetch().command("seek", to=AWAY)
    story.elsewhere(AWAY, "q", "/queue", {"running": [ID], "pending": []}).command("adopt", to=AWAY).wait(100)
    board = story.board(patient)
    assert board.tasks[0].server == AWAY
    assert not {Code.DEAF_SOCKET, Code.MISSED_END} & codes(board)


def test_what_moved_and_then_settled_has_its_time_from_the_later_of_the_two() -> None:
    story = Story().listen().post().look((ID,))
    story._at += 0.5
    story.fetch(record()).wait(0.0)
    assert Code.MISSED_END not in codes(story.board())
    assert Code.MISSED_END in codes(story.wait(3).board())


def test_many_ends_are_checked_each_in_its_time() -> None:
    story = Story().listen().post().start().fetch(record()).post(prompt_id=ID2)
    story.ask("GET", f"/history/{ID2}", None, 200, {ID2: record() | {"prompt": [1, ID2, {}, {}, []]}})
    assert sum(finding.code == Code.MISSED_END for finding in story.wait(0.5).board().findings) == 1
    missed = [finding.prompt_id for finding in story.wait(5).board().findings if finding.code == Code.MISSED_END]
    assert missed == [ID, ID2]
    assert story.lines[0].count(ME.encode()) == 1
