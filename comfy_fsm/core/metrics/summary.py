"""Summary of a report: counted from everything that was folded, never sampled."""

from __future__ import annotations

from statistics import fmean, median

from msgspec import Struct

from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.counters import HURTS, Histogram
from comfy_fsm.core.registry.registry import Server
from comfy_fsm.core.registry.task import Task

__all__ = ["Completions", "Gaps", "Looks", "Metrics", "Reconnects", "Requests", "measure"]


class Completions(Struct, frozen=True):
    """Number of settlements of this kind."""

    state: str
    source: str
    confidence: str
    count: int


class Looks(Struct, frozen=True):
    """Results of queries over HTTP about open tasks."""

    settled: int
    listed: int
    absent: int
    incomplete: int
    unreachable: int


class Gaps(Struct, frozen=True):
    """Sockets that closed and were opened again, and how long they were down."""

    count: int
    mean_seconds: float | None
    longest_seconds: float | None


class Reconnects(Struct, frozen=True):
    """Count of sockets of this server that were opened again for this reason."""

    server: str
    reason: str
    count: int


class Requests(Struct, frozen=True):
    """Counts of the requests to a server by how they ended, and how long the answers took."""

    server: str
    answered: int
    refused: int
    failed: int
    unanswered: int
    mean_seconds: float | None
    longest_seconds: float | None
    queue: int | None


class Metrics(Struct, frozen=True):
    """Metrics of a report. Rates are shares between 0 and 1; a metric without anything to count is null."""

    tasks: int
    settled: int
    completion_rate: float | None
    """Share of all tasks that are settled."""
    mean_seconds: float | None
    """Mean time from the POST to the end, over completed tasks."""
    median_seconds: float | None
    p95_seconds: float | None
    recoveries: int
    """Tasks whose socket was down, deaf or silent about the end, and that were settled all the same."""
    recovery_rate: float | None
    """Share of these among all tasks that needed it."""
    server_consistency: float | None
    """Share of tasks about which only their own server was asked, or answered."""
    attribution: float | None
    """Share of the frames naming a prompt whose prompt has an owner."""
    completions: list[Completions]
    looks: Looks
    gaps: Gaps
    reconnects: list[Reconnects]
    requests: list[Requests]
    missed_ends: int
    deaf_sockets: int
    repeated_signals: int
    foreign_messages: int
    callbacks_cut: int
    uncertain_submits: int
    history_retries: int


def measure(board: Board) -> Metrics:
    tasks = board.tasks
    by_code: dict[Code, set[str | None]] = {}
    for finding in board.findings:
        by_code.setdefault(finding.code, set()).add(finding.prompt_id)
    hurt = set().union(*(by_code.get(code, set()) for code in HURTS))
    needed = [task for task in tasks if task.prompt_id in hurt]
    recovered = sum(task.settled and task.state not in (State.LOST, State.EXPIRED) for task in needed)
    settled = sum(task.settled for task in tasks)
    strayed = by_code.get(Code.WRONG_SERVER, set())
    seconds = sorted(filter(None, map(_seconds, tasks)))
    frames, known = board.frames
    counters = board.registry.counters
    gaps = counters.gaps
    return Metrics(
        tasks=len(tasks),
        settled=settled,
        completion_rate=_share(settled, len(tasks)),
        mean_seconds=_round(fmean(seconds)) if seconds else None,
        median_seconds=_round(median(seconds)) if seconds else None,
        p95_seconds=_round(seconds[-(-len(seconds) * 95 // 100) - 1]) if seconds else None,
        recoveries=recovered,
        recovery_rate=_share(recovered, len(needed)),
        server_consistency=_share(sum(task.prompt_id not in strayed for task in tasks), len(tasks)),
        attribution=_share(known, frames),
        completions=[Completions(str(how[0]), *how[1:], count) for how, count in sorted(counters.completions.items())],
        looks=Looks(**counters.looks),
        gaps=Gaps(gaps.count, _mean(gaps), _round(gaps.longest) if gaps.count else None),
        reconnects=_reconnects(board),
        requests=[
            _requests(server) for server in board.registry.each_server() if any(server.counters.answers.values())
        ],
        missed_ends=counters.found[Code.MISSED_END],
        deaf_sockets=counters.found[Code.DEAF_SOCKET],
        repeated_signals=counters.found[Code.REPEATED_SIGNAL],
        foreign_messages=counters.found[Code.FOREIGN_MESSAGE],
        callbacks_cut=counters.found[Code.CALLBACK_RECURSION],
        uncertain_submits=counters.uncertain,
        history_retries=counters.retries,
    )


def _reconnects(board: Board) -> list[Reconnects]:
    return [
        Reconnects(server.url, reason, count)
        for server in board.registry.each_server()
        for reason, count in server.counters.reconnects.items()
        if count
    ]


def _requests(server: Server) -> Requests:
    waits = server.counters.waits
    longest = _round(waits.longest) if waits.count else None
    queue = len(server.queues[-1].ids) if server.queues else None
    return Requests(
        server.url, **server.counters.answers, mean_seconds=_mean(waits), longest_seconds=longest, queue=queue
    )


def _mean(histogram: Histogram) -> float | None:
    return _round(histogram.sum / histogram.count) if histogram.count else None


def _seconds(task: Task) -> float | None:
    if task.state is not State.COMPLETED or task.submitted_at is None or task.ended_at is None:
        return None
    return max(0.0, task.ended_at - task.submitted_at)


def _share(part: int, whole: int) -> float | None:
    return _round(part / whole) if whole else None


def _round(figure: float) -> float:
    return round(figure, 6)
