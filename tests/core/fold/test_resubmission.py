"""Tests of jobs in the fold: what waits, which proofs there are, and that nothing moves without one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm import Board, Entry, Policy, State, read
from comfy_fsm.core.fold.resubmission import LOOKS
from comfy_fsm.core.wire.refusals import ELSEWHERE, is_refusal
from comfy_fsm.testing import picture
from tests.support.examples import few

HERE, OTHER = "http://here:1", "http://other:1"


class Told:
    """A board, and a trace that grows line by line."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.board = Board(policy or Policy(post_seconds=0, absence_seconds=0))
        self.position = 0
        self.questions = 0

    def line(self, kind: str, data: dict[str, Any], **more: Any) -> None:
        self.position += 1
        line = {"at": float(self.position), "kind": kind, "data": data, "window": "w", **more}
        self.board.fold(Entry(self.position, read(json.dumps(line).encode())))

    def command(self, name: str, prompt_id: str | None, server: str | None = HERE, **data: Any) -> None:
        self.line("command", {"name": name, "prompt_id": prompt_id, **data}, **({"server": server} if server else {}))

    def ask(self, method: str, path: str, asked: object = None, /, **answer: Any) -> None:
        self.questions += 1
        request = {"id": str(self.questions), "method": method, "path": path, "body": asked}
        self.line("http.request", request, server=HERE)
        kind = "http.error" if "error" in answer else "http.response"
        self.line(kind, {"id": str(self.questions), **answer}, server=HERE)

    def post(self, prompt_id: str, **answer: Any) -> None:
        self.ask("POST", "/prompt", {"prompt": picture(), "client_id": "w", "prompt_id": prompt_id}, **answer)

    def accepted(self, prompt_id: str) -> None:
        self.post(prompt_id, status=200, body={"prompt_id": prompt_id, "number": 1, "node_errors": {}})

    def absent(self, prompt_id: str, rounds: int = 2) -> None:
        for _ in range(rounds):
            self.ask("GET", "/queue", status=200, body={"queue_running": [], "queue_pending": []})
            self.ask("GET", f"/history/{prompt_id}", status=200, body={})
        self.position += 10
        self.line("tick", {})

    def pending(self, prompt_id: str) -> None:
        self.ask("GET", "/queue", status=200, body={"running": [], "pending": [prompt_id]})

    def moves(self, prompt_id: str = "a") -> bool:
        """Whether a `rebind` is believed."""
        self.command("rebind", prompt_id, to="new")
        return "new" in self.board.backlog.waiting

    @property
    def state(self) -> str:
        task = self.board.task("a", HERE)
        assert task is not None
        return task.state


def begun(resubmits: int = 1) -> Told:
    told = Told(Policy(post_seconds=0, absence_seconds=0, resubmits=resubmits))
    told.line("ws.open", {}, server=HERE)
    told.ask("GET", "/features", status=200, body={})
    told.command("enqueue", "a", None, priority=3, graph="g", workflow=picture())
    return told


def test_a_job_waits_from_its_enqueuing_to_its_post() -> None:
    told = begun()
    job = told.board.backlog.waiting["a"]
    assert (job.priority, job.graph, job.position) == (3, "g", told.position)
    told.accepted("a")
    assert not told.board.backlog.waiting
    told.command("enqueue", "a", None)
    assert not told.board.backlog.waiting, "to post this id again would be to run it twice"


def test_a_post_that_was_never_delivered_is_proof() -> None:
    told = begun()
    told.post("a", error="ConnectError")
    assert told.state == State.UNCERTAIN
    assert told.moves()
    assert told.state == State.REJECTED
    assert told.board.backlog.waiting["new"].priority == 3


@pytest.mark.parametrize("error", ["ReadTimeout", "Deadline", "ReadError", "RemoteProtocolError", "ConnectTimeout"])
def test_a_post_without_an_answer_is_none(error: str) -> None:
    told = begun()
    told.post("a", error=error)
    assert not told.moves()


