"""Probes: what one server says about one prompt, read from its answers: the queue first, then job or record (P29, P32).

Only an answer of ComfyUI's own shape counts; anything else means unreachable, never denied (P33).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from msgspec import Raw, Struct

from comfy_fsm.core.effects import Failure, Output, Text
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.policy import DEFAULT
from comfy_fsm.core.wire import bodies, codec, histories, queues
from comfy_fsm.core.wire.fieldwise import read
from comfy_fsm.core.wire.results import produced

__all__ = ["Has", "ProbeResult", "no_answer", "read_greeting", "read_job", "read_queue", "read_record"]

Has = Literal["running", "pending", "recorded", "denied", "astray", "unreachable"]
"""`astray`: the answer was about another prompt, and is as good as none."""
_JOBS: dict[Signal | None, Has] = {Signal.RUN: "running", Signal.QUEUE: "pending"}


class ProbeResult(Struct, frozen=True):
    """Result of a probe: what this server has of the prompt; `why` says how that is known, or what kept it from being
    known."""

    server: str
    has: Has
    why: str = ""
    outcome: State | None = None
    """Outcome that its record states; None if it states none."""
    outputs: tuple[Output, ...] = ()
    error: Failure | None = None
    missing: tuple[str, ...] = ()
    """What a valid record would contain and this one does not."""
    stale: str = ""
    """Difference between its status_str and its messages, if any; the messages are believed (P24)."""
    texts: tuple[Text, ...] = ()
    left_out: int = 0
    """Number of outputs and texts beyond the bounds of the default policy."""

    @property
    def held(self) -> bool:
        return self.has in ("running", "pending", "recorded")

    @property
    def says_nothing(self) -> bool:
        return self.has in ("astray", "unreachable")


class _Greeting(Struct, frozen=True):
    exec_info: dict[str, object]


def no_answer(server: str, why: str) -> ProbeResult:
    return ProbeResult(server, "unreachable", why)


def read_greeting(server: str, status: int, body: bytes) -> ProbeResult | None:
    """Read the answer to `GET /prompt`; None if it is from a ComfyUI."""
    if status == 200 and codec.body(Raw(body), _Greeting) is not None:
        return None
    return no_answer(server, f"HTTP {status}" if status != 200 else "an answer that is not ComfyUI's")


def read_queue(server: str, prompt_id: str, status: int, body: bytes) -> ProbeResult | None:
    """Read the queue; None if it does not list the prompt: then, and only then, the record is requested."""
    listed = queues.listing(Raw(body)) if status == 200 else None
    if listed is None:
        return no_answer(server, f"HTTP {status}" if status != 200 else "an answer that is no queue")
    running, pending = listed.running, listed.pending
    if prompt_id in running:
        return ProbeResult(server, "running", "its queue says so")
    if prompt_id not in pending and (prompt_id in listed.named or not listed.whole):
        return no_answer(server, "a queue of which a part cannot be read")
    return ProbeResult(server, "pending", "its queue says so") if prompt_id in pending else None


def read_job(server: str, prompt_id: str, status: int, body: bytes) -> ProbeResult | None:
    """Read a job; None if there is none, or no word in it that is known: then its record decides."""
    job = read(Raw(body), bodies.JobRecord)[0] if status == 200 else None
    if job is None or job.id not in (None, prompt_id):
        return None
    outcome, _, error = job.verdict(None)
    if outcome is None:
        has = _JOBS.get(bodies.LISTED.get(bodies.word(job.status)))
        return ProbeResult(server, has, "its job says so") if has is not None else None
    found = produced(job.named(), DEFAULT)
    return ProbeResult(
        server, "recorded", "its job says so", outcome, found.outputs, error, texts=found.texts, left_out=found.left_out
    )


def read_record(server: str, prompt_id: str, status: int, body: bytes, told: Collection[str] = ()) -> ProbeResult:
    """Read and validate the record; `told` are the nodes that reported outputs during the run."""
    found_records = histories.records(Raw(body)) if status == 200 else None
    if found_records is None:
        return no_answer(server, f"HTTP {status}" if status != 200 else "an answer that is no history")
    records = found_records.records
    record = records.get(prompt_id)
    if record is None:
        other = ProbeResult(server, "astray", "the answer is about another prompt")
        return other if records else ProbeResult(server, "denied", "it has no record of it")
    if not record.names(prompt_id):
        return ProbeResult(server, "astray", "the record names another prompt")
    outcome, stale, error = record.verdict()
    said = record.status.status_str if record.status else None
    found = produced(record.outputs, DEFAULT)
    return ProbeResult(
        server,
        "recorded",
        "its history says so",
        outcome,
        found.outputs,
        error,
        _missing(record, outcome, told),
        f"status_str says {said}, the messages say {outcome}" if stale else "",
        found.texts,
        found.left_out,
    )


def _missing(record: bodies.HistoryRecord, outcome: State | None, told: Collection[str]) -> tuple[str, ...]:
    found = []
    if record.status is None:
        found.append("it has no status: it ended, and how is open (servers before January 2024 give none)")
    elif outcome is None:
        found.append("its status does not say how it ended")
    lacking = record.lacks(told)
    if lacking and outcome in (State.COMPLETED, None):  # a failed or cancelled run may have kept fewer
        found.append(f"it lacks the outputs of node {', '.join(lacking[:5])}, which were reported while it ran")
    elif told and not isinstance(record.outputs, dict):
        found.append("its outputs cannot be read by node, and some were told while it ran")
    return tuple(found)
