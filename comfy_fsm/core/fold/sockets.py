"""Sockets: how they open and close, and what their window missed meanwhile."""

from __future__ import annotations

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import OpenSocket
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.absence import judge_all
from comfy_fsm.core.fold.deafness import check_missed_frames
from comfy_fsm.core.fold.settlement import request_queue_at_once
from comfy_fsm.core.registry.counters import REASONS
from comfy_fsm.core.registry.registry import Registry, Socket, Subject
from comfy_fsm.core.registry.servers import WindowTasks

__all__ = ["fold_closed", "fold_opened", "mark_down", "note_gap"]

_ABNORMAL = frozenset({1001, 1006, 1012})
"""Close codes of a server that is killed or restarts (P8)."""


def fold_opened(registry: Registry, o: seen.Opened) -> None:
    registry.order += 1
    socket = registry.socket(o.server, o.window)
    socket.read_to, socket.conn, socket.seen = max(socket.read_to, o.at), o.conn, True
    if socket.open:
        text = "a second socket was opened under the same client id"
        registry.report(Code.SHARED_CLIENT_ID, text, Subject(o.window, socket.server.url))
    else:
        socket.opened_order = registry.order
        _come_back(registry, socket)
        note_gap(registry, socket)
    socket.open += 1
    socket.server.stir(o.window)
    socket.down_position = None
    registry.retract(OpenSocket, socket.server.url, o.window)


def _come_back(registry: Registry, socket: Socket) -> None:
    """Count how long the socket was closed, and why, if it was open before."""
    if socket.gone_at is not None:
        registry.counters.gaps.observe(registry.now - socket.gone_at)
        socket.server.counters.reconnects[socket.close_reason] += 1
        socket.gone_at = None


def note_gap(registry: Registry, socket: Socket) -> None:
    """Report the gap of a socket whose window went on: what it missed is not repeated (P4), so ask over HTTP."""
    down = socket.down_position
    if down is None or registry.now < socket.down_at:  # what was seen before the close may be reported after it
        return
    socket.down_position = None
    for own in _owned(socket):
        for task in own.take_gapped().values():  # for the others, nothing came that a second gap could hide
            if not task.unanswered:
                task.run.miss()
                with registry.as_of(down, socket.down_at):
                    registry.report(Code.SOCKET_GAP, "the socket of its window was down", task)
        for task in own.take_unlooked().values():
            if not task.unanswered:  # at once: it answers again
                request_queue_at_once(registry, task)


def _owned(socket: Socket) -> list[WindowTasks]:
    """Return the open tasks of its window."""
    found = (server.own.get(socket.window) for server in socket.server.names())
    return [own for own in found if own is not None]


def fold_closed(registry: Registry, o: seen.Closed) -> None:
    registry.order += 1
    socket = registry.socket(o.server, o.window)
    if not socket.open:
        return
    socket.read_to = max(socket.read_to, o.at)
    socket.open -= 1
    if o.data.code in _ABNORMAL:
        socket.server.note_outage(registry.order, registry.cause("hang-up", f"code {o.data.code}"))
    if not socket.open:
        socket.leave(o.at, REASONS.get(o.data.code or 0, "other"))
        mark_down(registry, socket)


def mark_down(registry: Registry, socket: Socket) -> None:
    """Note that the last socket of this window at this server closed, or that the process which held it is gone."""
    socket.open, socket.running = 0, None
    if socket.counts:
        socket.counts.append((registry.now, None))
    judge_all(registry, socket.server)
    check_missed_frames(registry, socket, closing=True)
    window = socket.window
    if _owned(socket):
        if socket.down_position is None:
            socket.down_position, socket.down_at = registry.position, registry.now
        due = registry.now + registry.policy.reopen_seconds
        registry.emit(OpenSocket(due=due, server=socket.server.url, window=window or ""), window)
