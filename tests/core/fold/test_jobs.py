"""Tests of what answers about jobs prove: an end, an absence, who cancelled; and what is no evidence."""

from __future__ import annotations

import json
from itertools import count
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.observations import Entry
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import codec

ID, OTHER_ID = "0f0f0f0f-1111-4222-8333-444444444444", "0f0f0f0f-1111-4222-8333-555555555555"
SERVER, OURS, THEIRS = "http://one:8188", "ours", "theirs"
START = 1_700_000_000.0
MISSING = {"error": "Job not found"}
ERROR = {"prompt_id": ID, "node_id": "7", "exception_type": "ValueError", "exception_message": "no"}
SUCCESS, FAILURE, INTERRUPT = (
    ["execution_success", {"prompt_id": ID}], ["execution_error", ERROR], ["execution_interrupted", {"prompt_id": ID}],
)  # fmt: skip


class Told:
    """A board that is told lines, one after the other, a second apart."""

    def __init__(self) -> None:
        self.board = Board()
        self._positions = count(1)
        self._waited = 0.0
        self.line("ws.open", {})
        self.frame("status", status={"exec_info": {"queue_remaining": 0}})

    def line(self, kind: str, data: object, window: str = OURS) -> None:
        position = next(self._positions)
        raw = {"at": START + position + self._waited, "kind": kind, "window": window, "server": SERVER, "data": data}
        self.board.fold(Entry(position, codec.read(json.dumps(raw).encode())))

    def frame(self, kind: str, **data: object) -> Self:
        self.line("ws.message", {"type": kind, "data": data})
        return self

    def ask(self, method: str, path: str, status: int, body: object, sent: object = None, window: str = OURS) -> Self:
        name = str(next(self._positions))
        self.line("http.request", {"id": name, "method": method, "path": path, "body": sent}, window)
        self.line("http.response", {"id": name, "status": status, "body": body}, window)
        return self

    def post(self, prompt_id: str = ID, window: str = OURS) -> Self:
        graph = {"1": {"class_type": "SaveImage", "inputs": {}}}
        sent = {"prompt": graph, "client_id": window, "prompt_id": prompt_id}
        return self.ask("POST", "/prompt", 200, {"prompt_id": prompt_id, "number": 1, "node_errors": {}}, sent, window)

    def version(self, version: str) -> Self:
        return self.ask("GET", "/system_stats", 200, {"system": {"comfyui_version": version}})

    def job(self, status: int, body: object, prompt_id: str = ID) -> Self:
        return self.ask("GET", f"/api/jobs/{prompt_id}", status, body)

    def wait(self) -> Self:
        """As long as an absence must last."""
        self._waited += 10 * Policy().absence_seconds
        return self

    def end(self) -> Self:
        """Read the socket to its end: nothing older is on its way any more."""
        self.wait()
        self.frame("status", status={"exec_info": {"queue_remaining": 0}})
        self.line("ws.close", {"code": 1000})
        return self

    def task(self, prompt_id: str = ID) -> Task:
        task = self.board.task(prompt_id, SERVER)
        assert task is not None
        return task

    def state(self, prompt_id: str = ID) -> str:
        return str(self.task(prompt_id).state)

    @property
    def codes(self) -> list[str]:
        return [finding.code for finding in self.board.findings]


def job(status: object = "completed", **more: Any) -> dict[str, Any]:
    return {"id": ID, "status": status, "priority": 1, "outputs_count": 0, **more}


def said(status_str: str | None, *messages: object) -> dict[str, Any]:
    return {"status_str": status_str, "completed": status_str == "success", "messages": [*messages]}


# the verdict: messages, then error, then status


