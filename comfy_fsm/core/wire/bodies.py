"""Bodies of requests and answers: submissions, records, queues, jobs. No state, no time.

Every type here reads the forms of every version, and the shortened forms that a recorder may keep.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NamedTuple

from msgspec import Raw, Struct

from comfy_fsm.core.effects import Failure
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.observations import FailureData
from comfy_fsm.core.wire import codec, refusals
from comfy_fsm.core.wire.fieldwise import Oddity

__all__ = [
    "BLOCKED", "ENDED", "FINISHED", "LISTED", "MARK", "Batch", "Cancelled", "HistoryItem", "HistoryRecord",
    "Interrupt", "JobList", "JobRecord", "QueueItem", "Removal", "Submission", "Verdict", "did_nothing",
    "executed_output", "failure_of", "is_missing_job", "knows_no_cancelled", "mark_of", "odd_outputs", "progress",
    "version", "word",
]  # fmt: skip

BLOCKED = "ExecutionBlocked"
"""`exception_type` of an error that is not an end (P19)."""
FINISHED = b'"finished"'
"""Occurs in a progress_state once for each finished node: a search of the bytes, since thousands of these frames come
(P18)."""
_TERMINAL = {
    "execution_success": State.COMPLETED,
    "execution_error": State.FAILED,
    "execution_interrupted": State.CANCELLED,
}
_ENDED = {
    State.COMPLETED: "success succeeded successful completed complete done finished",
    State.FAILED: "error failed failure errored non_retryable_error timed_out timeout",
    State.CANCELLED: "cancelled canceled interrupted aborted",
}
_GOING = {
    Signal.QUEUE: "pending queued in_queue waiting waiting_to_dispatch dispatched submitted created scheduled",
    Signal.RUN: "in_progress running executing processing started",
}
ENDED = {word: outcome for outcome, words in _ENDED.items() for word in words.split()}
"""Outcomes of a job or a record, by every spelling in use: ComfyUI's own (P37), Comfy Cloud's, wrappers'."""
LISTED = {word: signal for signal, words in _GOING.items() for word in words.split()}
"""Signals of a job that has not ended, by the spelling of its status."""


def word(status: str | None) -> str:
    """Normalize a status to a key of the tables above."""
    if status in ENDED:  # as nearly every record writes it
        return status
    return (status or "")[:80].strip().lower().replace("-", "_").replace(" ", "_")


class _Node(Struct, frozen=True):
    """Node of a graph; an input that is a list of two is a link: [node, slot]."""

    inputs: dict[str, object] = {}
    class_type: object = None


_BY_SOCKET = re.compile(r"(?!.*load)(?=.*image).*web_?socket", re.IGNORECASE)
"""Classes of nodes that send images over the socket, as SaveImageWebsocket does, in the same frames as previews."""


@lru_cache(maxsize=1_000)
def _sends_images(class_type: str) -> bool:
    return _BY_SOCKET.match(class_type) is not None


MARK = "comfy_fsm"
"""Key in `extra_data` under which our clients leave the prompt id that they chose: every version keeps it (P10)."""


class _Extra(Struct, frozen=True, rename={"mark": MARK}):
    """`extra_data` of a prompt, as far as it is ours."""

    mark: str | None = None


def mark_of(item: list[Raw]) -> str | None:
    """Return the mark in `[number, prompt_id, prompt, extra_data, outputs]`, as queue and history show it."""
    extra = codec.body(item[3], _Extra) if len(item) > 3 else None
    return extra.mark if extra is not None else None


class Submission(Struct, frozen=True):
    """Body of `POST /prompt` (P9)."""

    prompt: dict[str, _Node] = {}
    prompt_id: str | None = None
    client_id: str | None = None
    partial_execution_targets: list[str] | None = None

    def sinks(self) -> set[str]:
        """Return the nodes that no other node reads: each output node among them must run."""
        if self.partial_execution_targets:
            return set(self.partial_execution_targets)
        return self.prompt.keys() - {
            str(value[0])
            for node in self.prompt.values()
            for value in node.inputs.values()
            if type(value) is list and len(value) == 2
        }

    def image_nodes(self) -> set[str]:
        """Return the nodes whose images come over the socket, and from nowhere else."""
        found = {
            name
            for name, node in self.prompt.items()
            if isinstance(node.class_type, str) and _sends_images(node.class_type[:200])
        }
        return found & set(self.partial_execution_targets) if self.partial_execution_targets else found

    def must_run(self) -> set[str]:
        """Return all nodes, since each leads to a sink; none if only some outputs are wanted."""
        return set() if self.partial_execution_targets else set(self.prompt)


