"""Endings: how a task ends, on whose word, how surely, and what caused it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from comfy_fsm.core.machine import Signal, State

__all__ = ["RECORDS", "SETTLING", "Cause", "CauseKind", "Confidence", "Ending", "Source"]

Confidence = Literal["verified", "stated", "inferred"]

Source = Literal[
    "execution_success", "execution_error", "execution_interrupted", "executing", "executed", "progress_state",
    "history", "jobs", "queue", "response", "command", "tick",
]  # fmt: skip
"""What can be the first to report an end: a frame, an answer, a command, or time."""
RECORDS: frozenset[Source | None] = frozenset({"history", "jobs"})
"""Sources that keep a record of a run."""

SETTLING = {
    State.COMPLETED: Signal.COMPLETE,
    State.FAILED: Signal.FAIL,
    State.CANCELLED: Signal.CANCEL,
    State.LOST: Signal.LOSE,
    State.REJECTED: Signal.REJECT,
    State.EXPIRED: Signal.EXPIRE,
}


class Ending(Struct, frozen=True, gc=False):
    """Ending that settles a task: its outcome, how sure that is, and what shows it; no source if nothing but what was
    stated does."""

    outcome: State
    confidence: Confidence
    source: Source | None = None


CauseKind = Literal[
    "unanswered", "interrupt", "delete", "clear-history", "outage", "hang-up", "unwatched", "unreachable"
]
"""`outage`: the connection was refused, so nobody is there; `hang-up`: a socket broke off, as when a server is killed
(P8)."""


class Cause(Struct, frozen=True, gc=False):
    """Reason for the state of a task or a server that no signal states: an act of a window, or a failure."""

    kind: CauseKind
    position: int
    at: float
    window: str | None = None
    """Window that did it."""
    what: str = ""
    """Details: an error, a status, or the target of the act."""