@pytest.mark.parametrize(
    ("version", "body", "outcome"),
    [
        ("0.33.0", job(execution_status=said("success", SUCCESS), outputs={}), "completed"),
        ("0.33.0", job(execution_status=said("success", FAILURE), execution_error=ERROR, outputs={}), "failed"),
        ("0.33.0", job(execution_error=ERROR), "failed"),
        ("0.33.0", job(execution_status=None, outputs={}), "completed"),
        ("0.33.0", job("cancelled"), "cancelled"),
        ("0.33.0", job("failed", execution_error=ERROR), "failed"),
        ("0.33.0", job("failed"), "failed"),
        ("0.9.0", job("failed"), "failed"),
        ("0.8.2", job("failed"), "cancelled"),
        ("0.6.0", job("failed"), "cancelled"),
        ("0.8.2", job("failed", execution_error=ERROR), "failed"),
        ("0.8.2", job("failed", execution_status=said("error", INTERRUPT), outputs={}), "cancelled"),
        ("0.8.2", job("failed", execution_status=said("error", FAILURE), outputs={}), "failed"),
        ("unknown", job("failed", execution_status=said("error", INTERRUPT), outputs={}), "cancelled"),
        ("unknown", job("failed", execution_error=ERROR), "failed"),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_a_job_is_judged_by_messages_then_error_then_status(
    version: str, body: dict[str, Any], outcome: str, listed: bool
) -> None:
    told = Told().version(version).post()
    if listed:
        told.ask("GET", "/api/jobs", 200, {"jobs": [body], "pagination": {"has_more": False}})
    else:
        told.job(200, body)
    assert (told.state(), told.task().confidence, told.task().confirmed_by) == (outcome, "verified", "jobs")
    assert (told.task().error is not None) is (outcome == "failed" and version != "0.9.0" and body != job("failed"))


def test_a_status_that_lies_is_told() -> None:
    told = Told().version("0.33.0").post().job(200, job(execution_status=said("success", FAILURE), outputs={}))
    assert told.state() == "failed"
    assert "stale-status" in told.codes
    right = Told().version("0.8.2").post().job(200, job("failed", execution_status=said("error", INTERRUPT)))
    assert right.state() == "cancelled"
    assert "stale-status" not in right.codes


def test_of_a_server_of_unknown_age_a_failure_without_an_error_says_that_it_ended_and_not_how() -> None:
    told = Told().post().ask("GET", "/api/jobs", 200, {"jobs": [job("failed")]})
    assert (told.state(), told.task().outcome) == ("ending", None)
    told.job(200, job("failed", execution_status=said("error", INTERRUPT), outputs={}))
    assert told.state() == "cancelled"


def test_a_server_that_refuses_to_list_what_was_cancelled_has_no_such_jobs() -> None:
    valid = "pending, in_progress, completed, failed"
    for words, state in ((valid, "cancelled"), (f"{valid}, cancelled", "ending"), ("", "ending")):
        told = Told().post()
        error = {"error": f"Invalid status value(s): done. Valid values: {words}"}
        told.ask("GET", "/api/jobs?status=done", 400, error)
        assert told.ask("GET", "/api/jobs", 200, {"jobs": [job("failed")]}).state() == state


def test_one_cancelled_job_shows_that_what_failed_failed() -> None:
    other = {"id": OTHER_ID, "status": "cancelled"}
    told = Told().post().ask("GET", "/api/jobs", 200, {"jobs": [other, job("failed")]})
    assert told.state() == "failed"


def test_a_job_that_lacks_what_was_told_to_be_made_is_asked_for_again() -> None:
    told = Told().version("0.33.0").post().frame("execution_start", prompt_id=ID)
    shown = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
    told.frame("executed", prompt_id=ID, node="1", output=shown).job(200, job(outputs={}))
    assert told.state() != "completed"
    assert "history-incomplete" in told.codes
    assert told.job(200, job(outputs={"1": shown})).state() == "completed"
    assert [output.filename for output in told.task().outputs] == ["a.png"]


# absence


def test_two_answers_that_there_is_no_such_job_prove_its_absence() -> None:
    told = Told().post().frame("execution_start", prompt_id=ID).job(404, MISSING)
    assert told.state() == "in_progress"
    assert told.wait().job(404, MISSING).end().state() == "lost"
    assert Told().post().job(404, MISSING).wait().job(404, MISSING).end().state() == "cancelled"


def test_a_job_that_was_listed_between_two_denials_is_there() -> None:
    told = Told().post().job(404, MISSING).wait().job(200, job("pending")).wait().job(404, MISSING).end()
    assert told.state() == "pending"


def test_a_denial_that_was_asked_for_before_the_answer_to_the_post_proves_nothing() -> None:
    told = Told()
    sent = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "client_id": OURS, "prompt_id": ID}
    told.line("http.request", {"id": "early-1", "method": "GET", "path": f"/api/jobs/{ID}"})
    told.line("http.request", {"id": "early-2", "method": "GET", "path": f"/api/jobs/{ID}"})
    told.ask("POST", "/prompt", 200, {"prompt_id": ID, "number": 1}, sent)
    for name in ("early-1", "early-2"):
        told.line("http.response", {"id": name, "status": 404, "body": MISSING})
    assert told.end().state() == "pending"


OF_ANOTHER = [
    None, {}, [], "Job not found", {"error": None}, {"error": {"message": "Job not found"}}, {"error": "not found"},
    {"detail": "Not Found"}, {"error": "Not Found", "path": "/api/jobs"}, {"message": "Job not found"},
    {"error": "No job server found"},
]  # fmt: skip
"""What other servers answer with 404."""


@pytest.mark.parametrize("body", OF_ANOTHER, ids=repr)
def test_a_404_of_another_server_is_no_absence(body: object) -> None:
    told = Told().post()
    for _ in range(5):
        told.job(404, body).wait()
    assert told.end().state() == "pending"
    assert not told.task().inquiry.rounds


@pytest.mark.parametrize("status", [400, 401, 403, 405, 429, 500, 502, 503])
@pytest.mark.parametrize("path", ["/api/jobs", f"/api/jobs/{ID}"])
def test_no_other_status_is_evidence_of_anything(path: str, status: int) -> None:
    told = Told().post().ask("GET", path, 200, job("pending") if ID in path else {"jobs": [job("pending")]})
    for _ in range(5):
        told.ask("GET", path, status, MISSING).wait()
    assert told.end().state() == "pending"
    assert not told.task().inquiry.rounds


QUERIES = {
    "": True, "?": True, "?limit=5": True, "?status=pending,in_progress": True, "?sort_by=created_at": True,
    "?status=in_progress,pending,completed": True, "?offset=0": True, "?status=PENDING,%20in_progress": True,
    "?status=pending": False, "?status=completed,failed": False, "?offset=3": False, "?workflow_id=x": False,
    "?" + "&".join(f"a{n}=1" for n in range(100)): False,
}  # fmt: skip
"""Whether a list that was asked for so shows all that waits and runs, unless it says that it has more."""


@pytest.mark.parametrize(("query", "whole"), QUERIES.items())
@pytest.mark.parametrize("more", [False, True])
def test_only_a_whole_list_stands_for_the_queue(query: str, whole: bool, more: bool) -> None:
    told = Told().post()
    for _ in range(2):
        told.ask("GET", f"/api/jobs{query}", 200, {"jobs": [], "pagination": {"has_more": more}})
        told.ask("GET", f"/history/{ID}", 200, {}).wait()
    assert told.end().state() == ("cancelled" if whole and not more else "pending")


def test_a_page_that_shifts_between_two_requests_proves_nothing() -> None:
    told = Told().post()
    for offset in (0, 2, 4):
        page = [{"id": f"{offset}-{n}", "status": "pending"} for n in range(2)]
        told.ask("GET", f"/api/jobs?limit=2&offset={offset}", 200, {"jobs": page, "pagination": {"has_more": True}})
        told.ask("GET", f"/history/{ID}", 200, {}).wait()
    assert told.end().state() == "pending"


# what is no evidence

_ODD = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.integers(), max_size=2)
_WORDS = st.sampled_from(["done", "queued", "COMPLETED!", "", "unknown", "blocked", "lost"])
_FIELDS = ("priority", "create_time", "outputs_count", "workflow_id", "preview_output", "workflow", "outputs", "new")
_JOBS = st.fixed_dictionaries(
    {"id": st.just(ID) | _ODD, "status": _ODD | _WORDS}, optional=dict.fromkeys(_FIELDS, _ODD)
)