@pytest.mark.parametrize("status", [*filter(is_refusal, range(400, 600)), 500, 502, 503])
def test_a_refusal_is_proof_where_it_speaks_of_the_server(status: int) -> None:
    told = begun()
    told.post("a", status=status, body=None)
    assert told.moves() is (status in ELSEWHERE)


def test_absence_is_proof_of_what_was_never_accepted_alone() -> None:
    told = begun()
    told.accepted("before")  # under the id that was chosen: an id that is absent was not taken under another
    told.post("a", error="ReadTimeout")
    told.absent("a", 1)
    assert not told.moves()
    told.absent("a", 1)
    assert told.state == State.LOST
    assert told.moves()

    told = begun()
    told.accepted("a")
    told.line("ws.close", {"code": 1006}, server=HERE)
    told.absent("a")
    assert told.state == State.LOST
    assert not told.moves()


@pytest.mark.parametrize("resubmits", [0, 1])
@pytest.mark.parametrize(
    "answer", [{"error": "ReadTimeout"}, {"status": 502, "body": None}, {"status": 500, "body": None}]
)
def test_a_post_that_may_still_be_under_way_is_posted_elsewhere_only_where_the_policy_posts_again(
    resubmits: int, answer: dict[str, Any]
) -> None:
    """How long it may take to arrive, nobody knows: after a grace, it is for the policy to say whether that is risked.
    What the server answered itself is not under way any more."""
    told = begun(resubmits)
    told.accepted("before")
    told.post("a", **answer)
    told.absent("a")
    assert told.state == State.LOST
    assert told.moves() is (bool(resubmits) or answer.get("status") == 500)


def test_absence_is_proof_of_nothing_at_a_server_whose_answers_contradict_each_other() -> None:
    told = begun()
    told.accepted("before")
    told.absent("before", 1)
    told.pending("before")  # where it was not, a moment ago
    told.post("a", status=500, body=None)
    told.absent("a", 4)
    assert told.board.task("a", HERE).settled is False
    assert not told.moves()


def test_absence_proves_nothing_at_a_server_that_was_down_unless_it_shows_that_it_remembers() -> None:
    for witness in (False, True):
        told = begun()
        told.accepted("before")
        told.post("a", error="ReadTimeout")
        told.line("ws.close", {"code": 1006}, server=HERE)
        told.absent("a")
        assert told.state == State.LOST
        if witness:
            record = {"prompt": [1, "before", {}, {}, []], "outputs": {}, "status": {"status_str": "success"}}
            told.ask("GET", "/history/before", status=200, body={"before": record})
        assert told.moves() is witness


@pytest.mark.parametrize("recalled", [False, True])
@pytest.mark.parametrize("began", [False, True])
@pytest.mark.parametrize("down", [False, True])
def test_what_was_taken_back_while_pending_is_proof(recalled: bool, began: bool, down: bool) -> None:
    told = begun()
    told.accepted("a")
    told.pending("a")
    if began:
        told.line("ws.message", {"type": "execution_start", "data": {"prompt_id": "a"}}, server=HERE)
    if recalled:
        told.command("recall", "a")
    told.ask("POST", "/queue", {"delete": ["a"]}, status=200, body=None)
    if down:
        told.line("ws.close", {"code": 1006}, server=HERE)
    told.absent("a")
    assert told.state == (State.LOST if began else State.CANCELLED)
    assert told.moves() is (recalled and not began and not down)


def test_what_the_application_cancelled_is_moved_by_nobody() -> None:
    told = begun()
    told.post("a", error="ConnectError")
    told.command("cancel", "a")
    assert not told.moves()


def test_what_the_application_was_told_of_is_moved_by_nobody() -> None:
    told = begun()
    told.post("a", status=401, body=None)
    told.line("delivered", {"prompt_id": "a", "state": "rejected"}, server=HERE)
    assert not told.moves()


