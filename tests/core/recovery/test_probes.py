"""Probes: what one server has of a prompt, by its answers; whatever is not ComfyUI's own proves nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfy_fsm.core.machine import State
from comfy_fsm.core.recovery.probes import ProbeResult, no_answer, read_greeting, read_job, read_queue, read_record

SERVER, ID, OTHER = "http://one:8188", "0f0f0f0f-1111-4222-8333-444444444444", "0f0f0f0f-1111-4222-8333-555555555555"
IMAGES = {"3": {"images": [{"filename": "a.png", "type": "output"}]}}


def sent(value: object) -> bytes:
    return json.dumps(value).encode()


def row(prompt_id: str) -> list[object]:
    return [1, prompt_id, {}, {}, []]


def told(result: ProbeResult | None) -> tuple[str, str] | None:
    return (result.has, result.why) if result is not None else None


def test_a_server_that_holds_a_prompt_is_told_from_one_that_says_nothing() -> None:
    held = {has: ProbeResult(SERVER, has).held for has in ("running", "pending", "recorded", "denied", "astray")}
    assert [has for has, is_so in held.items() if is_so] == ["running", "pending", "recorded"]
    assert no_answer(SERVER, "ReadTimeout").says_nothing
    assert ProbeResult(SERVER, "astray").says_nothing
    assert not ProbeResult(SERVER, "denied").says_nothing


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [(200, {"exec_info": {"queue_remaining": 1}}, None), (200, {}, "an answer that is not ComfyUI's"),
     (200, "a page", "an answer that is not ComfyUI's"), (502, {}, "HTTP 502")],
)  # fmt: skip
def test_a_comfyui_is_known_by_its_greeting(status: int, body: object, why: str | None) -> None:
    found = read_greeting(SERVER, status, sent(body))
    assert told(found) == (None if why is None else ("unreachable", why))


QUEUES: list[tuple[int, Any, tuple[str, str] | None]] = [
    (200, {"queue_running": [row(ID)], "queue_pending": []}, ("running", "its queue says so")),
    (200, {"queue_running": [], "queue_pending": [row(ID)]}, ("pending", "its queue says so")),
    (200, {"queue_running": [row(OTHER)], "queue_pending": []}, None),
    (200, {"queue_running": [[ID]], "queue_pending": []}, ("unreachable", "a queue of which a part cannot be read")),
    (200, {"queue_running": []}, ("unreachable", "a queue of which a part cannot be read")),
    (200, "a page", ("unreachable", "an answer that is no queue")),
    (503, {}, ("unreachable", "HTTP 503")),
]


@pytest.mark.parametrize(("status", "body", "found"), QUEUES)
def test_a_queue_lists_the_prompt_or_not_or_says_nothing(
    status: int, body: object, found: tuple[str, str] | None
) -> None:
    assert told(read_queue(SERVER, ID, status, sent(body))) == found


@pytest.mark.parametrize(
    ("status", "body", "has"),
    [(200, {"id": ID, "status": "in_progress"}, "running"), (200, {"status": "pending"}, "pending"),
     (200, {"id": ID, "status": "unheard of"}, None), (200, {"id": OTHER, "status": "pending"}, None),
     (200, "a page", None), (404, {"error": "Job not found"}, None)],
)  # fmt: skip
def test_a_job_that_has_not_ended_waits_or_runs_or_says_nothing(status: int, body: object, has: str | None) -> None:
    found = read_job(SERVER, ID, status, sent(body))
    assert (found.has if found is not None else None) == has


def test_a_job_that_ended_is_a_record_with_its_outputs() -> None:
    found = read_job(SERVER, ID, 200, sent({"id": ID, "status": "completed", "outputs": IMAGES}))
    assert found is not None
    assert (found.has, found.outcome, [output.path for output in found.outputs]) == (
        "recorded", State.COMPLETED, ["output/a.png"]
    )  # fmt: skip


def record(outputs: object = IMAGES, prompt: object = None, **status: object) -> bytes:
    entry = {"prompt": prompt or row(ID), "outputs": outputs} | ({"status": status} if status else {})
    return sent({ID: entry})


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, sent({}), ("denied", "it has no record of it")),
        (200, sent({OTHER: {"prompt": row(OTHER)}}), ("astray", "the answer is about another prompt")),
        (200, record(prompt=row(OTHER), status_str="success"), ("astray", "the record names another prompt")),
        (200, b"a page", ("unreachable", "an answer that is no history")),
        (500, b"{}", ("unreachable", "HTTP 500")),
        (200, record(status_str="success"), ("recorded", "its history says so")),
    ],
)
def test_a_history_has_the_record_or_denies_it_or_says_nothing(
    status: int, body: bytes, found: tuple[str, str]
) -> None:
    assert told(read_record(SERVER, ID, status, body)) == found


MISSING: list[tuple[bytes, tuple[str, ...], list[str]]] = [
    (record(status_str="success"), ("3",), []),
    (record(), (), ["it has no status"]),
    (record(status_str="odd"), (), ["its status does not say how it ended"]),
    (record(status_str="success"), ("4",), ["it lacks the outputs of node 4"]),
    (record(status_str="error"), ("4",), []),
    (record("odd", status_str="success"), ("4",), ["its outputs cannot be read by node"]),
    (record("odd", status_str="success"), (), []),
]


@pytest.mark.parametrize(("body", "nodes", "missing"), MISSING)
def test_a_record_that_does_not_validate_says_what_is_missing(
    body: bytes, nodes: tuple[str, ...], missing: list[str]
) -> None:
    found = read_record(SERVER, ID, 200, body, nodes).missing
    assert len(found) == len(missing)
    assert all(text.startswith(begin) for text, begin in zip(found, missing, strict=True))


def test_a_status_that_its_messages_contradict_is_told() -> None:
    messages = [["execution_error", {"exception_type": "OSError"}]]
    found = read_record(SERVER, ID, 200, record(status_str="success", messages=messages))
    assert (found.outcome, found.stale) == (State.FAILED, "status_str says success, the messages say failed")
    assert found.error is not None
    assert found.error.type == "OSError"
