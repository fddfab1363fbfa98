"""Adoption: a task is bound to another server only if its own denied it, and the other showed it when asked."""

from __future__ import annotations

import pytest

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import Policy
from tests.support.stories import AWAY, HOME, ID, ID2, ME, Story, begun, record

SHOWN = {"running": [ID], "pending": []}


def bound(board: Board) -> str:
    return board.tasks[0].server


def lost() -> Story:
    return begun().vanish()


def seen_away(story: Story, path: str = "/queue", answer: object = SHOWN) -> Story:
    return story.command("seek", to=AWAY).elsewhere(AWAY, "q", path, answer)


SHOWINGS: dict[str, tuple[str, object, bool]] = {
    "listed": ("/queue", SHOWN, True),
    "recorded": (f"/history/{ID}", {ID: record()}, True),
    "a job": (f"/api/jobs/{ID}", {"id": ID, "status": "in_progress"}, True),
    "a job without a status": (f"/api/jobs/{ID}", {"id": ID}, False),
    "another listed": ("/queue", {"running": [ID2], "pending": []}, False),
    "no record": (f"/history/{ID}", {}, False),
    "a record of another": (f"/history/{ID}", {ID: record() | {"prompt": [1, ID2, {}, {}, []]}}, False),
}


@pytest.mark.parametrize("name", SHOWINGS)
def test_a_lost_task_is_bound_to_the_server_that_shows_it(name: str) -> None:
    path, answer, shows = SHOWINGS[name]
    board = seen_away(lost(), path, answer).command("adopt", to=AWAY).board()
    assert bound(board) == (AWAY if shows else HOME)
    if shows:
        assert board.tasks[0].state is State.UNCERTAIN
        assert board.task(ID, AWAY) is board.tasks[0]


NOT_ADOPTED: dict[str, Story] = {
    "it was not asked for": lost().elsewhere(AWAY, "q", "/queue", SHOWN).command("adopt", to=AWAY),
    "its own server did not deny it": seen_away(begun()).command("adopt", to=AWAY),
    "no server is named": seen_away(lost()).command("adopt"),
    "another server is named": seen_away(lost()).command("adopt", to="http://third"),
    "no server was sought": lost().command("seek").command("adopt", to=AWAY),
    "its own was sought": lost().command("seek", to=HOME).look((ID2,)).command("adopt", to=HOME),
    "it is final": seen_away(begun().hear("execution_success").fetch(record())).command("adopt", to=AWAY),
    "the other has a task of that id": seen_away(lost().at(AWAY).post().at(HOME)).command("adopt", to=AWAY),
}


@pytest.mark.parametrize("name", NOT_ADOPTED)
def test_a_task_stays_where_it_is_if(name: str) -> None:
    assert bound(NOT_ADOPTED[name].board()) == HOME


def test_who_asks_too_many_servers_asks_no_more() -> None:
    story = lost()
    for number in range(2):
        story.command("seek", to=f"http://{number}")
    assert bound(seen_away(story).command("adopt", to=AWAY).board(Policy(acts=2))) == HOME
    assert bound(seen_away(lost()).command("adopt", to=AWAY).board(Policy(acts=2))) == AWAY


NONE = {
    "no record": (f"/history/{ID}", 200, {}),
    "no job": (f"/api/jobs/{ID}", 404, {"error": "Job not found"}),
}


@pytest.mark.parametrize("name", NONE)
def test_a_server_that_did_not_show_it_is_asked_again_only_if_it_is_sought_again(name: str) -> None:
    path, status, answer = NONE[name]
    story = lost().command("seek", to=AWAY)
    story.tell("http.request", {"id": "first", "method": "GET", "path": path}, server=AWAY)
    story.tell("http.response", {"id": "first", "status": status, "body": answer}, server=AWAY)
    story.elsewhere(AWAY, "q", "/queue", SHOWN).command("adopt", to=AWAY)
    assert bound(story.board()) == HOME
    story.command("seek", to=AWAY).elsewhere(AWAY, "again", "/queue", SHOWN).command("adopt", to=AWAY)
    assert bound(story.board()) == AWAY


def test_one_that_showed_it_once_did_so_though_it_has_no_record() -> None:
    story = seen_away(lost()).elsewhere(AWAY, "h", f"/history/{ID}", {}).command("adopt", to=AWAY)
    assert bound(story.board()) == AWAY


def test_an_open_task_is_moved_once_its_absence_is_proved() -> None:
    """It is proved by rounds that the fold may not yet have concluded from."""
    story = begun().look().fetch().wait(0.0).look().fetch()
    board = seen_away(story).command("adopt", to=AWAY).board()
    assert bound(board) == AWAY


def test_whoever_was_moved_hears_of_its_run_at_the_other_server() -> None:
    story = seen_away(lost()).command("adopt", to=AWAY).at(AWAY).listen().start().hear("execution_success")
    board = story.fetch(record()).board()
    assert (bound(board), board.tasks[0].state, board.tasks[0].window) == (AWAY, State.COMPLETED, ME)
    assert board.open_at(HOME) == []


def test_what_a_task_without_a_window_left_behind_is_nobodys() -> None:
    """A prompt that is followed is addressed to nobody (P2), and no socket waits for its end."""
    story = Story().ask("GET", "/features", None, 200, {}).command("follow").vanish()
    board = seen_away(story).command("adopt", to=AWAY).board()
    assert bound(board) == AWAY


def test_an_id_that_two_servers_know_is_moved_from_one_only() -> None:
    story = Story().at("http://third").post().at(HOME).listen().post().start().vanish()
    board = seen_away(story).elsewhere(AWAY, "adopt", "/queue", SHOWN).board()
    adopting = story.tell("command", {"name": "adopt", "prompt_id": ID, "to": AWAY}, server=HOME).board()
    assert [task.server for task in board.tasks] == ["http://third", HOME]
    assert [task.server for task in adopting.tasks] == ["http://third", AWAY]
