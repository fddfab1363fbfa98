"""Silence: nothing is given up unasked, and time in which nobody could be asked is no silence."""

from __future__ import annotations

from itertools import pairwise

import pytest

from comfy_fsm.core.effects import AnyEffect, FetchHistory, Warn
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import DEFAULT
from tests.support.stories import ID, ID2, Story, begun, record


def state(story: Story) -> State:
    return story.board().tasks[0].state


def codes(board: Board) -> set[Code]:
    return {finding.code for finding in board.findings}


def wanted(board: Board) -> set[type[AnyEffect]]:
    return {type(effect) for effect in board.drain()}


def silent(story: Story, seconds: float) -> Story:
    """Ticks as often as a board may want them."""
    for _ in range(int(seconds / 5)):
        story.wait(4.0)
    return story


def test_what_is_quiet_for_a_moment_has_its_record_fetched_and_is_not_reported() -> None:
    board = begun().wait(DEFAULT.confirm_seconds).board()
    assert wanted(board) == {FetchHistory}
    assert Code.SILENCE not in codes(board)


def test_a_record_that_is_not_there_yet_is_fetched_less_and_less_often() -> None:
    fetched, story = [], begun()
    for second in range(28):
        board = story.wait(0.0).board()
        if any(isinstance(effect, FetchHistory) for effect in board.drain()):
            fetched.append(second)
            story.fetch()
    gaps = [later - earlier for earlier, later in pairwise(fetched)]
    assert len(fetched) >= 2
    assert gaps == sorted(gaps)


def test_silence_is_reported_then_warned_of_then_given_up() -> None:
    story = begun()
    assert Code.SILENCE in codes(silent(story, DEFAULT.check_seconds + 5).board())
    assert Warn in wanted(silent(story, DEFAULT.warn_seconds).board())
    assert state(silent(story, DEFAULT.expire_seconds)) is State.EXPIRED


def test_a_sign_of_life_begins_a_new_silence() -> None:
    story = begun()
    for _ in range(4):
        silent(story, DEFAULT.expire_seconds / 2).hear("progress", value=1, max=2)
    assert state(story) is State.IN_PROGRESS


def test_one_late_entry_gives_nothing_up_unasked() -> None:
    assert state(begun().wait(10_000)) is State.IN_PROGRESS


def test_a_server_that_cannot_be_asked_is_waited_for_and_not_for_ever() -> None:
    story = begun().look(status="ReadTimeout")
    assert state(silent(story, 2 * DEFAULT.expire_seconds)) is State.IN_PROGRESS
    board = silent(story, (DEFAULT.unreachable_times + 1) * DEFAULT.expire_seconds).board()
    assert board.tasks[0].state is State.EXPIRED
    assert board.tasks[0].cause is not None
    assert board.tasks[0].cause.kind == "unreachable"


def test_the_time_in_which_it_could_not_be_asked_is_no_silence() -> None:
    story = silent(begun().look(status="ReadTimeout"), 2 * DEFAULT.expire_seconds).look((ID2,))
    assert state(silent(story, DEFAULT.expire_seconds - 60)) is State.IN_PROGRESS


def test_a_stated_end_is_delivered_though_its_record_never_comes() -> None:
    story = begun().hear("execution_success")
    for _ in range(10):
        story.fetch(status="ReadTimeout").wait(4.0)
    board = story.board()
    assert (board.tasks[0].state, Code.UNVERIFIED in codes(board)) == (State.COMPLETED, True)
    assert FetchHistory in wanted(board)
    late = story.fetch(record()).board()
    assert (late.tasks[0].confidence, Code.UNVERIFIED in codes(late)) == ("verified", False)


def test_a_record_that_is_owed_is_asked_for_only_so_often() -> None:
    story = begun().hear("execution_success")
    for _ in range(9):
        story.wait(4.0)
    for _ in range(14):
        story.fetch()
    board = story.board()
    assert board.tasks[0].state is State.COMPLETED


@pytest.mark.parametrize("settled_by", ["record", "absence"])
def test_what_settled_before_its_turn_came_is_not_given_up(settled_by: str) -> None:
    story = begun().hear("execution_success") if settled_by == "record" else begun()
    story.wait(200)
    story._at -= 1.0
    if settled_by == "record":
        story.fetch(record())
    else:
        story.vanish()
    assert state(story.wait(200)) in (State.COMPLETED, State.LOST)


def test_a_task_without_an_id_is_given_up_too() -> None:
    story = Story().listen()
    body = {"prompt": {}, "client_id": "a" * 32}
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": body})
    assert state(silent(story, 2 * DEFAULT.expire_seconds)) is State.EXPIRED


def test_a_list_that_is_still_being_read_is_waited_for() -> None:
    story = begun()
    silent(story, DEFAULT.expire_seconds - 20)
    story.tell("http.request", {"id": "long", "method": "GET", "path": "/queue"})
    assert state(silent(story, 20)) is State.IN_PROGRESS
    assert state(silent(story, 3 * DEFAULT.expire_seconds)) is State.EXPIRED


def test_whom_nobody_tells_of_the_end_is_asked_about() -> None:
    """A prompt that was posted without a client id is addressed to nobody (P2)."""
    board = Story().post(client_id=None).look((ID,)).board()
    assert board.drain()


def test_many_that_are_quiet_at_once_are_handled_in_turns() -> None:
    story = Story().listen()
    for number in range(200):
        story.post(prompt_id=f"{number:08}-2222-4333-8444-555555555555")
    silent(story, 2 * DEFAULT.expire_seconds)
    for _ in range(4):
        story.wait(0.0)
    assert {task.state for task in story.board().tasks} == {State.EXPIRED}


@pytest.mark.parametrize("told", ["record", "frame"])
def test_whatever_is_told_before_the_tick_that_would_give_it_up_counts(told: str) -> None:
    story = silent(begun(), DEFAULT.expire_seconds - 10)
    story._at += 40.0
    story = story.fetch(record()) if told == "record" else story.hear("progress", value=1, max=2)
    assert state(story.wait(0.0)) is (State.COMPLETED if told == "record" else State.IN_PROGRESS)
