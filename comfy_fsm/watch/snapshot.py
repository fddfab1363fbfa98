"""Snapshot of a log for its operator: frozen values, bounded whatever the log contains. Made by `projection.py`."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from comfy_fsm.core.findings import CODES, GRAVITY, Code, Severity
from comfy_fsm.core.machine import SETTLED, State

__all__ = [
    "FAILURES",
    "QUIET",
    "AlertRow",
    "FindingRow",
    "Scene",
    "ServerRow",
    "Snapshot",
    "TaskRow",
    "WindowRow",
]

FAILURES = frozenset({State.FAILED, State.REJECTED, State.LOST, State.EXPIRED})
"""States of a task that has no result, though somebody wanted one."""
QUIET = 600.0
"""Seconds after which a log is history, and ages are counted to its end: a client with tasks writes far more often."""


class ServerRow(Struct, frozen=True):
    """Row of a server; `queue` is how many prompts it last reported as waiting or running."""

    url: str
    queue: int | None
    open: int
    sockets: int
    seen_at: float | None
    trouble: str | None
    """Why the last question was not answered, if nothing was heard since."""
    lamp: str = "answering"
    """Or `not answering`, or `not asked`, where no process writes the log any more."""
    standing: str = ""
    """`drained`: it is given no jobs; `still`: it has tasks, and nothing of them moves."""


class WindowRow(Struct, frozen=True):
    """Row of a window at a server; its socket is open, closed, down (with a task in flight), shared, or none."""

    window: str
    server: str
    socket: str
    open: int
    heard_at: float | None


class TaskRow(Struct, frozen=True):
    """Row of a task; `share` is that of the running node, not of the whole, which nobody knows (P16)."""

    number: int
    prompt_id: str | None
    window: str | None
    server: str
    state: State
    node: str | None
    value: float | None
    max: float | None
    share: float | None
    begun_at: float | None
    ended_at: float | None
    confidence: str | None
    error: str | None
    tag: str | None = None
    """What the application attached to it, as a text."""


class AlertRow(Struct, frozen=True):
    """Alert that holds; `server` is None where it is about none."""

    name: str
    severity: str
    server: str | None
    summary: str
    advice: str


class FindingRow(Struct, frozen=True):
    """Row of a finding; `number` counts them in the order in which they were found."""

    number: int
    code: Code
    severity: Severity
    at: float
    position: int
    count: int
    prompt_id: str | None
    window: str | None
    server: str | None
    text: str


class Snapshot(Struct, frozen=True):
    """Snapshot of everything that is shown at once. Times are in seconds since the epoch; `at` is that of the last
    entry."""

    position: int
    observations: int
    first_at: float | None
    at: float | None
    rates: tuple[int, ...]
    """Observations in each of the last seconds, the newest last."""
    states: dict[State, int]
    codes: dict[Code, int]
    unkept: int
    servers: tuple[ServerRow, ...]
    windows: tuple[WindowRow, ...]
    tasks: tuple[TaskRow, ...]
    """The newest failures, then the open ones, then those that settled last."""
    findings: tuple[FindingRow, ...]
    """The newest first."""
    all_servers: int
    all_windows: int
    all_open: int
    waiting: int = 0
    """Jobs in the log that no server was given yet."""
    waiting_since: float | None = None
    """When the oldest of them was enqueued."""
    alerts: tuple[AlertRow, ...] = ()

    def at_rest(self) -> Snapshot:
        """Return the same for a log that nobody writes any more: no server is polled, no socket is open, and a window
        without an open task is of no interest.
        """
        waiting = [window for window in self.windows if window.open] or self.windows[:1]
        return replace(
            self,
            rates=(0,) * len(self.rates),
            alerts=(),
            servers=tuple(
                replace(server, lamp="not asked", standing="", trouble=None, sockets=0) for server in self.servers
            ),
            windows=tuple(
                window if window.socket == "none" else replace(window, socket="closed") for window in waiting
            ),
        )

    @property
    def rate(self) -> float:
        """Observations a second, over the last ten complete seconds."""
        return sum(self.rates[-11:-1]) / 10

    @property
    def settled(self) -> int:
        return sum(count for state, count in self.states.items() if state in SETTLED)

    @property
    def severities(self) -> dict[Severity, int]:
        """Number of findings of each severity, the gravest first."""
        counts = dict.fromkeys(sorted(Severity, key=GRAVITY.__getitem__), 0)
        for code, count in self.codes.items():
            counts[CODES[code].severity] += count
        return {severity: count for severity, count in counts.items() if count}


class Scene(NamedTuple):
    """Snapshot, with what is true of the moment at which it is shown."""

    name: str
    view: Snapshot
    now: float | None = None
    """The time of whoever looks; None: the log speaks for itself, and its end is now."""
    trouble: str | None = None
    behind: bool = False
    written: bool | None = None
    """Whether a process writes the log; None where that cannot be told."""

    @property
    def end(self) -> float:
        return self.view.at or 0.0

    @property
    def at(self) -> float:
        """Time from which ages are counted."""
        told = self.now is not None and self.written is not False and 0.0 <= self.now - self.end <= QUIET
        return self.now if told and self.now is not None else self.end
