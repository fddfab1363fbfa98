"""Rows of a view, made of what the board knows: servers, windows, tasks, findings, alerts. Names are cut: anybody may
give them.
"""

from __future__ import annotations

import heapq
import math
from typing import overload

from comfy_fsm.core.findings import Finding
from comfy_fsm.core.metrics.alerts import ALERTS
from comfy_fsm.core.registry.registry import Server, Socket
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.updates import Update
from comfy_fsm.core.wire import codec
from comfy_fsm.watch.snapshot import AlertRow, FindingRow, ServerRow, TaskRow, WindowRow

__all__ = [
    "GONE",
    "LONGEST",
    "WINDOWS",
    "alert_row",
    "cut",
    "finding_row",
    "server_row",
    "task_row",
    "windows",
]

WINDOWS, GONE = 60, 1
"""Rows of windows; GONE is for those that neither listen nor wait for anything: of earlier processes, mostly."""
LONGEST = 200
"""Characters of a name; real ids have 36."""


def alert_row(name: str, server: str) -> AlertRow:
    alert = ALERTS[name]
    return AlertRow(name, alert.severity, cut(server) or None, alert.summary, alert.advice)


def windows(places: list[Server]) -> list[WindowRow]:
    """Return who waits for something first, then who listens, each in order of first sight; then who was heard last."""
    ranked: list[tuple[float, float, int, str, int, Socket]] = []
    for place in places:
        owned: dict[str | None, int] = {}
        for task in place.open_tasks.values():
            owned[task.window] = owned.get(task.window, 0) + 1
        for window, socket in place.sockets.items():
            state, tasks = _socket(socket), owned.get(window, 0)
            rank = 0 if state == "down" else 1 if tasks else 2 if socket.open else 3
            ranked.append((rank, -socket.read_to if rank == 3 else 0.0, len(ranked), state, tasks, socket))
    shown = heapq.nsmallest(WINDOWS, ranked, key=lambda row: row[:3])
    alive = sum(rank < 3 for rank, *_ in shown)
    return [
        WindowRow(cut(socket.window or ""), cut(socket.server.url), state, tasks, socket.read_to or None)
        for _, _, _, state, tasks, socket in shown[: alive + GONE]
    ]


def _socket(socket: Socket) -> str:
    if socket.open:
        return "open" if socket.open == 1 else "shared"
    if socket.down_position is not None:
        return "down"
    return "closed" if socket.seen else "none"


def server_row(
    place: Server, queue: int | None, heard_at: float | None, trouble: str | None, standing: str
) -> ServerRow:
    return ServerRow(
        url=cut(place.url),
        queue=queue,
        open=len(place.open_tasks),
        sockets=sum(bool(socket.open) for socket in place.sockets.values()),
        seen_at=heard_at,
        trouble=cut(trouble) if trouble is not None else None,
        lamp="answering" if trouble is None else "not answering",
        standing=standing,
    )


def task_row(task: Task, update: Update) -> TaskRow:
    begun = task.submitted_at if task.submitted_at is not None else task.started_at
    error = task.error
    return TaskRow(
        number=task.number,
        prompt_id=cut(task.prompt_id),
        window=cut(task.window),
        server=cut(task.server),
        state=task.state,
        node=cut(update.node),
        value=update.value,
        max=update.max,
        share=_share(update),
        begun_at=begun,
        ended_at=task.ended_at if task.ended_at is not None else task.settled_at,
        confidence=task.confidence,
        tag=_tag(task),
        error=None if error is None else cut(": ".join(filter(None, (error.type, (error.message or "").strip())))),
    )


def _tag(task: Task) -> str | None:
    try:
        value = codec.loads(task.tag) if task.tag else None
    except ValueError:
        return None
    return None if value is None else cut(value if isinstance(value, str) else task.tag.decode("utf-8", "replace"))


def _share(update: Update) -> float | None:
    """Return how much of the node is done; None for odd numbers (P18)."""
    if update.value is None or not update.max or update.max <= 0:
        return None
    share = update.value / update.max
    return max(0.0, min(share, 1.0)) if math.isfinite(share) else None


def finding_row(number: int, finding: Finding) -> FindingRow:
    return FindingRow(
        number=number,
        code=finding.code,
        severity=finding.severity,
        at=finding.at,
        position=finding.positions[0],
        count=finding.count,
        prompt_id=cut(finding.prompt_id),
        window=cut(finding.window),
        server=cut(finding.server),
        text=cut(finding.text),
    )


@overload
def cut(name: str) -> str: ...


@overload
def cut(name: str | None) -> str | None: ...


def cut(name: str | None) -> str | None:
    return name if name is None or len(name) <= LONGEST else name[: LONGEST - 1] + "…"