@given(st.lists(_JOBS | _ODD, max_size=5), st.booleans())
def test_no_verdict_comes_from_what_is_no_evidence(jobs: list[Any], by_id: bool) -> None:
    told = Told().post()
    for body in jobs:
        told.job(200, body) if by_id else told.ask("GET", "/api/jobs", 200, {"jobs": [body]})
    assert told.state() in ("pending", "in_progress", "ending")
    assert told.task().outcome is None


@pytest.mark.parametrize("status", ["paused", None, "", "x" * 10_000])
def test_one_note_names_a_status_that_is_not_known_and_it_is_asked_again(status: object) -> None:
    told = Told().post()
    for _ in range(3):
        told.job(200, job(status))
    notes = [finding for finding in told.board.findings if finding.code == "unrecognized"]
    assert len(notes) == 1
    assert notes[0].count == 3
    assert str(status)[:20] in notes[0].text.replace("no status", "None")
    assert len(notes[0].text) < 300
    assert any(getattr(effect, "prompt_id", None) == ID for effect in told.board.drain())


def test_one_note_names_jobs_without_an_id_and_the_others_count() -> None:
    told = Told().post().ask("GET", "/api/jobs", 200, {"jobs": [None, {"status": "failed"}, job("cancelled"), "x", {}]})
    assert told.state() == "cancelled"
    notes = [finding for finding in told.board.findings if finding.code == "unrecognized"]
    assert len(notes) == 1
    assert "4 of 5" in notes[0].text


