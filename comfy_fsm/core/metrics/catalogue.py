"""Catalogue of metrics: the name of each, what it counts, and how it is read at any moment.

It is given each entry after the fold, and counts what the fold does not: for most entries, which are frames, that is
one look-up. Everything else is read from the board on demand. The values of a label come from our own closed sets,
never from a trace; a server is named if it is configured, and otherwise counted as `other`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import OPEN
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.counters import WAITS, Histogram
from comfy_fsm.core.registry.registry import Registry, Server

__all__ = ["FRAMES", "KINDS", "METRICS", "OTHER", "TIERS", "Disk", "Figures", "Metric", "Reading", "Rows", "Value"]

OTHER = "other"
TIERS = ("check", "warn")
_PLAIN = {"\N{REPLACEMENT CHARACTER}unrecognized": "unrecognized", "\N{REPLACEMENT CHARACTER}damaged": "damaged"}
_SIGNS = frozenset(
    {
        seen.ExecutionStart, seen.ExecutionCached, seen.Executing, seen.Executed, seen.Progress, seen.ProgressState,
        seen.ExecutionSuccess, seen.ExecutionError, seen.ExecutionInterrupted,
    }
)  # fmt: skip
"""Frames that show that something runs."""

Value = float | Histogram
Rows = Iterable[tuple[tuple[str, ...], Value]]


def _name_of(kind: type[Struct]) -> str:
    name = str(kind.__struct_config__.tag)
    return _PLAIN.get(name, name)


KINDS = {_name_of(kind): kind for kind in get_args(AnyObservation)}
FRAMES = {_name_of(kind): kind for kind in (*get_args(seen.KnownFrame), seen.UnrecognizedFrame)}


@dataclass(slots=True, eq=False)
class Disk:
    """State of the log file, as its recorder measured it."""

    commits: Histogram
    lines: int = 0
    size: int = 0
    failed: bool = False


class Figures:
    """Counts for the metrics of one board; `servers` are the configured ones, which may be named."""

    def __init__(self, board: Board, servers: Iterable[str] = ()) -> None:
        self.board = board
        self.servers = tuple(dict.fromkeys(servers))
        self.disk = Disk(Histogram(WAITS))
        self._position = 0
        self.kinds: dict[type[AnyObservation], int] = dict.fromkeys(KINDS.values(), 0)
        self.frames: dict[type[seen.Frame], int] = dict.fromkeys(FRAMES.values(), 0)
        self.named = 0
        """Number of frames that named a prompt."""
        self._signs: dict[str | None, float] = dict.fromkeys(self.servers, 0.0)

    def count(self, position: int, o: AnyObservation) -> None:
        """Count an entry that was folded; one at or before the last position was counted already."""
        if position <= self._position:
            return
        self._position = position
        kind = type(o)
        self.kinds[kind] += 1
        if kind is seen.Message:  # which tells a type checker nothing, and costs a fifth of what isinstance does
            frame = o.data  # type: ignore[union-attr]
            of = type(frame)
            self.frames[of] += 1  # type: ignore[index]
            if of in _SIGNS:
                if o.server in self._signs:
                    self._signs[o.server] = o.at
                if frame.data.prompt_id is not None:  # type: ignore[union-attr]
                    self.named += 1
        elif kind is seen.Binary:
            metadata = o.data.metadata  # type: ignore[union-attr]
            self.named += metadata is not None and metadata.prompt_id is not None

    def read(self, now: float) -> list[Reading]:
        """Return every metric at this time, in the order of the table."""
        view = _View(self, now)
        return [
            Reading(metric, tuple((labels, _as_it_is(value)) for labels, value in metric.read(view)))
            for metric in METRICS.values()
        ]

    def stalled_since(self, server: Server) -> float | None:
        """Return the time of the last sign that this server runs anything, while it has tasks of ours; None if it has
        none."""
        if not server.open_tasks:
            return None
        oldest = min(task.submitted_at or task.last_sign for task in server.open_tasks.values())
        return max(oldest, server.counters.settled_at, self._signs.get(server.url, 0.0))


class _View:
    """View that the readers of the table get: the counts at one time, with the servers under the names they may
    have."""

    def __init__(self, figures: Figures, now: float) -> None:
        self.figures = figures
        self.now = now
        self.registry: Registry = figures.board.registry
        self.counters = self.registry.counters
        self.disk = figures.disk
        # One blank server each: a counter that first appears when it grows hides that increase.
        self.servers: dict[str, list[Server]] = {name: [Server(name)] for name in figures.servers}
        for server in self.registry.each_server():
            name = server.url if server.url in figures.servers else OTHER
            self.servers.setdefault(name, []).append(server)
        self.open = sum(len(server.open_tasks) for server in self.registry.each_server())

    def sum_up(self, number: Callable[[Server], float]) -> Iterator[tuple[tuple[str], float]]:
        """Return one number for each server."""
        return (((name,), float(sum(map(number, servers)))) for name, servers in self.servers.items())

    def by_label(self, numbers: Callable[[Server], dict[str, int]]) -> Iterator[tuple[tuple[str, str], float]]:
        """Return several numbers for each server, by a second label."""
        for name, servers in self.servers.items():
            total: Counter[str] = Counter()
            for server in servers:
                total.update(numbers(server))
            yield from (((name, label), count) for label, count in total.items())

    def waits(self) -> Rows:
        for name, servers in self.servers.items():
            merged = Histogram(WAITS)
            for server in servers:
                merged.add(server.counters.waits)
            yield (name,), merged

    def stalled(self) -> Rows:
        for name, servers in self.servers.items():
            since = [at for server in servers if (at := self.figures.stalled_since(server)) is not None]
            yield (name,), max(0.0, self.now - min(since, default=self.now))

    def silent(self) -> Rows:
        policy = self.registry.policy
        since = [task.last_sign for server in self.registry.each_server() for task in server.open_tasks.values()]
        for tier, seconds in zip(TIERS, (policy.check_seconds, policy.warn_seconds), strict=True):
            yield (tier,), float(sum(self.now - at >= seconds for at in since))

    def oldest_job(self) -> float:
        return max(0.0, self.now - min((job.at for job in self.registry.backlog.waiting.values()), default=self.now))

    def share(self, part: float, whole: float) -> Rows:
        """Return a share as a row; none if the whole is zero."""
        return [((), part / whole)] if whole else []

    def consistency(self) -> Rows:
        known = len(self.registry.tasks)
        return self.share(max(0, known - len(self.counters.strayed)), known)


def _as_it_is(value: Value) -> Value:
    """Copy a histogram, since it keeps growing while it is written out, perhaps in another thread."""
    return value.copy() if isinstance(value, Histogram) else float(value)


def _open_by_state(server: Server) -> dict[str, int]:
    return {str(state): 0 for state in OPEN} | Counter(str(task.state) for task in server.open_tasks.values())


def _sockets(server: Server) -> int:
    return sum(socket.open for socket in server.sockets.values())


def _queue(server: Server) -> int:
    return len(server.queues[-1].ids) if server.queues else 0


def _labelled(counts: dict[str, int]) -> Rows:
    return (((name,), float(count)) for name, count in counts.items())


class Metric(Struct, frozen=True):
    """Row of the table of metrics."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str
    read: Callable[[_View], Rows]


