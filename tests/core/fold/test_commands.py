"""Tests of commands: what the application ordered changes what is known, and nothing that is decided."""

from __future__ import annotations

from typing import get_args

import pytest

from comfy_fsm.core.effects import Deliver, LookAtQueue
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.fold.commands import _COMMANDS
from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import CommandName
from tests.support.folding import outcomes
from tests.support.stories import AWAY, ID, Story, begun, record


def codes(board: Board) -> set[Code]:
    return {finding.code for finding in board.findings}


@pytest.mark.parametrize("command", ["unheard of", "", "seek", "adopt", "recover", "callback-cut", "withdraw"])
def test_a_command_about_an_unknown_prompt_changes_nothing(command: str) -> None:
    board = Story().command(command, to=AWAY).board(finish=True)
    assert (board.tasks, board.findings) == ([], [])


def test_a_command_of_an_unknown_name_changes_nothing() -> None:
    assert outcomes(begun().command("unheard of").board()) == outcomes(begun().board())


@pytest.mark.parametrize("again", [False, True])
def test_a_prompt_is_followed_once_and_looked_for(again: bool) -> None:
    story = Story().command("follow")
    board = (story.command("follow") if again else story).board()
    (task,) = board.tasks
    assert task.state is State.UNCERTAIN
    assert [type(effect) for effect in board.drain()] == [LookAtQueue]


def test_what_was_posted_or_has_no_id_is_not_followed() -> None:
    assert len(Story().listen().post().command("follow").board().tasks) == 1
    assert Story().tell("command", {"name": "follow"}).board().tasks == []


def test_to_recover_a_lost_task_looks_for_it_again_and_delivers_what_is_found() -> None:
    board = begun().vanish().command("recover").board()
    (task,) = board.tasks
    assert task.state is State.UNCERTAIN
    found = begun().vanish().command("recover").look((ID,)).hear("execution_success").fetch(record()).board()
    assert found.tasks[0].state is State.COMPLETED
    assert Deliver in {type(effect) for effect in found.drain()}


def test_to_recover_what_was_only_concluded_reopens_it_and_what_is_decided_stays() -> None:
    """A removal that was only concluded may not have been one."""
    assert Story().listen().post().vanish().command("recover").board().tasks[0].state is State.UNCERTAIN
    settled = begun().hear("execution_success").fetch(record()).command("recover").board()
    assert settled.tasks[0].state is State.COMPLETED


def test_a_callback_that_was_cut_off_and_a_result_that_came_twice_are_told() -> None:
    story = begun().command("callback-cut").hear("execution_success").fetch(record())
    for _ in range(2):
        story.tell("delivered", {"prompt_id": ID, "state": "completed"})
    assert {Code.CALLBACK_RECURSION, Code.DOUBLE_DELIVERY} <= codes(story.board())


def test_a_window_of_which_nothing_is_known_has_nothing_to_resume() -> None:
    assert Story().command("resume").board().drain() == []


def test_every_command_that_we_write_is_folded_and_no_other() -> None:
    assert set(_COMMANDS) == set(get_args(CommandName))