class _RecordStatus(Struct, frozen=True):
    status_str: str | None = None
    completed: bool | None = None
    messages: list[tuple[str, FailureData]] | None = None

    def from_status(self) -> State | None:
        """Return the outcome that it states beside its messages; `completed` counts only if status_str is unknown."""
        outcome = ENDED.get(word(self.status_str))
        return State.COMPLETED if outcome is None and self.completed is True else outcome

    def from_messages(self) -> tuple[State, FailureData] | None:
        """Return the outcome that its messages state, and what they say about it."""
        for name, data in reversed(self.messages or ()):
            if name in _TERMINAL and data.exception_type != BLOCKED:
                return _TERMINAL[name], data
        return None


def odd_outputs(outputs: object, told: Collection[str] = ()) -> list[Oddity]:
    """Return where outputs are not `{node: {kind: […]}}`; what they name is read all the same. `told` are the nodes
    whose outputs are known, so that some should be there."""
    if outputs is None:
        return [Oddity("outputs", "are not there")] if told else []
    if not isinstance(outputs, dict):
        return [Oddity("outputs", "are no object of nodes")]
    odd = (node for node, kinds in outputs.items() if kinds is not None and not isinstance(kinds, dict))
    return [Oddity(f"outputs of node {node!r:.40}", "are no object of kinds") for node in odd]


class Verdict(NamedTuple):
    """Outcome that a record states; `stale` if its status disagrees with its messages."""

    outcome: State | None = None
    stale: bool = False
    failure: Failure | None = None


_NO_VERDICT = Verdict()


class HistoryRecord(Struct, frozen=True):
    """Entry of the history; `status` is absent before January 2024."""

    prompt: Raw = Raw(b"null")
    outputs: object = None
    status: _RecordStatus | None = None

    def verdict(self) -> Verdict:
        """Return the outcome, by the messages first, then by `status_str`, which may be stale (P23, P24)."""
        status = self.status
        if status is None:
            return _NO_VERDICT
        told, said = status.from_messages(), ENDED.get(word(status.status_str))
        if told is None:
            return Verdict(status.from_status())
        outcome, data = told
        stale = said not in (None, outcome) and State.COMPLETED in (said, outcome)
        return Verdict(outcome, stale, failure_of(data) if outcome is State.FAILED else None)

    @property
    def word(self) -> str:
        return word(self.status.status_str) if self.status is not None else ""

    def names(self, prompt_id: str) -> bool:
        """Return whether the entry is about this prompt, as far as it says."""
        item = codec.quick(self.prompt, QueueItem)
        if item is not None:
            return item.prompt_id == prompt_id
        parts = codec.body(self.prompt, list[Raw])
        if parts is None:
            entry = codec.body(self.prompt, HistoryItem)  # that of Comfy Cloud is an object
            return entry is None or entry.prompt_id == prompt_id
        return len(parts) < 2 or codec.body(parts[1], str) in (None, prompt_id)

    def mark(self) -> str | None:
        return mark_of(codec.body(self.prompt, list[Raw]) or [])

    def ordered(self) -> set[str] | None:
        """Return the outputs that were asked for, if the entry says so."""
        parts = codec.body(self.prompt, list[Raw])
        outputs = codec.body(parts[4], list[str]) if parts is not None and len(parts) > 4 else None
        return None if outputs is None else set(outputs)

    def has(self, nodes: Iterable[str]) -> bool:
        kept = self.outputs if isinstance(self.outputs, dict) else {}
        return all(kept.get(node) for node in nodes)

    def lacks(self, nodes: Iterable[str]) -> list[str]:
        """Return the nodes whose outputs it should have and does not; outputs that are no object, or not there, say
        nothing about them."""
        return [node for node in nodes if node not in self.outputs] if isinstance(self.outputs, dict) else []


class HistoryItem(Struct, frozen=True):
    """Entry that names its prompt by itself."""

    prompt_id: str


class QueueItem(Struct, frozen=True, array_like=True, gc=False):
    """Item of a queue as all versions write it, and keep it in its record: `[number, prompt_id, …]`, of which the rest
    is not read."""

    number: Raw
    prompt_id: str