class Reading(Struct, frozen=True):
    """Metric with its values, each under its labels."""

    metric: Metric
    rows: tuple[tuple[tuple[str, ...], Value], ...]


_C: Literal["counter"] = "counter"
_G: Literal["gauge"] = "gauge"
_H: Literal["histogram"] = "histogram"

METRICS: dict[str, Metric] = {
    row[0]: Metric(*row)
    for row in (
        # tasks
        ("comfy_fsm_submissions_total", _C, (), "Prompts posted.",
         lambda v: [((), v.counters.submissions)]),
        ("comfy_fsm_jobs_waiting", _G, (), "Jobs enqueued and not posted yet.",
         lambda v: [((), len(v.registry.backlog.waiting))]),
        ("comfy_fsm_jobs_oldest_seconds", _G, (), "How long the oldest of them waits.",
         lambda v: [((), v.oldest_job())]),
        ("comfy_fsm_tasks", _G, (), "Tasks known, open and settled.",
         lambda v: [((), len(v.registry.tasks))]),
        ("comfy_fsm_tasks_open", _G, ("server", "state"), "Tasks that are not settled.",
         lambda v: v.by_label(_open_by_state)),
        ("comfy_fsm_tasks_silent", _G, ("tier",), "Open tasks without a sign of life for as long as this tier waits.",
         lambda v: v.silent()),
        ("comfy_fsm_tasks_settled_total", _C, ("state",), "Decisions; a task that is reopened is decided again.",
         lambda v: (((str(state),), count) for state, count in v.counters.settled.items())),
        ("comfy_fsm_tasks_reopened_total", _C, (), "Settled tasks that a recovery reopened.",
         lambda v: [((), v.counters.reopened)]),
        ("comfy_fsm_completions_total", _C, ("state", "source", "confidence"),
         "Decisions, by the signal that first told of the end and by how sure it is.",
         lambda v: (((str(state), *known), count) for (state, *known), count in v.counters.completions.items())),
        ("comfy_fsm_task_seconds", _H, (), "From the POST to the end, of the completed tasks.",
         lambda v: [((), v.counters.seconds)]),
        ("comfy_fsm_completion_rate", _G, (), "Settled tasks, of all that are known.",
         lambda v: v.share(len(v.registry.tasks) - v.open, len(v.registry.tasks))),
        ("comfy_fsm_recoveries_needed_total", _C, (),
         "Tasks whose socket was down, deaf, or silent about the end.",
         lambda v: [((), v.counters.impaired)]),
        ("comfy_fsm_recoveries_total", _C, (), "Those of them settled all the same, neither as lost nor as expired.",
         lambda v: [((), v.counters.recovered)]),
        ("comfy_fsm_recovery_rate", _G, (), "Recoveries, of all that were needed.",
         lambda v: v.share(v.counters.recovered, v.counters.impaired)),
        ("comfy_fsm_uncertain_submits_total", _C, (), "POSTs without a clear answer.",
         lambda v: [((), v.counters.uncertain)]),
        # truth
        ("comfy_fsm_findings_total", _C, ("code",), "Findings, each time that they were found.",
         lambda v: _labelled(v.counters.found)),
        ("comfy_fsm_looks_total", _C, ("result",), "What answers over HTTP said about open tasks.",
         lambda v: _labelled(v.counters.looks)),
        ("comfy_fsm_history_retries_total", _C, (), "Records asked for again, since an earlier answer brought none.",
         lambda v: [((), v.counters.retries)]),
        ("comfy_fsm_server_consistency", _G, (),
         "Tasks that were asked of, and answered about by, their own server alone, of all.",
         lambda v: v.consistency()),
        ("comfy_fsm_attribution", _G, (), "Frames whose prompt has a known task, of those that name a prompt.",
         lambda v: v.share(v.figures.named - v.registry.strangers, v.figures.named)),
        ("comfy_fsm_strange_frames_total", _C, (), "Frames whose prompt nobody was known to have posted as they came.",
         lambda v: [((), v.counters.strange)]),
        ("comfy_fsm_claimed_frames_total", _C, (), "Those of them whose prompt was posted after all.",
         lambda v: [((), v.counters.strange - v.registry.strangers)]),
        ("comfy_fsm_frames_total", _C, ("type",), "Frames of text, by ComfyUI's word for them.",
         lambda v: _labelled({name: v.figures.frames[kind] for name, kind in FRAMES.items()})),
        ("comfy_fsm_observations_total", _C, ("kind",), "Entries of the log.",
         lambda v: _labelled({name: v.figures.kinds[kind] for name, kind in KINDS.items()})),
        # servers
        ("comfy_fsm_requests_total", _C, ("server", "result"), "Requests, by how they ended.",
         lambda v: v.by_label(lambda server: server.counters.answers)),
        ("comfy_fsm_request_seconds", _H, ("server",), "From a request to its answer.",
         lambda v: v.waits()),
        ("comfy_fsm_server_queue", _G, ("server",), "Prompts that run or wait, by the last answer about the queue.",
         lambda v: v.sum_up(_queue)),
        ("comfy_fsm_server_stalled_seconds", _G, ("server",),
         "Since the last sign that a server runs anything, while it holds tasks of ours.",
         lambda v: v.stalled()),
        ("comfy_fsm_server_drained", _G, ("server",), "1 while it is drained: it is given no jobs.",
         lambda v: v.sum_up(lambda server: server.url in v.registry.backlog.drained)),
        ("comfy_fsm_sockets_open", _G, ("server",), "Open sockets.",
         lambda v: v.sum_up(_sockets)),
        ("comfy_fsm_reconnects_total", _C, ("server", "reason"), "Sockets opened again, by what had ended them.",
         lambda v: v.by_label(lambda server: server.counters.reconnects)),
        ("comfy_fsm_socket_gap_seconds", _H, (), "From the end of a socket to its next opening.",
         lambda v: [((), v.counters.gaps)]),
        # log
        ("comfy_fsm_log_commit_seconds", _H, (), "How long a commit took; counted since the process began.",
         lambda v: [((), v.disk.commits)]),
        ("comfy_fsm_log_waiting_lines", _G, (), "Lines that wait for the next commit.",
         lambda v: [((), v.disk.lines)]),
        ("comfy_fsm_log_waiting_bytes", _G, (), "Their bytes.",
         lambda v: [((), v.disk.size)]),
        ("comfy_fsm_log_failed", _G, (), "1 from when the log refused a commit: nothing more is written down.",
         lambda v: [((), float(v.disk.failed))]),
    )
}  # fmt: skip
