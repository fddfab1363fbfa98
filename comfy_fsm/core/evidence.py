"""What the body of a request or an answer says: submissions, records, queues, jobs. No state, no time.

Every type here reads the forms of every version, and the shortened forms that a recorder may keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Raw, Struct

from comfy_fsm.core import wire
from comfy_fsm.core.effects import Failure
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.observations import FailureData

BLOCKED = "ExecutionBlocked"
"""The `exception_type` that is no end (P19)."""
FINISHED = b'"finished"'
"""As often in a progress_state as nodes are: a look at the bytes, since thousands of these frames come (P18)."""
TERMINAL = {
    "execution_success": State.COMPLETED,
    "execution_error": State.FAILED,
    "execution_interrupted": State.CANCELLED,
}
_STATUS = {"success": State.COMPLETED, "error": State.FAILED}
_JOBS = {"completed": State.COMPLETED, "failed": State.FAILED, "cancelled": State.CANCELLED}
LISTED = {"pending": Signal.QUEUE, "in_progress": Signal.RUN}
"""What a job that did not end yet says of its prompt (P37)."""


class Node(Struct, frozen=True):
    """One node of a graph; an input that is a list of two is a link: [node, slot]."""

    inputs: dict[str, object] = {}
    class_type: object = None


_BY_SOCKET = re.compile(r"(?!.*load)(?=.*image).*web_?socket", re.IGNORECASE)
"""Classes of nodes that send images over the socket, as SaveImageWebsocket does, in the same frames as previews."""
MARK = "comfy_fsm"
"""Where in `extra_data` our clients leave the prompt id of their choice: every version keeps it there (P10)."""


class Extra(Struct, frozen=True, rename={"mark": MARK}):
    """The `extra_data` of a prompt, as far as it is ours."""

    mark: str | None = None


def mark_of(item: list[Raw]) -> str | None:
    """The mark on `[number, prompt_id, prompt, extra_data, outputs]`, as queue and history show it."""
    extra = wire.body(item[3], Extra) if len(item) > 3 else None
    return extra.mark if extra is not None else None


class Submission(Struct, frozen=True):
    """The body of `POST /prompt` (P9)."""

    prompt: dict[str, Node] = {}
    prompt_id: str | None = None
    client_id: str | None = None
    partial_execution_targets: list[str] | None = None

    def sinks(self) -> set[str]:
        """The nodes that nothing else reads: each output node among them must run."""
        if self.partial_execution_targets:
            return set(self.partial_execution_targets)
        links = (value for node in self.prompt.values() for value in node.inputs.values() if type(value) is list)
        return self.prompt.keys() - {str(link[0]) for link in links if len(link) == 2}

    def image_nodes(self) -> set[str]:
        """The nodes whose images come over the socket, and from nowhere else."""
        classes = ((name, node.class_type) for name, node in self.prompt.items())
        found = {name for name, kind in classes if isinstance(kind, str) and _BY_SOCKET.match(kind[:200])}
        return found & set(self.partial_execution_targets) if self.partial_execution_targets else found

    def must_run(self) -> set[str]:
        """Each node leads to a sink, so all must run; not so where only some outputs are wanted."""
        return set() if self.partial_execution_targets else set(self.prompt)


class NodeError(Struct, frozen=True):
    dependent_outputs: list[str] = []


class Accepted(Struct, frozen=True):
    """The 200 answer to a POST; nodes in `node_errors` and the outputs behind them were dropped (P9)."""

    prompt_id: str
    node_errors: dict[str, NodeError] | list[object] | None = None

    def dropped(self) -> set[str]:
        if not isinstance(self.node_errors, dict):
            return set()
        return set(self.node_errors).union(*(error.dependent_outputs for error in self.node_errors.values()))


class RefusalError(Struct, frozen=True):
    type: str | None = None
    message: str | None = None


class RefusedNode(Struct, frozen=True):
    errors: list[RefusalError] = []
    class_type: str | None = None


class Refusal(Struct, frozen=True):
    """The 400 answer to a POST; the prompt as a whole may be at fault, or nodes of it.

    Its `details` are not read: they may repeat inputs, which a log does not keep.
    """

    error: RefusalError | str | None = None
    node_errors: Raw = Raw(b"null")

    def failure(self) -> Failure:
        if not isinstance(self.error, RefusalError):
            return Failure(message=self.error)
        nodes = wire.body(self.node_errors, dict[str, RefusedNode]) or {}
        for node_id, node in nodes.items():  # the first that says something: the others are to be mended after it
            if node.errors:
                words = ": ".join(filter(None, (self.error.message, node.errors[0].message)))
                return Failure(self.error.type, words, node_id, node.class_type)
        return Failure(type=self.error.type, message=self.error.message)


class RecordStatus(Struct, frozen=True):
    status_str: str | None = None
    completed: bool | None = None
    messages: list[tuple[str, FailureData]] | None = None

    def told(self) -> tuple[State, FailureData] | None:
        """The end that its messages tell, and what they tell of it."""
        for name, data in reversed(self.messages or ()):
            if name in TERMINAL and data.exception_type != BLOCKED:
                return TERMINAL[name], data
        return None


class Verdict(NamedTuple):
    """How a record says that it ended; `stale` where its status says otherwise than its messages."""

    outcome: State | None = None
    stale: bool = False
    failure: Failure | None = None


_NO_VERDICT = Verdict()


class Record(Struct, frozen=True):
    """One entry of the history; `status` is absent before January 2024."""

    prompt: Raw = Raw(b"null")
    outputs: dict[str, dict[str, object] | None] | None = None
    status: RecordStatus | None = None

    def verdict(self) -> Verdict:
        """By the messages first, then by `status_str`, which may be stale (P23, P24)."""
        status = self.status
        if status is None:
            return _NO_VERDICT
        told, said = status.told(), status.status_str
        if told is None:
            return Verdict(_STATUS.get(said or ""))
        outcome, data = told
        stale = said is not None and (said == "success") is not (outcome is State.COMPLETED)
        return Verdict(outcome, stale, failure_of(data) if outcome is State.FAILED else None)

    def names(self, prompt_id: str) -> bool:
        """Whether the entry is about this prompt, as far as it says."""
        parts = wire.body(self.prompt, list[Raw])
        return parts is None or len(parts) < 2 or wire.body(parts[1], str) in (None, prompt_id)

    def mark(self) -> str | None:
        return mark_of(wire.body(self.prompt, list[Raw]) or [])

    def ordered(self) -> set[str] | None:
        """The outputs that were asked for, where the entry says so."""
        parts = wire.body(self.prompt, list[Raw])
        outputs = wire.body(parts[4], list[str]) if parts is not None and len(parts) > 4 else None
        return None if outputs is None else set(outputs)

    def has(self, nodes: Iterable[str]) -> bool:
        return all((self.outputs or {}).get(node) for node in nodes)


class ShortQueue(Struct, frozen=True, forbid_unknown_fields=True):
    """The queue as a recorder shortens it: ids only, never the bodies (P28)."""

    running: list[str]
    pending: list[str]


class FullQueue(Struct, frozen=True):
    """The queue as a server answers it; of each item only its id is read (P28)."""

    queue_running: list[list[Raw]]
    queue_pending: list[list[Raw]]


def queue(raw: Raw) -> tuple[list[str], list[str]] | None:
    """The running and the pending prompt ids, or None where this is no queue (P33)."""
    full = wire.body(raw, FullQueue)
    if full is not None:
        running, pending = (
            [i for item in part if len(item) > 1 and (i := wire.body(item[1], str)) is not None]
            for part in (full.queue_running, full.queue_pending)
        )
        return running, pending
    short = wire.body(raw, ShortQueue)
    return (short.running, short.pending) if short else None


def marks(raw: Raw) -> dict[str, str]:
    """The marks in a queue, by prompt id."""
    full = wire.body(raw, FullQueue)
    items = [*full.queue_running, *full.queue_pending] if full is not None else []
    marked = [(wire.body(item[1], str), mark_of(item)) for item in items if len(item) > 1]
    return {prompt_id: mark for prompt_id, mark in marked if prompt_id is not None and mark is not None}


class _ExecInfo(Struct, frozen=True):
    queue_remaining: int | None = None


class _Info(Struct, frozen=True):
    exec_info: _ExecInfo = _ExecInfo()


class _Status(Struct, frozen=True):
    status: _Info = _Info()


def remaining(raw: Raw) -> int | None:
    """How many prompts wait or run, as a `status` frame or the answer to `GET /prompt` counts: hidden ones, too."""
    told = wire.body(raw, _Status)
    count = told.status.exec_info.queue_remaining if told is not None else None
    if count is None:
        info = wire.body(raw, _Info)
        count = info.exec_info.queue_remaining if info is not None else None
    return count if count is not None and count >= 0 else None


class Job(Struct, frozen=True):
    """One job, by its id or of the list; only by its id it has outputs and `execution_status` (P36, P38)."""

    id: str | None = None
    status: str | None = None
    outputs: dict[str, dict[str, object] | None] | None = None
    outputs_count: int | None = None
    execution_error: FailureData | None = None
    execution_status: RecordStatus | None = None

    def verdict(self, names_cancelled: bool | None) -> Verdict:
        """By the messages first, then by the error, then by the status, which repeats the lie of a record (P24, P40).

        Where jobs are never `cancelled`, one that failed without an error is: it was interrupted (P37). Of a server
        that showed neither, such a job of the list says that it ended, and not how.
        """
        record = self.execution_status
        said = _JOBS.get(self.status or "")
        told = record.told() if record is not None else None
        if told is not None:
            outcome, data = told
            others = {said, _STATUS.get((record and record.status_str) or "")} - {None}
            stale = any((other is State.COMPLETED) is not (outcome is State.COMPLETED) for other in others)
            return Verdict(outcome, stale, failure_of(data) if outcome is State.FAILED else None)
        if self.execution_error is not None:
            return Verdict(State.FAILED, said is State.COMPLETED, failure_of(self.execution_error))
        if said is State.FAILED and not names_cancelled and (record is None or not record.messages):
            return Verdict(State.CANCELLED if names_cancelled is False else None)
        return Verdict(said)


class Pagination(Struct, frozen=True):
    has_more: bool | None = None


class Jobs(Struct, frozen=True):
    """A page of the list of jobs (P36)."""

    jobs: list[Raw]
    pagination: Pagination | None = None


class Missing(Struct, frozen=True):
    error: str


def is_missing_job(raw: Raw) -> bool:
    """The 404 of a job that is in neither queue nor history (P38); any other 404 is of something else (P33)."""
    missing = wire.body(raw, Missing)
    return missing is not None and missing.error.strip(" .").lower() == "job not found"


class Batch(Struct, frozen=True):
    """The body of `POST /api/jobs/cancel` (P42)."""

    job_ids: list[str] = []


class Cancelled(Struct, frozen=True):
    """The answer to either cancel: false where there was nothing to cancel (P42)."""

    cancelled: bool


def did_nothing(raw: Raw) -> bool:
    answer = wire.body(raw, Cancelled)
    return answer is not None and not answer.cancelled


class System(Struct, frozen=True):
    comfyui_version: str = ""


class Stats(Struct, frozen=True):
    system: System = System()


def version(raw: Raw) -> tuple[int, ...] | None:
    """The version in `/system_stats`; absent or "unknown" before January 2025."""
    stats = wire.body(raw, Stats)
    try:
        text = stats.system.comfyui_version if stats is not None else ""
        return tuple(int(part) for part in text.lstrip("v").split("+")[0].split("-")[0].split("."))
    except ValueError:
        return None


class Removal(Struct, frozen=True):
    """The body of `POST /queue`: named ids, or everything pending (P30)."""

    delete: list[str] | None = None
    clear: bool = False


class Interrupt(Struct, frozen=True):
    """The body of `POST /interrupt` (P31)."""

    prompt_id: str | None = None


def failure_of(data: FailureData) -> Failure:
    return Failure(
        type=data.exception_type, message=data.exception_message, node_id=data.node_id, node_type=data.node_type
    )


def executed_output(raw: Raw) -> dict[str, object] | None:
    return wire.body(raw, dict[str, object])


class NodeProgress(Struct, frozen=True):
    state: str | None = None


def progress(raw: Raw) -> dict[str, str | None]:
    """The state of each node that has begun (P16)."""
    nodes = wire.body(raw, dict[str, NodeProgress])
    return {node: p.state for node, p in (nodes or {}).items()}
