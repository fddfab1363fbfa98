"""Rows of a view, made of what the board knows: windows, findings, alerts. Names are cut: anybody may give them."""

from __future__ import annotations

import heapq
from typing import overload

from comfy_fsm.core.findings import Finding
from comfy_fsm.core.metrics.alerts import ALERTS
from comfy_fsm.core.registry.registry import Server, Socket
from comfy_fsm.watch.snapshot import AlertRow, FindingRow, WindowRow

__all__ = [
    "GONE",
    "LONGEST",
    "WINDOWS",
    "alert_row",
    "cut",
    "finding_row",
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
