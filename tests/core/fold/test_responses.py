"""Responses: what an answer says of our tasks, and that one of another shape says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_fsm.core.effects import FetchHistory
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from tests.support.stories import AWAY, HOME, ID, ID2, ME, OTHER, Story, begun, record


def task_of(board: Board) -> Task:
    (task,) = board.tasks
    return task


def codes(board: Board) -> set[Code]:
    return {finding.code for finding in board.findings}


def get(story: Story, path: str, answer: object, status: int | str = 200) -> Story:
    return story.ask("GET", path, None, status, answer)


def job(**more: object) -> dict[str, Any]:
    return {"id": ID, **more}


def test_a_request_that_is_told_twice_counts_once() -> None:
    story = Story().listen()
    for _ in range(2):
        story.tell("http.request", {"id": "q", "method": "GET", "path": "/queue"})
    story.tell("http.response", {"id": "q", "status": 200, "body": {"running": [], "pending": []}})
    assert len(story.board().server(HOME).queues) == 1


def test_a_request_may_name_its_server_in_its_path() -> None:
    story = Story().tell("http.request", {"id": "q", "method": "GET", "path": f"{AWAY}/queue"}, server=None)
    story.tell("http.response", {"id": "q", "status": 200, "body": {"running": [ID], "pending": []}}, server=None)
    assert story.board().listed(AWAY) == {ID}


@pytest.mark.parametrize("posted", [False, True])
def test_a_path_behind_a_prefix_is_comfyuis_once_a_prompt_was_posted_or_asked_about_there(posted: bool) -> None:
    story = Story().listen()
    if posted:
        story.ask("POST", "/comfy/prompt", {"prompt": {}, "prompt_id": ID}, 200, {"prompt_id": ID})
    board = get(story, "/comfy/queue", {"running": [], "pending": []}).board()
    assert bool(board.server(HOME).queues) is posted


def test_a_trace_cannot_make_up_prefixes_without_number() -> None:
    story = Story().listen()
    for number in range(20):
        get(story, f"/p{number}/history/{ID}", {})
    assert len(story.board().server(HOME).prefixes) < 20


UNUSABLE: list[tuple[str, int | str, object]] = [
    (path, status, answer)
    for path in ("/queue", f"/history/{ID}", f"/api/jobs/{ID}", "/api/jobs", "/history")
    for status, answer in ((502, {}), ("ReadTimeout", None), (200, "a page"), (200, 7), (401, {}))
]


@pytest.mark.parametrize(("path", "status", "answer"), UNUSABLE)
def test_an_answer_that_cannot_be_used_changes_no_state(path: str, status: int | str, answer: object) -> None:
    board = get(begun(), path, answer, status).board()
    assert task_of(board).state is State.IN_PROGRESS
    assert board.registry.counters.looks["unreachable"] == 1


def test_after_an_answer_that_cannot_be_used_the_record_is_asked_for_again() -> None:
    board = get(begun(), f"/history/{ID}", None, 502).board()
    assert FetchHistory in {type(effect) for effect in board.drain()}


def test_no_feature_tells_that_a_server_takes_no_ids_and_some_do_not_tell_that_it_does() -> None:
    assert get(Story(), "/features", {}, 404).board().server(HOME).honours_ids is False
    assert get(Story(), "/features", {}, 200).board().server(HOME).honours_ids is None
    assert get(Story(), "/features", {}, 500).board().server(HOME).honours_ids is None


# histories


def test_a_record_of_another_prompt_is_no_answer_to_the_question() -> None:
    entry = record() | {"prompt": [1, ID2, {}, {}, []]}
    board = get(begun(), f"/history/{ID}", {ID2: entry}).board()
    assert (task_of(board).state, Code.HISTORY_INCOMPLETE in codes(board)) == (State.IN_PROGRESS, True)


def test_a_record_that_cannot_be_read_is_asked_for_again() -> None:
    board = get(begun(), f"/history/{ID}", {ID: 7, ID2: {"outputs": {}}}).board()
    assert (task_of(board).state, Code.UNRECOGNIZED in codes(board)) == (State.IN_PROGRESS, True)


def test_a_list_of_records_settles_those_of_ours_in_it() -> None:
    other = record() | {"prompt": [1, ID2, {}, {}, []]}
    board = get(begun(), "/history", {ID2: other, ID: record()}).board()
    assert task_of(board).state is State.COMPLETED


@pytest.mark.parametrize("name", [ID, ID2])
def test_what_another_server_has_of_a_task_is_told_and_does_not_count(name: str) -> None:
    board = begun().elsewhere(AWAY, "h", f"/history/{name}", {ID: record()}).board()
    assert (task_of(board).state, Code.WRONG_SERVER in codes(board)) == (State.IN_PROGRESS, True)


def test_what_was_recorded_after_it_was_absent_time_and_again_shows_two_servers() -> None:
    story = begun().look().fetch().wait(1).look().fetch()
    board = story.fetch(record()).board()
    assert Code.MIXED_SERVERS in codes(board)


def test_many_unanswered_posts_are_looked_for_in_turns() -> None:
    story = get(Story().listen(), "/features", {}, 404)
    for number in range(300):
        story.post("ReadTimeout", prompt_id=f"{number:08}-2222-4333-8444-555555555555")
    story.wait(60)
    for _ in range(6):
        get(story.look(), "/history", {}).wait(15)
    assert {task.state for task in story.board().tasks} == {State.LOST}


# queues


def test_a_queue_of_which_a_list_is_missing_proves_no_absence() -> None:
    whole: dict[str, list[object]] = {"queue_running": [], "queue_pending": []}
    for queue, state in (({"queue_running": []}, State.IN_PROGRESS), (whole, State.LOST)):
        story = begun()
        for _ in range(2):
            get(story, "/queue", queue).fetch().wait(15)
        assert task_of(story.board()).state is state


def test_what_a_server_lists_shows_that_it_takes_our_ids() -> None:
    assert Story().listen().post(502).look((ID,)).board().takes_ids(HOME)
    assert not Story().listen().post(502).look((ID2,)).board().takes_ids(HOME)


def test_what_ended_is_listed_until_its_record_is_written() -> None:
    story = begun().hear("execution_success").look((ID,))
    assert task_of(story.board()).state is State.ENDING
    assert FetchHistory in {type(effect) for effect in story.board().drain()}


@pytest.mark.parametrize("path", ["/queue", "/api/jobs"])
def test_what_is_settled_and_still_listed_stays_settled(path: str) -> None:
    answer: object = {"running": [ID], "pending": []} if path == "/queue" else {"jobs": [job(status="in_progress")]}
    board = get(begun().hear("execution_success").fetch(record()), path, answer).board()
    assert task_of(board).state is State.COMPLETED


def test_a_queue_of_another_server_lists_it_in_vain() -> None:
    board = begun().elsewhere(AWAY, "q", "/queue", {"running": [ID, ID2], "pending": []}).board()
    assert Code.WRONG_SERVER in codes(board)


def test_a_queue_under_another_name_of_the_server_counts() -> None:
    story = Story().listen().post().at("http://localhost:8188").look((ID, ID2))
    assert task_of(story.board()).state is State.IN_PROGRESS


# jobs

JOBS: dict[str, tuple[object, State]] = {
    "pending": (job(status="pending"), State.PENDING),
    "in progress": (job(status="in_progress"), State.IN_PROGRESS),
    "completed": (job(status="completed", outputs={}), State.COMPLETED),
    "failed": (job(status="failed", execution_error={"exception_type": "E"}), State.FAILED),
    "failed, without a word": (job(status="failed"), State.ENDING),
    "cancelled": (job(status="cancelled"), State.CANCELLED),
    "unheard of": (job(status="unheard of"), State.PENDING),
    "without an id": ({"status": "in_progress"}, State.IN_PROGRESS),
    "about another": ({"id": ID2, "status": "completed"}, State.PENDING),
    "without anything": ({}, State.PENDING),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_says_how_its_prompt_is(name: str) -> None:
    answer, state = JOBS[name]
    assert task_of(get(Story().listen().post(), f"/api/jobs/{ID}", answer).board()).state is state


def test_a_status_that_is_not_known_leaves_what_is_settled() -> None:
    story = begun().hear("execution_success").fetch(record())
    assert task_of(get(story, f"/api/jobs/{ID}", job(status="unheard of")).board()).state is State.COMPLETED


@pytest.mark.parametrize("task", [False, True])
def test_a_job_that_is_missing_is_absent_where_one_is_known(task: bool) -> None:
    story = begun() if task else Story().listen()
    board = get(story, f"/api/jobs/{ID}", {"error": "Job not found"}, 404).board()
    assert board.registry.counters.looks["absent"] == task
    assert board.server(HOME).has_jobs


def test_a_job_that_is_missing_after_its_end_changes_nothing() -> None:
    story = begun().hear("execution_success").fetch(record())
    assert task_of(get(story, f"/api/jobs/{ID}", {"error": "Job not found"}, 404).board()).state is State.COMPLETED


def test_a_404_in_other_words_is_no_absence() -> None:
    for answer, state in (({"error": "no such route"}, State.IN_PROGRESS), ({"error": "Job not found"}, State.LOST)):
        story = begun()
        for _ in range(2):
            get(story.look(), f"/api/jobs/{ID}", answer, 404).wait(15)
        assert task_of(story.board()).state is state


def test_a_server_that_names_its_statuses_says_that_none_is_cancelled() -> None:
    refused = {"error": "Invalid status. Valid values: pending, failed"}
    assert get(Story(), "/api/jobs?status=cancelled", refused, 400).board().server(HOME).names_cancelled is False


@pytest.mark.parametrize(
    ("path", "more", "whole"),
    [("/api/jobs", {}, True), ("/api/jobs", {"pagination": {"has_more": False}}, True),
     ("/api/jobs", {"pagination": {"has_more": True}}, False), ("/api/jobs?status=pending", {}, False)],
)  # fmt: skip
def test_a_whole_list_of_jobs_stands_for_a_queue(path: str, more: dict[str, Any], whole: bool) -> None:
    jobs = [job(status="in_progress"), {"id": ID2, "status": "completed"}]
    board = get(begun(), path, {"jobs": jobs} | more).board()
    assert (board.listed(HOME) == {ID}) is whole


def test_a_list_with_a_job_that_cannot_be_read_stands_for_no_queue() -> None:
    board = get(begun(), "/api/jobs", {"jobs": [job(status="in_progress"), 7, {}]}).board()
    assert (board.listed(HOME), Code.UNRECOGNIZED in codes(board)) == (None, True)


def test_a_job_of_somebody_else_is_none_of_ours() -> None:
    board = get(begun(), "/api/jobs", {"jobs": [{"id": ID2, "status": "pending"}, {"id": "x"}]}).board()
    assert len(board.tasks) == 1


def test_a_job_that_is_listed_though_its_end_was_stated_is_asked_about_again() -> None:
    board = get(begun().hear("execution_success"), f"/api/jobs/{ID}", job(status="in_progress")).board()
    assert task_of(board).outcome is State.COMPLETED
    assert FetchHistory in {type(effect) for effect in board.drain()}


# acts, and processes that are gone


def test_what_a_process_had_asked_is_given_up_with_it() -> None:
    story = Story().listen().post("").tell("http.request", {"id": "q", "method": "GET", "path": "/queue"})
    story.command("resume").tell("http.response", {"id": "q", "status": 200, "body": {"running": [ID], "pending": []}})
    assert task_of(story.board()).state is State.UNCERTAIN


def test_an_act_that_succeeded_stays_that_of_its_window() -> None:
    board = begun().ask("POST", "/interrupt", {"prompt_id": ID}, 200, None, OTHER).board()
    assert [act.window for act in board.server(HOME).acts] == [OTHER]
    undone = begun().ask("POST", f"/api/jobs/{ID}/cancel", None, 200, {"cancelled": False}, ME).board()
    assert list(undone.server(HOME).acts) == []


def test_an_answer_of_which_nothing_is_to_be_learned_changes_nothing() -> None:
    for path in ("/view?filename=a.png", "/object_info", "/prompt", "/system_stats"):
        assert task_of(get(begun(), path, {}).board()).state is State.IN_PROGRESS
