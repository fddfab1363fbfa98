"""Submissions: which task a POST is, under which id, and whether it was accepted."""

from __future__ import annotations

import pytest

from comfy_fsm.core.effects import LookAtQueue
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from tests.support.stories import AWAY, GRAPH, HOME, ID, ID2, ME, OTHER, Story, record

BODY = {"prompt": GRAPH, "prompt_id": ID, "client_id": ME}


def task_of(story: Story) -> Task:
    (task,) = story.board().tasks
    return task


def codes(board: Board) -> set[Code]:
    return {finding.code for finding in board.findings}


def answered(status: int, answer: object, body: object = BODY) -> Story:
    return Story().listen().ask("POST", "/prompt", body, status, answer)


ANSWERS: dict[str, tuple[Story, State, str | None]] = {
    "accepted": (answered(200, {"prompt_id": ID}), State.PENDING, ID),
    "created": (answered(201, {"prompt_id": ID}), State.PENDING, ID),
    "under another id": (answered(200, {"prompt_id": ID2}), State.PENDING, ID2),
    "without an id of ours": (answered(200, {"prompt_id": ID2}, {"prompt": GRAPH}), State.PENDING, ID2),
    "of a body that cannot be read": (answered(200, {"prompt_id": ID2}, 7), State.PENDING, ID2),
    "refused": (answered(400, {"error": {"type": "t", "message": "no"}}), State.REJECTED, ID),
    "refused without a word": (answered(400, None), State.REJECTED, ID),
    "by a gateway": (answered(502, "bad gateway"), State.UNCERTAIN, ID),
    "put off": (answered(503, "later"), State.UNCERTAIN, ID),
    "in an unknown shape": (answered(200, {"job": 7}), State.UNCERTAIN, ID),
    "with an empty id": (answered(200, {"prompt_id": ""}), State.UNCERTAIN, ID),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_accepts_or_refuses_or_leaves_a_doubt(name: str) -> None:
    story, state, prompt_id = ANSWERS[name]
    task = task_of(story)
    assert (task.state, task.prompt_id, task.server) == (state, prompt_id, HOME)


def test_a_doubt_is_a_reason_to_look_for_it() -> None:
    board = answered(502, "").board()
    assert LookAtQueue in {type(effect) for effect in board.drain()}
    assert board.registry.counters.uncertain == 1


def test_an_odd_part_of_an_acceptance_is_told_and_it_is_accepted() -> None:
    board = answered(200, {"prompt_id": 7}).board()
    assert (board.tasks[0].state, Code.UNRECOGNIZED in codes(board)) == (State.PENDING, True)


@pytest.mark.parametrize("again", [400, 502, "ReadTimeout"])
def test_what_was_accepted_stays_so_though_a_second_post_of_it_is_not(again: int | str) -> None:
    story = Story().listen().post().post(again)
    board = story.board()
    assert (board.tasks[0].state, Code.RESUBMITTED in codes(board)) == (State.PENDING, True)


def test_what_was_refused_leaves_its_id_free() -> None:
    board = Story().listen().post(400).post().board()
    assert [task.state for task in board.tasks] == [State.REJECTED, State.PENDING]


def test_an_id_that_was_posted_to_another_server_before_is_posted_again() -> None:
    assert Code.RESUBMITTED in codes(Story().listen().post().at(AWAY).post().board())


def test_a_post_that_is_answered_twice_under_two_ids_is_two_tasks() -> None:
    """A server that takes no chosen ids gives each POST an id of its own (P10)."""
    story = Story().listen()
    for number in (1, 2):
        story.tell("http.request", {"id": f"p{number}", "method": "POST", "path": "/prompt", "body": BODY})
    for number, given in ((1, ID2), (2, "third")):
        story.tell("http.response", {"id": f"p{number}", "status": 200, "body": {"prompt_id": given}})
    assert sorted(task.prompt_id or "" for task in story.board().tasks) == sorted([ID2, "third"])


def test_frames_that_came_under_the_given_id_are_of_the_same_task() -> None:
    story = Story().listen()
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": BODY})
    story.tell("ws.message", {"type": "execution_start", "data": {"prompt_id": ID2}})
    story.tell("ws.message", {"type": "executed", "data": {"prompt_id": ID2, "node": "2"}})
    story.tell("http.response", {"id": "p", "status": 200, "body": {"prompt_id": ID2}})
    task = task_of(story)
    assert (task.prompt_id, task.posts, task.frames) == (ID2, 1, 2)
    story.tell("ws.message", {"type": "executing", "data": {"prompt_id": ID2, "node": None}})
    assert task_of(story).outcome is State.COMPLETED


def test_frames_that_settled_it_before_the_answer_came_stay() -> None:
    story = Story().listen()
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": BODY})
    story.tell("ws.message", {"type": "execution_success", "data": {"prompt_id": ID2}})
    entry = record() | {"prompt": [1, ID2, {}, {}, []]}
    story.ask("GET", f"/history/{ID2}", None, 200, {ID2: entry})
    story.tell("http.response", {"id": "p", "status": 200, "body": {"prompt_id": ID2}})
    task = task_of(story)
    assert (task.state, task.posts) == (State.COMPLETED, 1)


def test_what_another_window_overheard_before_the_post_was_never_its_own() -> None:
    story = Story().tell("ws.message", {"type": "execution_start", "data": {"prompt_id": ID}}, OTHER)
    board = story.post().board()
    assert [task.window for task in board.tasks] == [ME]
    assert Code.FOREIGN_MESSAGE in codes(board)


def test_what_its_own_window_heard_before_the_post_is_its_own() -> None:
    story = Story().hear("execution_start").hear("executed", node="2").post()
    task = task_of(story)
    assert (task.posts, task.state, task.frames) == (1, State.IN_PROGRESS, 2)


def test_nodes_that_were_dropped_never_come_and_do_not_hold_up_the_end() -> None:
    graph = GRAPH | {"3": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
    dropped = {"prompt_id": ID, "node_errors": {"3": {"errors": [], "dependent_outputs": ["3"]}}}
    story = answered(200, dropped, BODY | {"prompt": graph})
    board = story.hear("execution_start").hear("executed", node="2").hear("executing", node=None).board()
    assert Code.PARTIAL_ACCEPT in codes(board)
    assert board.tasks[0].outcome is State.COMPLETED
    assert board.tasks[0].missed == ()


def test_without_a_graph_nothing_can_be_left_out() -> None:
    dropped = {"prompt_id": ID, "node_errors": {"3": {"dependent_outputs": ["3"]}}}
    board = answered(200, dropped, {"prompt_id": ID, "client_id": ME}).board()
    assert Code.PARTIAL_ACCEPT in codes(board)


def test_an_answer_to_a_post_that_the_trace_does_not_hold_is_none() -> None:
    story = Story().listen().tell("http.response", {"id": "p", "status": 200, "body": {"prompt_id": ID}})
    assert story.board().tasks == []


def test_a_redirect_leaves_a_doubt() -> None:
    story = Story().listen()
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": BODY})
    story.tell("http.response", {"id": "p", "status": 302, "location": "https://login.example"})
    task = task_of(story)
    assert task.state is State.UNCERTAIN


def test_a_post_that_fails_after_frames_settled_its_prompt_asks_for_nothing() -> None:
    story = Story().listen()
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": BODY})
    story.start().hear("execution_success").fetch(record())
    story.tell("http.error", {"id": "p", "error": "ReadTimeout"})
    board = story.board()
    assert board.tasks[0].state is State.COMPLETED
    assert LookAtQueue not in {type(effect) for effect in board.drain()}


def marked(prompt_id: str, mark: str) -> list[object]:
    return [1, prompt_id, {}, {"comfy_fsm": mark}, []]


@pytest.mark.parametrize("mark", [ID, ID2, "nobody's"])
def test_a_prompt_that_bears_the_mark_of_an_unanswered_one_is_that_one(mark: str) -> None:
    story = Story().listen().post("ReadTimeout")
    story.ask("GET", "/queue", None, 200, {"queue_running": [marked(ID2, mark)], "queue_pending": []})
    task = task_of(story)
    assert task.prompt_id == (ID2 if mark == ID else ID)


def test_a_mark_of_what_was_accepted_or_is_there_under_its_own_id_changes_nothing() -> None:
    queue = {"queue_running": [marked(ID2, ID)], "queue_pending": [marked("x", "y")]}
    assert task_of(Story().listen().post().ask("GET", "/queue", None, 200, queue)).prompt_id == ID
    own = {"queue_running": [marked(ID, ID)], "queue_pending": []}
    assert task_of(Story().listen().post("ReadTimeout").ask("GET", "/queue", None, 200, own)).prompt_id == ID


def test_a_response_to_a_post_that_was_given_up_changes_nothing() -> None:
    story = Story().listen()
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": BODY})
    story.command("resume").tell("http.response", {"id": "p", "status": 200, "body": {"prompt_id": ID}})
    assert task_of(story).state is State.UNCERTAIN


def test_an_id_that_was_heard_of_under_another_name_of_the_server_may_be_given_another_there() -> None:
    story = Story().hear("execution_start").at("http://localhost:8188")
    story.ask("POST", "/prompt", BODY, 200, {"prompt_id": ID2})
    assert [task.prompt_id for task in story.board().tasks] == [ID2]