def test_a_list_of_ten_thousand_is_read() -> None:
    others = [{"id": f"{n:08d}-1111-4222-8333-444444444444", "status": "completed"} for n in range(10_000)]
    told = Told().version("0.33.0").post().ask("GET", "/api/jobs", 200, {"jobs": [*others, job("cancelled")]})
    assert told.state() == "cancelled"
    assert len(told.board.tasks) == 1


@pytest.mark.parametrize("told_by_frame", [False, True])
def test_a_list_that_counts_more_outputs_than_were_told_is_noted_until_the_job_names_them(told_by_frame: bool) -> None:
    """P38: the outputs of a task that a list settled are those that frames told."""
    one, two = ({"images": [{"filename": name, "subfolder": "", "type": "output"}]} for name in ("a.png", "b.png"))
    told = Told().version("0.33.0").post().frame("execution_start", prompt_id=ID)
    if told_by_frame:
        told.frame("executed", prompt_id=ID, node="1", output=one)
    told.ask("GET", "/api/jobs", 200, {"jobs": [job(outputs_count=2)]})
    assert (told.state(), len(told.task().outputs)) == ("completed", int(told_by_frame))
    (note,) = [finding for finding in told.board.findings if finding.code == "outputs-unseen"]
    assert (note.severity, "counts 2 outputs" in note.text) == ("note", True)
    told.job(200, job(outputs={"1": one, "2": two}))
    assert [output.filename for output in told.task().outputs] == ["a.png", "b.png"]
    assert "outputs-unseen" not in told.codes


def test_a_list_that_counts_no_more_than_was_told_is_silent() -> None:
    shown = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}], "text": ["words"]}
    told = Told().version("0.33.0").post().frame("execution_start", prompt_id=ID)
    told.frame("executed", prompt_id=ID, node="1", output=shown)
    told.ask("GET", "/api/jobs", 200, {"jobs": [job(outputs_count=2)]})
    assert (told.state(), told.codes) == ("completed", [])


def test_an_answer_about_another_job_is_no_answer() -> None:
    told = Told().version("0.33.0").post().post(OTHER_ID).job(200, job() | {"id": OTHER_ID})
    assert (told.state(), told.state(OTHER_ID)) == ("pending", "pending")
    assert "history-incomplete" in told.codes


def test_the_first_run_of_an_id_that_was_posted_twice_decides() -> None:
    told = Told().version("0.33.0").post().post()
    assert told.job(200, job(execution_status=said("success", SUCCESS), outputs={})).state() == "completed"


# who cancelled


def cancel(told: Told, how: str, ids: list[str], answer: object, status: int = 200, window: str = THEIRS) -> Told:
    if how == "batch":
        return told.ask("POST", "/api/jobs/cancel", status, answer, {"job_ids": ids}, window)
    for prompt_id in ids:
        told.ask("POST", f"/api/jobs/{prompt_id}/cancel", status, answer, None, window)
    return told


@pytest.mark.parametrize("how", ["single", "batch"])
def test_a_cancel_by_another_window_is_its_doing(how: str) -> None:
    told = Told().post().frame("execution_start", prompt_id=ID).post(OTHER_ID)
    cancel(told, how, [ID, OTHER_ID], {"cancelled": True}).frame("execution_interrupted", prompt_id=ID)
    told.job(404, MISSING, OTHER_ID).end()
    assert {"foreign-interrupt", "foreign-delete"} <= {*told.codes}
    assert (told.task().outcome, told.state(OTHER_ID)) == ("cancelled", "cancelled")


@pytest.mark.parametrize("how", ["single", "batch"])
@pytest.mark.parametrize(
    ("answer", "status", "ids"),
    [
        ({"cancelled": False}, 200, [ID, OTHER_ID]), ({"error": "job_ids contains invalid id(s)"}, 400, [ID, "bad"]),
        (None, 405, [ID, OTHER_ID]), (None, 500, [ID]), ({"cancelled": True}, 200, [OTHER_ID]),
    ],
)  # fmt: skip
def test_a_cancel_that_did_nothing_or_named_another_is_nobodys_doing(
    how: str, answer: object, status: int, ids: list[str]
) -> None:
    told = Told().post().frame("execution_start", prompt_id=ID)
    cancel(told, how, ids, answer, status).frame("execution_interrupted", prompt_id=ID).end()
    assert told.task().outcome == "cancelled"
    assert not {"foreign-interrupt", "foreign-delete"} & {*told.codes}


