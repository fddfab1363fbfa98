"""Tests of refused POSTs, by status, body and moment: the caller gets what the server said, and nothing more is
claimed.
"""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import refusals
from comfy_fsm.errors import TaskExpired, TaskRejected, UploadFailed
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.redirects import STATUSES as REDIRECTS
from comfy_fsm.live.transport.requests import uploaded
from comfy_fsm.testing.strategies.arbitrary import json_values
from replay import replay
from tests.support.lines import frame, line

ID = "0f0f0f0f-1111-4222-8333-444444444444"
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
}
MISSING = {
    "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""},
    "node_errors": {
        str(n): {
            "errors": [{"type": "value_not_in_list", "message": "Value not in list",
                        "details": f"ckpt_name: 'dream{n}' not in ['base']",
                        "extra_info": {"input_name": "ckpt_name", "received_value": f"dream{n}",
                                       "input_config": [["base"], {}]}}],
            "dependent_outputs": ["9"], "class_type": "CheckpointLoaderSimple",
        } for n in (4, 5, 6, 7)
    },
}  # fmt: skip
BODIES = {  # what is answered, and what of it the error must tell
    "comfy": (MISSING, "ckpt_name: 'dream4' not in ['base']"),
    "type-and-message": ({"error": {"type": "PAID", "message": "Insufficient credits"}}, "Insufficient credits"),
    "details": ({"error": {"type": "t", "message": "No", "details": "node 7 is strange"}}, "node 7 is strange"),
    "text": ({"error": "subscription inactive"}, "subscription inactive"),
    "code": ({"code": "quota", "message": "too many"}, "too many"),
    "fastapi": ({"detail": "Not authenticated"}, "Not authenticated"),
    "fastapi-list": ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
    "odd-nodes": (
        {"error": {"message": "No"}, "node_errors": {"4": "broken", "5": {"errors": {"message": "worse"}}}}, "worse"),
    "list-of-nodes": ({"error": {"message": "No"}, "node_errors": [1]}, "No"),
    "list-of-named-nodes": (
        {"error": {"message": "No"}, "node_errors": [{"node_id": 4, "errors": [{"message": "why"}]}]}, "why"),
    "list-of-objects": ({"error": {"message": "No"}, "node_errors": [{"4": {"errors": [{"message": "why"}]}}]}, "why"),
    "nothing": (None, ""),
    "words": ("Server got itself in trouble", "Server got itself in trouble"),
}  # fmt: skip
SAYS_NOTHING_RAN = (301, 307, 308, 400, 401, 402, 403, 404, 405, 407, 410, 413, 415, 421, 422, 423, 425, 429, 431, 451)
LEAVES_OPEN = (200, 201, 202, 204, 302, 303, 408, 409, 499, 500, 501, 502, 503, 504, 520)
ACCEPTED = {"prompt_id": ID, "number": 0, "node_errors": {}}


def post(
    status: int, body: object, *, location: object = None, before: tuple[bytes, ...] = (), after: tuple[bytes, ...] = ()
) -> Board:
    sent = {"prompt": GRAPH, "client_id": "w", "prompt_id": ID}
    return replay(
        [line("ws.open", {}), line("http.request", {"id": "r", "method": "POST", "path": "/prompt", "body": sent}),
         *before, line("http.response", {"id": "r", "status": status, "body": body, "location": location}), *after]
    ).board  # fmt: skip


GIVEN_UP = tuple(line("tick", {}, 1_700_000_000.0 + seconds) for seconds in range(1, 900, 10))


def the(board: Board) -> Task:
    (task,) = board.tasks
    return task


@pytest.mark.parametrize("status", SAYS_NOTHING_RAN)
@pytest.mark.parametrize("shape", BODIES)
def test_a_refusal_is_told_in_the_servers_words(status: int, shape: str) -> None:
    body, words = BODIES[shape]
    task = the(post(status, body))
    assert task.state is State.REJECTED
    text = str(TaskRejected(task.result()))
    assert f"HTTP {status}" in text
    assert words in text
    assert "may have run" not in text


