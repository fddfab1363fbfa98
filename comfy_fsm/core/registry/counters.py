"""Counters of the fold: plain numbers that only grow.

They depend on the log alone, so a process that takes over a log counts on from where the last one stopped. Rare events
are counted here; what comes with every frame is not, since a replay would pay for it a million times.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Literal, get_args

from comfy_fsm.core.findings import CODES, Code
from comfy_fsm.core.machine import RECOVERABLE, SETTLED, State
from comfy_fsm.core.registry.ending import RECORDS, Confidence, Source
from comfy_fsm.core.registry.task import Task

__all__ = [
    "ANSWERS", "CONFIDENCES", "HURTS", "LOOKS", "REASONS", "RECONNECTS", "SECONDS", "SOURCES", "WAITS", "Counters",
    "Histogram", "ServerCounters",
]  # fmt: skip

SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0)
"""Bounds in seconds for the duration of a task: from a graph that is cached to a video that takes an hour."""
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds in seconds for the wait for an answer, up to the deadline, and for a commit."""
_GAPS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0)
"""Bounds in seconds for the downtime of a socket: from one step of the backoff to a night."""
_LONGEST = 1e9  # seconds; a trace can state any time, and a sum must stay a number

_CountedSource = Source | Literal["none"]
SOURCES: tuple[_CountedSource, ...] = (*get_args(Source), "none")
"""Signals that can be the first to report an end; `none` for a task that expired in silence."""
CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)
_LookResult = Literal["settled", "listed", "absent", "incomplete", "unreachable"]
LOOKS: tuple[_LookResult, ...] = get_args(_LookResult)
"""Results that a query about an open task can have."""
_AnswerResult = Literal["answered", "refused", "failed", "unanswered"]
ANSWERS: tuple[_AnswerResult, ...] = get_args(_AnswerResult)
"""Ways in which a request can end: 2xx and 3xx, 4xx, 5xx, or without an answer."""
REASONS = {1000: "normal", 1001: "going-away", 1006: "abnormal", 1009: "too-big", 1011: "server-error", 1012: "restart"}
RECONNECTS = (*REASONS.values(), "resumed", "other")
"""Reasons to open a socket again: its close code, or `resumed` if the process that held it is gone."""
HURTS = (Code.SOCKET_GAP, Code.MISSED_END, Code.DEAF_SOCKET)
"""Findings after which only asking shows how a task ended."""


@dataclass(slots=True, eq=False)
class Histogram:
    """Histogram of durations in seconds; it never grows."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0
    longest: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        if not 0.0 < seconds < _LONGEST:  # nor NaN: clocks step back, and a trace can lie
            seconds = _LONGEST if seconds > 0.0 else 0.0
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds
        if seconds > self.longest:
            self.longest = seconds

    @property
    def count(self) -> int:
        return sum(self.counts)

    def copy(self) -> Histogram:
        return Histogram(self.bounds, self.counts.copy(), self.sum, self.longest)

    def add(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum
        self.longest = max(self.longest, other.longest)


@dataclass(slots=True, eq=False)
class ServerCounters:
    """Counters of one server."""

    answers: dict[_AnswerResult, int] = field(default_factory=lambda: dict.fromkeys(ANSWERS, 0))
    waits: Histogram = field(default_factory=lambda: Histogram(WAITS))
    reconnects: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RECONNECTS, 0))
    settled_at: float = 0.0

    def answer(self, status: int | None, seconds: float) -> None:
        """Count a request that ended; without an answer (`status` is None) it has no latency either."""
        if status is None:
            self.answers["unanswered"] += 1
            return
        self.answers["answered" if status < 400 else "refused" if status < 500 else "failed"] += 1
        self.waits.observe(seconds)


@dataclass(slots=True, eq=False)
class Counters:
    """Counters of everything that was folded."""

    submissions: int = 0
    settled: dict[State, int] = field(default_factory=lambda: dict.fromkeys(sorted(SETTLED), 0))
    completions: dict[tuple[State, _CountedSource, Confidence], int] = field(default_factory=dict)
    """Settled tasks by state, source and confidence: at most as many keys as there are combinations."""
    reopened: int = 0
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    """Seconds from the POST to the end, of completed tasks."""
    impaired: int = 0
    """Tasks whose socket was down, deaf, or silent about the end."""
    recovered: int = 0
    """Impaired tasks that were settled all the same, neither as lost nor as expired."""
    uncertain: int = 0
    retries: int = 0
    """Records requested again because an earlier answer contained none."""
    looks: dict[_LookResult, int] = field(default_factory=lambda: dict.fromkeys(LOOKS, 0))
    found: dict[Code, int] = field(default_factory=lambda: dict.fromkeys(CODES, 0))
    """Findings by code; each occurrence counts."""
    strayed: set[str] = field(default_factory=set)
    """Ids of tasks about which a server was asked, or answered, to which they are not bound."""
    strange: int = 0
    """Frames whose prompt had no known submission when they came."""
    gaps: Histogram = field(default_factory=lambda: Histogram(_GAPS))

    def settle(self, task: Task, server: ServerCounters, at: float) -> None:
        """Count a settlement; after a recover command it may be the task's second one."""
        state = task.state
        self.settled[state] += 1
        key = (state, task.completion_source or "none", task.confidence or "inferred")
        self.completions[key] = self.completions.get(key, 0) + 1
        self.looks["settled"] += task.confirmed_by in RECORDS
        self.recovered += task.impaired and state not in RECOVERABLE
        server.settled_at = at
        if state is State.COMPLETED and task.submitted_at is not None and task.ended_at is not None:
            self.seconds.observe(task.ended_at - task.submitted_at)

    def count_finding(self, code: Code, task: Task | None, prompt_id: str | None) -> None:
        self.found[code] += 1
        if code in HURTS and task is not None and task.impair():
            self.impaired += 1
            self.recovered += task.settled and task.state not in RECOVERABLE
        elif code == Code.WRONG_SERVER and prompt_id is not None:
            self.strayed.add(prompt_id)
