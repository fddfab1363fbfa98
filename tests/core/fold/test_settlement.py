"""Settlement: a task ends once, on evidence; what comes after confirms it, or contradicts it, or takes it back."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_fsm.core.effects import AnyEffect, Deliver, FetchHistory
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from tests.support.stories import GRAPH, HOME, ID, ME, OTHER, Story, begun, record


def task_of(board: Board) -> Task:
    (task,) = board.tasks
    return task


def codes(board: Board) -> set[Code]:
    return {finding.code for finding in board.findings}


def wanted(board: Board) -> list[type[AnyEffect]]:
    return [type(effect) for effect in board.drain()]


ENDS = {"execution_success": State.COMPLETED, "execution_error": State.FAILED, "execution_interrupted": State.CANCELLED}
STATUS = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "error"}


@pytest.mark.parametrize("name", ENDS)
def test_a_stated_end_is_believed_and_its_record_verifies_it(name: str) -> None:
    stated = begun().hear(name).board()
    assert (task_of(stated).state, task_of(stated).outcome) == (State.ENDING, ENDS[name])
    assert FetchHistory in wanted(stated)
    settled = begun().hear(name).fetch(record(STATUS[name], name)).board()
    task = task_of(settled)
    assert (task.state, task.confidence, task.completion_source, task.confirmed_by) == (
        ENDS[name], "verified", name, "history"
    )  # fmt: skip
    assert wanted(settled).count(Deliver) == 1
    assert codes(settled) == set()


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("record_of", ENDS)
def test_a_record_that_says_something_else_is_believed_and_the_contradiction_told(name: str, record_of: str) -> None:
    board = begun().hear(name).fetch(record(STATUS[record_of], record_of)).board()
    assert task_of(board).state is ENDS[record_of]
    assert (Code.CONTRADICTION in codes(board)) is (name != record_of)


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("again", ENDS)
def test_what_is_stated_twice_is_noted_or_contradicts_itself(name: str, again: str) -> None:
    board = begun().hear(name).hear(again).board()
    assert task_of(board).outcome is ENDS[name]
    assert ((Code.CONTRADICTION in codes(board)), (Code.REPEATED_SIGNAL in codes(board))) == (
        name != again, name == again
    )  # fmt: skip


def test_the_second_run_of_an_id_is_no_contradiction() -> None:
    story = Story().listen().post().post().start().hear("execution_success").start()
    board = story.hear("execution_error", exception_type="E").board()
    assert Code.CONTRADICTION not in codes(board)
    assert Code.REPEATED_SIGNAL not in codes(begun().post().hear("execution_success").hear("execution_success").board())


def test_a_record_after_the_task_was_given_up_settles_it_after_all() -> None:
    story = begun().wait(200).wait(200)
    assert task_of(story.board()).state is State.EXPIRED
    board = story.fetch(record()).board()
    assert (task_of(board).state, Code.LATE_EVIDENCE in codes(board)) == (State.COMPLETED, True)
    assert wanted(board).count(Deliver) == 1


def test_a_later_record_that_says_something_else_is_told_and_changes_nothing() -> None:
    story = begun().hear("execution_success").fetch(record()).fetch(record("error", "execution_error"))
    board = story.board()
    assert (task_of(board).state, Code.CONTRADICTION in codes(board)) == (State.COMPLETED, True)


RECORDS: dict[str, tuple[dict[str, Any], State]] = {
    "of another prompt": (record() | {"prompt": [1, "other", {}, {}, []]}, State.ENDING),
    "with an unknown word": (record("unheard of") | {"status": {"status_str": "unheard of"}}, State.ENDING),
    "with a status that cannot be read": (record() | {"status": 7}, State.ENDING),
    "whose status lies": (record("success", "execution_error"), State.FAILED),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_settles_only_what_it_says(name: str) -> None:
    entry, state = RECORDS[name]
    board = begun().fetch(entry).board()
    assert task_of(board).state is state
    assert codes(board)


def test_a_record_whose_outcome_cannot_be_read_confirms_what_was_stated() -> None:
    board = begun().hear("execution_success").fetch(record() | {"status": {"status_str": "unheard of"}}).board()
    assert (task_of(board).state, task_of(board).confidence) == (State.COMPLETED, "stated")


@pytest.mark.parametrize("entry", [record(), record() | {"status": {"status_str": "unheard of"}}, {"outputs": {}}])
@pytest.mark.parametrize("stated", [False, True])
def test_a_record_without_what_was_told_to_be_made_is_incomplete(entry: dict[str, Any], stated: bool) -> None:
    story = begun().hear("executed", node="9", output={"text": ["x"]})
    if stated:
        story.hear("execution_success")
    board = story.fetch(entry).board()
    assert (task_of(board).settled, FetchHistory in wanted(board)) == (False, True)


def test_a_failed_run_may_lack_outputs_and_those_that_frames_told_count() -> None:
    story = begun().hear("executed", node="9", output={"text": ["x"]}).fetch(record("error", "execution_error"))
    task = task_of(story.board())
    assert (task.state, [text.text for text in task.texts]) == (State.FAILED, ["x"])


def test_a_record_that_contradicts_what_was_stated_before_the_task_was_given_up_is_told() -> None:
    board = begun().hear("execution_success").fetch(record("error", "execution_error")).board()
    assert Code.CONTRADICTION in codes(board)


def test_of_an_id_that_was_posted_twice_a_later_record_may_be_of_the_other_run() -> None:
    story = Story().listen().post().post().start().hear("execution_success").fetch(record())
    board = story.fetch(record("error", "execution_error")).board()
    assert (task_of(board).state, Code.CONTRADICTION in codes(board)) == (State.COMPLETED, False)


def test_an_incomplete_record_of_what_is_settled_is_not_told() -> None:
    story = begun().hear("executed", node="9", output={"text": ["x"]}).hear("execution_success").fetch(
        record() | {"outputs": {"9": {"text": ["x"]}}})  # fmt: skip
    board = story.fetch(record() | {"prompt": [1, "other", {}, {}, []]}).board()
    assert Code.HISTORY_INCOMPLETE not in codes(board)


# records without a status (before January 2024)


def bare(outputs: object = None, ordered: list[str] | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"outputs": {"2": {"images": [{"filename": "a.png"}]}} if outputs is None else outputs}
    return entry | ({"prompt": [1, ID, GRAPH, {}, ordered]} if ordered is not None else {})


BARE: dict[str, tuple[Story, State]] = {
    "all that was ordered": (Story().listen().post().fetch(bare(ordered=["2"])), State.COMPLETED),
    "all sinks": (Story().listen().post().fetch(bare()), State.COMPLETED),
    "less than was ordered": (Story().listen().post().fetch(bare(ordered=["2", "3"])), State.ENDING),
    "nothing": (Story().listen().post().fetch(bare({})), State.ENDING),
    "nothing, though it was stated": (begun().hear("execution_success").fetch(bare({})), State.COMPLETED),
    "nothing, and a frame states the end later": (
        Story().listen().post().fetch(bare({})).hear("execution_error", exception_type="E"), State.FAILED,
    ),
    "nothing, and every sink was begun": (
        Story().listen().post().hear("execution_start").hear("executing", node="2").hear("executing", node=None)
        .fetch(bare({})), State.COMPLETED,
    ),
    "nothing, and null comes later": (
        Story().listen().post().hear("execution_start").hear("executing", node="2").fetch(bare({}))
        .hear("executing", node=None), State.COMPLETED,
    ),
    "from a server that gives one": (
        Story().listen().post().start().hear("execution_success").fetch(record()).post(prompt_id="other")
        .ask("GET", "/history/other", None, 200, {"other": bare(ordered=["2"])}), State.COMPLETED,
    ),
    "of what is settled": (begun().hear("execution_success").fetch(record()).fetch(bare()), State.COMPLETED),
}  # fmt: skip


@pytest.mark.parametrize("name", BARE)
def test_a_record_without_a_status_settles_by_its_outputs_or_by_what_frames_told(name: str) -> None:
    story, state = BARE[name]
    assert story.board().tasks[0].state is state


def test_a_bare_record_that_decides_nothing_is_outweighed_by_null_only_if_every_sink_was_begun() -> None:
    story = Story().listen().post().hear("execution_start").fetch(bare({})).hear("executing", node=None)
    assert task_of(story.board()).outcome is None


def test_a_bare_record_without_what_was_told_to_be_made_is_incomplete() -> None:
    story = begun().hear("executed", node="9", output={"text": ["x"]}).hear("execution_success").fetch(bare())
    board = story.board()
    assert (task_of(board).state, Code.HISTORY_INCOMPLETE in codes(board)) == (State.ENDING, True)


def test_a_server_that_gives_a_status_is_not_believed_without_one() -> None:
    board = BARE["from a server that gives one"][0].board()
    assert [task.state for task in board.tasks] == [State.COMPLETED, State.ENDING]


# jobs


def job(status: str, **more: object) -> Story:
    return begun().ask("GET", f"/api/jobs/{ID}", None, 200, {"id": ID, "status": status, **more})


def test_a_job_in_a_list_names_no_outputs_and_its_record_does() -> None:
    listed = {"jobs": [{"id": ID, "status": "completed", "outputs_count": 3}]}
    story = begun().ask("GET", "/api/jobs", None, 200, listed)
    board = story.board()
    assert (task_of(board).state, Code.OUTPUTS_UNSEEN in codes(board)) == (State.COMPLETED, True)
    named = story.fetch(record()).board()
    assert ([output.filename for output in task_of(named).outputs], Code.OUTPUTS_UNSEEN in codes(named)) == (
        ["x.png"], False
    )  # fmt: skip


def test_a_job_that_lacks_what_was_told_or_does_not_say_how_it_ended_is_incomplete() -> None:
    story = begun().hear("executed", node="9", output={"text": ["x"]})
    story.ask("GET", f"/api/jobs/{ID}", None, 200, {"id": ID, "status": "completed", "outputs": {}})
    assert Code.HISTORY_INCOMPLETE in codes(story.board())
    assert Code.HISTORY_INCOMPLETE in codes(job("failed").board())


def test_a_job_whose_status_lies_is_believed_by_its_messages() -> None:
    told = {"messages": [["execution_error", {"exception_type": "E"}]]}
    board = job("completed", execution_status=told, outputs={}).board()
    assert (task_of(board).state, Code.STALE_STATUS in codes(board)) == (State.FAILED, True)


def test_a_job_takes_back_what_was_concluded() -> None:
    story = begun().vanish().ask("GET", f"/api/jobs/{ID}", None, 200, {"id": ID, "status": "completed", "outputs": {}})
    board = story.board()
    assert (task_of(board).state, Code.LATE_EVIDENCE in codes(board)) == (State.COMPLETED, True)


def test_a_job_that_ended_confirms_what_is_settled() -> None:
    story = begun().hear("execution_success").fetch(record())
    story.ask("GET", f"/api/jobs/{ID}", None, 200, {"id": ID, "status": "completed"})
    assert codes(story.board()) == set()


# whose interrupt


@pytest.mark.parametrize(("windows", "blamed"), [([OTHER, ME], ME), ([OTHER], OTHER), ([ME], ME), ([], None)])
def test_an_interrupt_of_its_own_window_explains_it_before_that_of_another(
    windows: list[str], blamed: str | None
) -> None:
    story = begun()
    for window in windows:
        story.act("/interrupt", {}, window)
    board = story.hear("execution_interrupted").fetch(record("error", "execution_interrupted")).board()
    cause = task_of(board).cause
    assert (cause.window if cause is not None else None) == blamed
    assert (Code.FOREIGN_INTERRUPT in codes(board)) is (blamed == OTHER)


def test_an_interrupt_explains_one_task_only() -> None:
    story = begun().act("/interrupt", {}, OTHER).hear("execution_interrupted").post(prompt_id="other")
    interrupted = record("error", "execution_interrupted") | {"prompt": [1, "other", {}, {}, []]}
    story.ask("GET", "/history/other", None, 200, {"other": interrupted})
    assert [task.cause is not None for task in story.board().tasks] == [True, False]


def test_a_task_that_is_removed_and_withdrawn_is_told_once() -> None:
    board = begun().vanish().fetch(record()).board()
    assert Code.LOST not in codes(board)
    assert [server.url for server in board.servers] == [HOME]