@pytest.mark.parametrize("status", LEAVES_OPEN)
@pytest.mark.parametrize("shape", BODIES)
def test_what_does_not_say_that_nothing_ran_leaves_a_doubt_and_is_told_all_the_same(status: int, shape: str) -> None:
    body, words = BODIES[shape]
    assert the(post(status, body)).state is State.UNCERTAIN
    task = the(post(status, body, after=GIVEN_UP))
    assert task.state is State.EXPIRED
    text = str(TaskExpired(task.result()))
    assert f"HTTP {status}" in text
    if status >= 300 or (isinstance(body, dict) and "error" in body and shape != "comfy"):
        assert words in text
    elif "error" not in (body or {}):
        assert "no ComfyUI" in text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_post_tells_where_to(status: int) -> None:
    task = the(post(status, None, location="https://gpu.example/prompt", after=GIVEN_UP))
    assert task.state is (State.EXPIRED if status in (302, 303) else State.REJECTED)
    told = task.result().error
    assert told is not None
    assert "redirected to https://gpu.example/prompt" in str(told.message)
    assert told.status == status


@pytest.mark.parametrize("location", [None, "", 7, ["x"], {}])
def test_a_redirect_without_a_readable_place_is_told_by_its_status(location: object) -> None:
    task = the(post(307, {"error": "moved"}, location=location))
    assert "HTTP 307" in str(TaskRejected(task.result()))
    assert "moved" in str(TaskRejected(task.result()))


@pytest.mark.parametrize("status", [200, 201, 202])
def test_any_success_with_a_prompt_id_accepts(status: int) -> None:
    assert the(post(status, ACCEPTED)).state is State.PENDING


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("status", [402, 429, 500, 202])
def test_a_prompt_that_shows_that_it_runs_is_judged_by_that(status: int, moment: str) -> None:
    """A gateway may answer for a server that took the prompt all the same."""
    shown = (frame("execution_start", prompt_id=ID, timestamp=1), frame("execution_success", prompt_id=ID, timestamp=2))
    if moment == "before":
        task = the(post(status, {"error": "no"}, before=shown))
    elif status >= 500 or status < 300:
        task = the(post(status, {"error": "no"}, after=shown))
    else:
        pytest.skip("a refusal is final (P9)")
    assert task.outcome is State.COMPLETED
    assert task.result().error is None or moment == "before"


def test_all_nodes_are_carried_and_three_are_named() -> None:
    task = the(post(400, MISSING))
    assert task.error is not None
    assert task.error.node_errors == MISSING["node_errors"]
    assert task.error.error == MISSING["error"]
    assert [(fault.node_id, fault.input_name, fault.received, fault.allowed) for fault in task.error.faults] == [
        (str(n), "ckpt_name", f"dream{n}", [["base"], {}]) for n in (4, 5, 6, 7)
    ]
    text = str(TaskRejected(task.result()))
    assert all(f"node '{n}' (CheckpointLoaderSimple)" in text for n in (4, 5, 6))
    assert "node '7'" not in text
    assert "and 1 more" in text


def test_the_log_keeps_node_class_input_and_type_and_no_value() -> None:
    kept = Redactor().response("POST", "/prompt", 400, json.dumps(MISSING).encode())
    logged, whole = bytes(kept.logged).decode(), bytes(kept.whole).decode()
    assert "dream" not in logged
    assert "base" not in logged
    assert "dream4" in whole
    fault = refusals.refusal(kept.logged, 400).faults[0]
    assert (fault.node_id, fault.node_type, fault.type, fault.input_name) == (
        "4", "CheckpointLoaderSimple", "value_not_in_list", "ckpt_name",
    )  # fmt: skip


def test_a_rejection_survives_pickling() -> None:
    error = TaskRejected(the(post(400, MISSING)).result())
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@given(json_values, st.sampled_from(SAYS_NOTHING_RAN + LEAVES_OPEN))
def test_no_answer_at_all_raises_or_breaks_a_line(body: object, status: int) -> None:
    task = the(post(status, body, after=GIVEN_UP))
    text = str(TaskRejected(task.result()))
    assert text.isprintable()
    kept = Redactor().response("POST", "/prompt", status, json.dumps(body).encode())
    again = the(post(status, json.loads(bytes(kept.logged)), after=GIVEN_UP))
    assert (again.state, again.prompt_id) == (task.state, task.prompt_id)