class JobRecord(Struct, frozen=True):
    """Job, by its id or from a list; only by its id it has outputs and `execution_status` (P36, P38)."""

    id: str | None = None
    status: str | None = None
    outputs: object = None
    outputs_count: int | None = None
    preview_output: object = None
    execution_error: FailureData | str | None = None
    error: object = None
    error_message: object = None
    execution_status: _RecordStatus | None = None

    def named(self) -> object:
        """Return the outputs that it names: all of them by its id, one of them in a list (P36)."""
        preview = self.preview_output
        if self.outputs is not None or not isinstance(preview, dict):
            return self.outputs
        return {str(preview.get("nodeId") or ""): {str(preview.get("mediaType") or "outputs"): [preview]}}

    @property
    def signal(self) -> Signal | None:
        """Signal that it is pending or running, if it says so."""
        return LISTED.get(word(self.status))

    def verdict(self, names_cancelled: bool | None) -> Verdict:
        """Return the outcome, by the messages first, then by the error, then by the status, which may be as wrong as
        that of a record (P24, P40).

        Where jobs are never `cancelled`, one that failed without an error was: it was interrupted (P37). If it is
        unknown whether a server uses that word, such a job in a list has ended, with an open outcome.
        """
        record = self.execution_status
        said = ENDED.get(word(self.status))
        told = record.from_messages() if record is not None else None
        if told is not None:
            outcome, data = told
            others = {said, ENDED.get(word(record.status_str if record else None))} - {None}
            stale = any((other is State.COMPLETED) is not (outcome is State.COMPLETED) for other in others)
            return Verdict(outcome, stale, failure_of(data) if outcome is State.FAILED else None)
        error = self.execution_error
        if error is not None:
            failure = Failure(message=error) if isinstance(error, str) else failure_of(error)
            return Verdict(State.FAILED, said is State.COMPLETED, failure)
        kind, message = refusals.words_of(self.error_message or self.error)
        if message is not None and said in (State.FAILED, None):  # as wrappers and Comfy Cloud report it
            return Verdict(State.FAILED, False, Failure(type=kind, message=message))
        if self.status == "failed" and not names_cancelled and (record is None or not record.messages):
            return Verdict(State.CANCELLED if names_cancelled is False else None)
        return Verdict(said)


class _Pagination(Struct, frozen=True):
    has_more: bool | None = None


class JobList(Struct, frozen=True):
    """Page of the list of jobs (P36)."""

    jobs: list[Raw]
    pagination: _Pagination | None = None


class _Missing(Struct, frozen=True):
    error: str


def is_missing_job(raw: Raw) -> bool:
    """Return whether this 404 says that a job is in neither queue nor history (P38); any other 404 means something else
    (P33)."""
    missing = codec.body(raw, _Missing)
    return missing is not None and missing.error.strip(" .").lower() == "job not found"


def knows_no_cancelled(raw: Raw) -> bool:
    """Return whether this 400 comes from a server whose jobs are never `cancelled` and that was asked for that status
    (P37)."""
    refused = codec.body(raw, _Missing)
    _, found, valid = refused.error.partition("Valid values:") if refused is not None else ("", "", "")
    return bool(found) and "failed" in valid and "cancelled" not in valid


class Batch(Struct, frozen=True):
    """Body of `POST /api/jobs/cancel` (P42)."""

    job_ids: list[str] = []


class Cancelled(Struct, frozen=True):
    """Answer to either cancel; false if there was nothing to cancel (P42)."""

    cancelled: bool


def did_nothing(raw: Raw) -> bool:
    answer = codec.body(raw, Cancelled)
    return answer is not None and not answer.cancelled


class _System(Struct, frozen=True):
    comfyui_version: str = ""


class _Stats(Struct, frozen=True):
    system: _System = _System()


def version(raw: Raw) -> tuple[int, ...] | None:
    """Return the version in `/system_stats`; absent or "unknown" before January 2025."""
    stats = codec.body(raw, _Stats)
    try:
        text = stats.system.comfyui_version if stats is not None else ""
        return tuple(int(part) for part in text.lstrip("v").split("+")[0].split("-")[0].split("."))
    except ValueError:
        return None


class Removal(Struct, frozen=True):
    """Body of `POST /queue`: named ids, or everything pending (P30)."""

    delete: list[str] | None = None
    clear: bool = False


class Interrupt(Struct, frozen=True):
    """Body of `POST /interrupt` (P31)."""

    prompt_id: str | None = None


def failure_of(data: FailureData) -> Failure:
    lines = codec.body(data.traceback, list[str]) or [codec.body(data.traceback, str) or ""]
    return Failure(
        type=data.exception_type,
        message=data.exception_message,
        node_id=data.node_id,
        node_type=data.node_type,
        traceback=tuple(filter(None, lines)),
    )


def executed_output(raw: Raw) -> object:
    try:
        return codec.loads(bytes(raw))
    except codec.Unreadable:
        return None


class _NodeProgress(Struct, frozen=True):
    state: str | None = None


def progress(raw: Raw) -> dict[str, str | None]:
    """Return the state of each node that has begun (P16)."""
    nodes = codec.body(raw, dict[str, _NodeProgress])
    return {node: p.state for node, p in (nodes or {}).items()}
