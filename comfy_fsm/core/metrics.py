"""The figures of R8.1, from a board: counted from what was folded, never sampled."""

from __future__ import annotations

from statistics import fmean, median

from msgspec import Struct

from comfy_fsm.core.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.task import Task

_RAN = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Metrics(Struct, frozen=True):
    """Rates are shares between 0 and 1; a figure without anything to count is null."""

    tasks: int
    settled: int
    completion_rate: float | None
    """Settled tasks, of all."""
    mean_seconds: float | None
    """From the POST to the end, over the completed tasks."""
    median_seconds: float | None
    p95_seconds: float | None
    recoveries: int
    """Tasks whose socket was down, deaf or silent about the end, and that were settled all the same."""
    recovery_rate: float | None
    """Those, of all that needed it."""
    server_consistency: float | None
    """Tasks that were asked of, and answered about by, their own server alone."""
    attribution: float | None
    """Frames that name a prompt, and whose prompt has an owner."""


def measure(board: Board) -> Metrics:
    tasks = board.tasks
    by_code: dict[str, set[str | None]] = {}
    for finding in board.findings:
        by_code.setdefault(finding.code, set()).add(finding.prompt_id)
    hurt = set().union(*(by_code.get(code, set()) for code in ("socket-gap", "missed-end", "deaf-socket")))
    needed = [task for task in tasks if task.prompt_id in hurt]
    recovered = sum(task.settled and task.state not in (State.LOST, State.EXPIRED) for task in needed)
    settled = sum(task.settled for task in tasks)
    strayed = by_code.get("wrong-server", set())
    seconds = sorted(filter(None, map(_seconds, tasks)))
    frames, known = board.frames
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
    )


def _seconds(task: Task) -> float | None:
    if task.state is not State.COMPLETED or task.submitted_at is None or task.ended_at is None:
        return None
    return max(0.0, task.ended_at - task.submitted_at)


def _share(part: int, whole: int) -> float | None:
    return _round(part / whole) if whole else None


def _round(figure: float) -> float:
    return round(figure, 6)