@pytest.mark.parametrize(("version", "blamed"), [("0.3.50", True), ("0.3.57", False), ("0.33.0", False)])
def test_an_interrupt_that_names_another_prompt_hits_whatever_runs_on_old_servers_alone(
    version: str, blamed: bool
) -> None:
    told = Told().version(version).post().frame("execution_start", prompt_id=ID)
    told.ask("POST", "/interrupt", 200, None, {"prompt_id": OTHER_ID}, THEIRS)
    told.frame("execution_interrupted", prompt_id=ID)
    assert ("foreign-interrupt" in told.codes) is blamed


# submitting, and what is about no task


def test_409_for_its_own_id_says_that_it_was_accepted_before_and_is_looked_for() -> None:
    """P58."""
    told = Told()
    sent = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "client_id": OURS, "prompt_id": ID}
    told.ask("POST", "/prompt", 409, {"error": "prompt_id already exists"}, sent)
    assert told.state() == "uncertain"
    assert any(getattr(effect, "prompt_id", None) == ID for effect in told.board.drain())
    assert told.job(200, job("in_progress")).state() == "in_progress"


KINDS = ["invalid_prompt_id", "missing_node_type", "prompt_outputs_failed_validation", "newer"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_400_with_an_error_is_a_refusal_whatever_its_type(kind: str) -> None:
    """P45, P46."""
    told = Told()
    sent = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "client_id": OURS, "prompt_id": ID}
    error = {"type": kind, "message": "no", "details": "", "extra_info": {"node_id": "1", "class_type": "A"}}
    nodes = {"1": {"errors": [{"type": "dependency_cycle", "message": "Dependency cycle detected"}], "class_type": "A"}}
    told.ask("POST", "/prompt", 400, {"error": error, "node_errors": nodes if "outputs" in kind else {}}, sent)
    assert told.state() == "rejected"
    assert told.task().error is not None
    assert told.task().error.type == kind


def test_frames_of_assets_are_about_no_task_and_silent() -> None:
    """P54: the error among them has a message, and is no error of a prompt."""
    told = Told().post().frame("execution_start", prompt_id=ID)
    for stage in ("started", "progress", "fast_complete", "enrich_complete", "completed", "paused", "resumed", "error"):
        told.frame(f"assets.seed.{stage}", message="no such folder", exception_message="x")
    assert told.state() == "in_progress"
    assert not told.codes


def test_each_type_that_an_extension_made_up_is_named_once_and_what_is_known_is_silent() -> None:
    """P55."""
    told = Told().post().frame("execution_start", prompt_id=ID)
    for kind in ("feature_flags", "logs", "notification", "assets.seed.resumed"):
        told.frame(kind, value="x", prompt_id=ID)
    assert not told.codes
    for _ in range(3):
        for kind in ("cm-queue-status", "crystools.monitor", "logs.more", "assets"):
            told.frame(kind, prompt_id=ID, exception_message="x")
    assert told.state() == "in_progress"
    notes = [finding for finding in told.board.findings if finding.code == "unrecognized"]
    assert [(note.severity, note.count) for note in notes] == [("note", 3)] * 4


def test_activity_is_a_sign_of_life_and_no_end() -> None:
    """P56, and fields that nobody knows yet."""
    told = Told().post().frame("execution_start", prompt_id=ID, workflow_id="w")
    node = {"value": 0.0, "max": 1.0, "state": "running", "activity": "loading", "new": {"deep": [None]}}
    told.frame("progress_state", prompt_id=ID, nodes={"1": node}, workflow_id="w")
    assert (told.state(), told.codes) == ("in_progress", [])
    assert told.task().last_sign == told.board.now


ASSET = "207052a1-990d-4f86-8492-d24f891255ff"


@pytest.mark.parametrize("told_id", [ASSET, None, 7, "", "../../etc", "207052A1-990D-4F86-8492-D24F891255FF", [ASSET]])
def test_an_output_keeps_the_id_of_its_asset_if_it_is_one(told_id: object) -> None:
    """P53."""
    item = {"filename": "a.png", "subfolder": "", "type": "output", "id": told_id, "preview_id": told_id}
    told = Told().version("0.33.0").post().job(200, job(outputs={"1": {"images": [item]}}))
    (output,) = told.task().outputs
    assert (output.id, output.preview_id) == ((ASSET, ASSET) if told_id == ASSET else ("", ""))
    assert output.filename == "a.png"