@pytest.mark.parametrize("state", ["pending", "in_progress", "completed", "never enqueued"])
def test_without_a_proof_a_rebind_changes_nothing(state: str) -> None:
    told = begun() if state != "never enqueued" else Told()
    if state == "never enqueued":
        told.post("a", error="ConnectError")
    else:
        told.accepted("a")
    if state == "in_progress":
        told.line("ws.message", {"type": "execution_start", "data": {"prompt_id": "a"}}, server=HERE)
    if state == "completed":
        record = {"prompt": [1, "a", {}, {}, []], "outputs": {"2": {}}, "status": {"status_str": "success"}}
        told.ask("GET", "/history/a", status=200, body={"a": record})
    before = told.state
    assert not told.moves()
    assert told.state == before


def test_a_second_rebind_of_one_task_moves_nothing_more() -> None:
    told = begun()
    told.post("a", error="ConnectError")
    assert told.moves()
    told.command("rebind", "a", to="newer")
    assert [*told.board.backlog.waiting] == ["new"]


def test_a_trace_cannot_fill_the_memory_with_jobs_or_servers() -> None:
    told = Told(Policy(jobs=10, acts=10))
    for number in range(100):
        told.command("enqueue", f"job {number}", None, workflow={"x": "y" * 1000})
        told.command("drain", None, f"http://server-{number}")
    assert len(told.board.backlog.waiting) == 10
    assert len(told.board.backlog.drained) == 10


SIMPLE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ODD = st.recursive(SIMPLE, st.lists, max_leaves=4)
NAMES = st.sampled_from(["enqueue", "withdraw", "rebind", "recall", "drain", "undrain", "cancel"])


@few
@given(st.lists(st.tuples(NAMES, st.dictionaries(st.sampled_from(["prompt_id", "to", "priority", "workflow"]), ODD))))
def test_no_command_in_any_shape_raises(commands: list[tuple[str, dict[str, Any]]]) -> None:
    told = begun()
    told.post("a", error="ConnectError")
    for name, data in commands:
        told.line("command", {"name": name, **data}, server=HERE)
    assert all(abs(job.priority) <= 1e6 for job in told.board.backlog.waiting.values())


LISTED = {"running": ["a"], "pending": []}
EMPTY: dict[str, list[str]] = {"running": [], "pending": []}
GREETING = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "w"}}


def denied(*, queue: dict[str, list[str]] = EMPTY, looks: int = LOOKS, told: str = "greeted", count: int = 0) -> bool:
    """Whether a prompt whose POST brought no answer is still denied, after all that is told since."""
    trace = Told()
    if told == "remembered":
        trace.accepted("earlier")
    trace.post("a", error="ReadTimeout")
    since = float(trace.position)
    if told != "nothing":
        trace.line("ws.open", {}, server=HERE)
    if told == "greeted":
        trace.line("ws.message", GREETING, server=HERE)
    elif told == "counted":
        status = {"status": {"exec_info": {"queue_remaining": 7}}}
        trace.line("ws.message", {"type": "status", "data": status}, server=HERE)
    elif told == "remembered":
        trace.ask("GET", "/history/earlier", status=200, body={"earlier": {"outputs": {}}})
    for number in range(looks):
        trace.ask("GET", "/queue", status=200, body=queue if number == looks - 1 else EMPTY)
    trace.ask("GET", "/prompt", status=200, body={"exec_info": {"queue_remaining": count}})
    task = trace.board.task("a", HERE)
    assert task is not None
    return trace.board.still_absent(task, since)


def test_what_each_of_many_answers_denies_is_still_absent_if_the_server_shows_that_it_was_asked() -> None:
    assert denied()
    assert denied(told="remembered")
    assert not denied(told="nothing")


def test_what_any_answer_shows_or_counts_is_not_absent() -> None:
    assert not denied(queue=LISTED)
    assert not denied(looks=LOOKS - 1)
    assert not denied(count=1)
    assert not denied(told="counted")


def test_absence_proves_nothing_where_somebody_cleared_the_history_since() -> None:
    trace = begun()
    trace.post("a", error="ReadTimeout")
    trace.ask("POST", "/history", {"clear": True}, status=200)
    trace.absent("a", 8)
    assert not trace.moves()
