"""What the fold counts while it folds: plain numbers that only grow.

They are a function of the log alone, so a process that takes a log up counts on from where the last one stopped. What
is rare is counted here; what comes with every frame is not, since a replay would pay for it a million times.
"""

from __future__ import annotations

from bisect import bisect_left

from msgspec import Struct, field

from comfy_fsm.core.findings import CODES
from comfy_fsm.core.machine import RECOVERABLE, SETTLED, State
from comfy_fsm.core.registry.task import Confidence, Task

SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0)
"""Of a task: from a graph that is cached to a video that takes an hour."""
WAITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Of an answer, up to the deadline; and of a commit."""
GAPS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0)
"""Of a socket that was down: from one step of the backoff to a night."""
_LONGEST = 1e9  # seconds; the times of a trace can be anything, and a sum must stay a number

SOURCES = (
    "execution_success", "execution_error", "execution_interrupted", "executing", "executed", "progress_state",
    "history", "jobs", "queue", "response", "command", "tick", "none",
)  # fmt: skip
"""Which signal can have told of an end first; none, where a task expired in silence."""
CONFIDENCES: tuple[Confidence, ...] = ("verified", "stated", "inferred")
LOOKS = ("settled", "listed", "absent", "incomplete", "unreachable")
"""What an answer can say about an open task."""
ANSWERS = ("answered", "refused", "failed", "unanswered")
"""How a request can end: 2xx and 3xx, 4xx, 5xx, or not at all."""
REASONS = {1000: "normal", 1001: "going-away", 1006: "abnormal", 1009: "too-big", 1011: "server-error", 1012: "restart"}
RECONNECTS = (*REASONS.values(), "resumed", "other")
"""Why a socket had to be opened again: by the close code, or since the process that held it is gone."""
_HURT = frozenset({"socket-gap", "missed-end", "deaf-socket"})


class Histogram(Struct, eq=False):
    """How often a duration fell between two bounds; as large after a year as after a minute."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0
    longest: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        seconds = min(seconds, _LONGEST) if seconds > 0.0 else 0.0  # NaN too: clocks step back, and traces lie
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds
        self.longest = max(self.longest, seconds)

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The duration that this share did not exceed, as far as the bounds tell; None where nothing was counted."""
        wanted, below, floor = share * self.count, 0, 0.0
        if not self.count:
            return None
        for bound, count in zip((*self.bounds, self.longest), self.counts, strict=True):
            bound = max(floor, min(bound, self.longest))
            if count and below + count >= wanted:
                return min(bound, floor + (bound - floor) * max(0.0, wanted - below) / count)
            below, floor = below + count, bound
        return self.longest

    def copy(self) -> Histogram:
        return Histogram(self.bounds, self.counts.copy(), self.sum, self.longest)

    def add(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum
        self.longest = max(self.longest, other.longest)


class ServerCounters(Struct, eq=False):
    """What is counted of one server."""

    answers: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ANSWERS, 0))
    waits: Histogram = field(default_factory=lambda: Histogram(WAITS))
    reconnects: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RECONNECTS, 0))
    settled_at: float = 0.0

    def answer(self, status: int | None, seconds: float) -> None:
        """A request ended; None: without an answer, which then has no latency either."""
        if status is None:
            self.answers["unanswered"] += 1
            return
        self.answers["answered" if status < 400 else "refused" if status < 500 else "failed"] += 1
        self.waits.observe(seconds)


class Counters(Struct, eq=False):
    """What is counted of all that was folded."""

    submissions: int = 0
    settled: dict[State, int] = field(default_factory=lambda: dict.fromkeys(sorted(SETTLED), 0))
    completions: dict[tuple[State, str, Confidence], int] = field(default_factory=dict)
    """By state, source and confidence: at most as many as there are of these."""
    reopened: int = 0
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    """From the POST to the end, of the completed tasks."""
    impaired: int = 0
    """Tasks whose socket was down, deaf, or silent about the end."""
    recovered: int = 0
    """Those of them that were settled all the same, neither as lost nor as expired."""
    uncertain: int = 0
    retries: int = 0
    """Records asked for again, since an earlier answer brought none."""
    looks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LOOKS, 0))
    found: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CODES, 0))
    """Findings by code, each time that they were found."""
    strayed: set[str] = field(default_factory=set)
    """Ids of tasks that a server was asked or told of that is not theirs."""
    strange: int = 0
    """Frames whose prompt nobody was known to have submitted when they came."""
    gaps: Histogram = field(default_factory=lambda: Histogram(GAPS))

    def settle(self, task: Task, server: ServerCounters, at: float) -> None:
        """A task was decided; after a recover command it may be a second time."""
        state, source = task.state, task.completion_source or "none"
        self.settled[state] += 1
        key = (state, source if source in SOURCES else "none", task.confidence or "inferred")
        self.completions[key] = self.completions.get(key, 0) + 1
        self.looks["settled"] += task.confirmed_by in ("history", "jobs")
        self.recovered += task.impaired and state not in RECOVERABLE
        server.settled_at = at
        if state is State.COMPLETED and task.submitted_at is not None and task.ended_at is not None:
            self.seconds.observe(task.ended_at - task.submitted_at)

    def count_finding(self, code: str, task: Task | None, prompt_id: str | None) -> None:
        self.found[code] += 1
        if code in _HURT and task is not None and not task.impaired:
            task.impaired = True
            self.impaired += 1
            self.recovered += task.settled and task.state not in RECOVERABLE
        elif code == "wrong-server" and prompt_id is not None:
            self.strayed.add(prompt_id)
