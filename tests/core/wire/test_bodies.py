"""Bodies: what a submission must run, how a record or a job ended, and what answers that are neither say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from comfy_fsm.core.effects import Failure
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.observations import FailureData
from comfy_fsm.core.wire import bodies, codec
from comfy_fsm.core.wire.bodies import Verdict


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def body(kind: type, value: object) -> Any:
    found = codec.body(raw(value), kind)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("status", "key"), [(None, ""), (" In-Progress ", "in_progress"), ("Timed out", "timed_out"), ("x" * 99, "x" * 80)]
)
def test_a_status_is_looked_up_whatever_its_case_and_its_blanks(status: str | None, key: str) -> None:
    assert bodies.word(status) == key


# submissions

SAMPLER = {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["1", 0], "sizes": [1, 2, 3]}}
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {}},
    "2": SAMPLER,
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
    "4": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["2", 0]}},
    "5": {"class_type": 7, "inputs": {}},
}


def test_all_nodes_must_run_and_those_that_no_other_reads_are_its_sinks() -> None:
    posted = body(bodies.Submission, {"prompt": GRAPH})
    assert posted.must_run() == set(GRAPH)
    assert posted.sinks() == {"3", "4", "5"}
    assert posted.image_nodes() == {"4"}


def test_where_only_some_outputs_are_wanted_those_are_the_sinks_and_no_other_node_must_run() -> None:
    posted = body(bodies.Submission, {"prompt": GRAPH, "partial_execution_targets": ["3"]})
    assert (posted.must_run(), posted.sinks(), posted.image_nodes()) == (set(), {"3"}, set())


@pytest.mark.parametrize(
    ("item", "mark"),
    [
        ([1, "p", {}, {"comfy_fsm": "m"}, []], "m"), ([1, "p", {}, {}, []], None), ([1, "p"], None),
        ([1, "p", {}, "odd", []], None),
    ],
)  # fmt: skip
def test_the_mark_of_a_prompt_is_in_its_extra_data(item: list[object], mark: str | None) -> None:
    assert bodies.mark_of([raw(part) for part in item]) == mark
    assert body(bodies.HistoryRecord, {"prompt": item}).mark() == mark


# records


def failed(kind: str = "OSError") -> dict[str, Any]:
    return {"exception_type": kind, "exception_message": "disk full", "node_id": "3", "traceback": ["a", "", "b"]}


ERROR = Failure("OSError", "disk full", "3", None, ("a", "b"))
RECORDS: list[tuple[dict[str, Any] | None, Verdict]] = [
    (None, Verdict()),
    ({}, Verdict()),
    ({"status_str": "success"}, Verdict(State.COMPLETED)),
    ({"completed": True}, Verdict(State.COMPLETED)),
    ({"status_str": "error", "completed": True}, Verdict(State.FAILED)),
    ({"status_str": "unheard of"}, Verdict()),
    ({"messages": [["execution_success", {}]]}, Verdict(State.COMPLETED)),
    ({"status_str": "success", "messages": [["execution_error", failed()]]}, Verdict(State.FAILED, True, ERROR)),
    ({"status_str": "error", "messages": [["execution_error", failed()]]}, Verdict(State.FAILED, False, ERROR)),
    ({"status_str": "error", "messages": [["execution_interrupted", {}]]}, Verdict(State.CANCELLED)),
    ({"messages": [["execution_success", {}], ["execution_error", failed("ExecutionBlocked")]]},
     Verdict(State.COMPLETED)),
    ({"messages": [["execution_start", {}]]}, Verdict()),
]  # fmt: skip


@pytest.mark.parametrize(("status", "verdict"), RECORDS)
def test_a_record_ended_as_its_messages_say_and_only_then_as_its_status(
    status: dict[str, Any] | None, verdict: Verdict
) -> None:
    record = body(bodies.HistoryRecord, {} if status is None else {"status": status})
    assert record.verdict() == verdict
    assert record.word == bodies.word((status or {}).get("status_str"))


@pytest.mark.parametrize(
    ("prompt", "about"),
    [([1, "p", {}, {}, []], True), ([1, "q"], False), ([1], True), ([1, 7], True), ({"prompt_id": "p"}, True),
     ({"prompt_id": "q"}, False), ("odd", True)],
)  # fmt: skip
def test_a_record_is_about_the_prompt_that_it_names_or_any_if_it_names_none(prompt: object, about: bool) -> None:
    assert body(bodies.HistoryRecord, {"prompt": prompt}).names("p") is about


@pytest.mark.parametrize(
    ("prompt", "ordered"), [([1, "p", {}, {}, ["3", "4"]], {"3", "4"}), ([1, "p"], None), ([1, "p", {}, {}, 7], None)]
)
def test_a_record_says_which_outputs_were_wanted(prompt: object, ordered: set[str] | None) -> None:
    assert body(bodies.HistoryRecord, {"prompt": prompt}).ordered() == ordered


@pytest.mark.parametrize(
    ("outputs", "has", "lacks"),
    [({"3": {"images": []}}, True, []), ({"3": {}}, False, []), ({}, False, ["3"]), (None, False, []),
     ("odd", False, [])],
)  # fmt: skip
def test_outputs_that_are_no_object_say_nothing_about_what_is_missing(
    outputs: object, has: bool, lacks: list[str]
) -> None:
    record = bodies.HistoryRecord(outputs=outputs)
    assert (record.has(["3"]), record.lacks(["3"])) == (has, lacks)


@pytest.mark.parametrize(
    ("outputs", "odd"),
    [(None, []), ({"3": {}, "4": None}, []), ("odd", ["outputs are no object of nodes"]),
     ({"3": 7}, ["outputs of node '3' are no object of kinds"])],
)  # fmt: skip
def test_outputs_that_are_not_what_comfyui_writes_are_named(outputs: object, odd: list[str]) -> None:
    assert [str(each) for each in bodies.odd_outputs(outputs)] == odd


# jobs

COMPLETED, FAILED, CANCELLED = (Verdict(state) for state in (State.COMPLETED, State.FAILED, State.CANCELLED))
JOBS: list[tuple[dict[str, Any], bool | None, Verdict]] = [
    ({"status": "completed"}, None, COMPLETED),
    ({"status": "pending"}, None, Verdict()),
    ({"status": "failed"}, None, Verdict()),
    ({"status": "failed"}, False, CANCELLED),
    ({"status": "failed"}, True, FAILED),
    ({"status": "failed", "execution_status": {"messages": []}}, False, CANCELLED),
    ({"status": "failed", "execution_status": {"messages": [["execution_start", {}]]}}, False, FAILED),
    ({"status": "completed", "execution_error": failed()}, True, Verdict(State.FAILED, True, ERROR)),
    ({"status": "failed", "execution_error": "disk full"}, True,
     Verdict(State.FAILED, False, Failure(message="disk full"))),
    ({"status": "failed", "error_message": "no"}, None, Verdict(State.FAILED, False, Failure(message="no"))),
    ({"status": "completed", "error_message": "no"}, None, COMPLETED),
    ({"error": {"type": "T", "message": "no"}}, None, Verdict(State.FAILED, False, Failure(type="T", message="no"))),
    ({"status": "completed", "execution_status": {"messages": [["execution_error", failed()]]}}, True,
     Verdict(State.FAILED, True, ERROR)),
    ({"execution_status": {"status_str": "error", "messages": [["execution_success", {}]]}}, True,
     Verdict(State.COMPLETED, True)),
]  # fmt: skip


@pytest.mark.parametrize(("job", "names_cancelled", "verdict"), JOBS)
def test_a_job_ended_as_its_messages_say_then_its_error_then_its_status(
    job: dict[str, Any], names_cancelled: bool | None, verdict: Verdict
) -> None:
    assert body(bodies.JobRecord, job).verdict(names_cancelled) == verdict


@pytest.mark.parametrize(
    ("status", "signal"),
    [("pending", Signal.QUEUE), ("In Progress", Signal.RUN), ("completed", None), ("unheard of", None), (None, None)],
)
def test_a_job_that_waits_or_runs_says_so(status: str | None, signal: Signal | None) -> None:
    assert bodies.JobRecord(status=status).signal is signal


PREVIEW = {"nodeId": "3", "mediaType": "images", "filename": "a.png"}


@pytest.mark.parametrize(
    ("job", "named"),
    [({"outputs": {"3": {}}, "preview_output": PREVIEW}, {"3": {}}), ({"preview_output": None}, None),
     ({"preview_output": PREVIEW}, {"3": {"images": [PREVIEW]}}), ({"preview_output": {}}, {"": {"outputs": [{}]}})],
)  # fmt: skip
def test_a_job_in_a_list_names_one_output_at_the_most(job: dict[str, Any], named: object) -> None:
    assert body(bodies.JobRecord, job).named() == named


# other answers


@pytest.mark.parametrize(
    ("value", "missing"),
    [({"error": "Job not found."}, True), ({"error": "Not Found"}, False), ("Job not found", False)],
)
def test_only_its_own_words_say_that_a_job_is_missing(value: object, missing: bool) -> None:
    assert bodies.is_missing_job(raw(value)) is missing


@pytest.mark.parametrize(
    ("value", "knows_none"),
    [({"error": "Invalid status. Valid values: pending, completed, failed"}, True),
     ({"error": "Invalid status. Valid values: failed, cancelled"}, False), ({"error": "Invalid status"}, False),
     ("Valid values: failed", False)],
)  # fmt: skip
def test_a_server_that_lists_its_statuses_says_whether_cancelled_is_one(value: object, knows_none: bool) -> None:
    assert bodies.knows_no_cancelled(raw(value)) is knows_none


@pytest.mark.parametrize(
    ("value", "nothing"), [({"cancelled": False}, True), ({"cancelled": True}, False), (None, False)]
)
def test_a_cancel_says_whether_there_was_anything_to_cancel(value: object, nothing: bool) -> None:
    assert bodies.did_nothing(raw(value)) is nothing


@pytest.mark.parametrize(
    ("told", "version"),
    [("0.3.64", (0, 3, 64)), ("v0.9.0-rc1", (0, 9, 0)), ("0.8.2+cu12", (0, 8, 2)), ("unknown", None), ("", None)],
)
def test_a_version_is_read_from_the_statistics_if_it_is_one(told: str, version: tuple[int, ...] | None) -> None:
    assert bodies.version(raw({"system": {"comfyui_version": told}})) == version


@pytest.mark.parametrize("value", [{}, {"system": {}}, [], "odd"])
def test_statistics_without_a_version_state_none(value: object) -> None:
    assert bodies.version(raw(value)) is None


@pytest.mark.parametrize(("told", "kept"), [(["a\n", "", "b"], ("a\n", "b")), ("a", ("a",)), (None, ()), ([1], ())])
def test_the_traceback_of_a_failure_may_be_lines_or_one_text(told: object, kept: tuple[str, ...]) -> None:
    assert bodies.failure_of(FailureData(traceback=raw(told))).traceback == kept


def test_an_output_that_cannot_be_read_is_none() -> None:
    assert bodies.executed_output(raw({"images": []})) == {"images": []}
    assert bodies.executed_output(Raw(b"{")) is None


@pytest.mark.parametrize(
    ("value", "states"), [({"3": {"state": "finished"}, "4": {}}, {"3": "finished", "4": None}), ("odd", {})]
)
def test_the_states_of_nodes_are_read_from_a_progress_state(value: object, states: dict[str, str | None]) -> None:
    assert bodies.progress(raw(value)) == states