@given(st.text() | st.just("<html>" * 5_000) | st.just("<head" * 20_000))
def test_an_excerpt_is_one_short_line(text: str) -> None:
    assert len(refusals.excerpt(text)) <= refusals.MAX_EXCERPT
    assert "\n" not in refusals.excerpt(text)


@pytest.mark.parametrize("status", [None, 200, 301, 302, 303, 307, 308, 401, 403, 404, 413, 500, 507])
@pytest.mark.parametrize("body", [b"", b"<html><title>Too Large</title>", b'{"error":"Too Large"}', b"Too Large"])
def test_an_upload_that_is_refused_names_status_and_words(status: int | None, body: bytes) -> None:
    beside = "Deadline" if status is None else "https://u:p@login.example/in?next=secret"
    with pytest.raises(UploadFailed) as caught:
        uploaded(status, body, "a.png", "http://s", beside)
    text = str(caught.value)
    assert f"HTTP {status}" in text if status is not None else "Deadline" in text
    assert ("Too Large" in text) is (b"Too Large" in body)
    assert ("https://…@login.example/in?…" in text) is (status in REDIRECTS)
    assert "secret" not in text
    assert "u:p" not in text


def test_where_a_node_raised_is_kept_in_memory() -> None:
    failed = {"prompt_id": ID, "node_id": "9", "exception_type": "OSError", "exception_message": "no",
              "traceback": ["File a\n", "File b\n"], "current_inputs": {"seed": [1]}}  # fmt: skip
    told = post(200, ACCEPTED, after=(frame("execution_error", **failed),))
    entry = {"prompt": [0, ID, GRAPH, {}, []], "outputs": {}, "status": {
        "status_str": "error", "completed": False, "messages": [["execution_error", failed]]}}  # fmt: skip
    asked = line("http.request", {"id": "h", "method": "GET", "path": f"/history/{ID}"})
    answered = line("http.response", {"id": "h", "status": 200, "body": {ID: entry}})
    by_record = post(200, ACCEPTED, after=(asked, answered))
    asked = line("http.request", {"id": "j", "method": "GET", "path": f"/api/jobs/{ID}"})
    job = {"id": ID, "status": "failed", "execution_error": failed}
    by_job = post(200, ACCEPTED, after=(asked, line("http.response", {"id": "j", "status": 200, "body": job})))
    for board in (told, by_record, by_job):
        error = the(board).error
        assert error is not None
        assert error.traceback == ("File a\n", "File b\n")


def test_raw_words_are_read_as_they_are() -> None:
    assert refusals.refusal(Raw(b'"Server got itself in trouble"'), 500).message == "Server got itself in trouble"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no"}}', "no"), (b'{"message": "no"}', "no"), (b'"no"', "no"), (b"7", ""),
        (b"<title>Bad</title><p>gateway</p>", "Bad Bad gateway"),
    ],
)  # fmt: skip
def test_what_any_answer_says_is_told_in_few_words(body: bytes, said: str) -> None:
    assert refusals.words(body) == said


def test_a_place_that_is_led_to_is_told_with_what_to_do() -> None:
    failure = refusals.redirect(302, "https://login.example")
    assert failure.status == 302
    assert "https://login.example" in (failure.message or "")


def test_a_number_where_a_text_is_wanted_is_told_as_one_and_a_flag_is_not() -> None:
    errors = {"3": {"class_type": 7, "errors": [{"type": True, "message": "no"}]}}
    failure = refusals.refusal(Raw(json.dumps({"node_errors": errors}).encode()), 400)
    assert (failure.faults[0].node_type, failure.faults[0].type, failure.faults[0].message) == ("7", None, "no")


def test_a_body_that_no_reader_can_read_refuses_without_a_word() -> None:
    failure = refusals.refusal(Raw(b"{"), 400)
    assert (failure.type, failure.message, failure.status) == (None, None, 400)
