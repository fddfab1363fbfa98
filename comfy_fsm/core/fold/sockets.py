"""A socket opens, closes, and what its window could not hear meanwhile."""

from __future__ import annotations

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import OpenSocket
from comfy_fsm.core.fold.absence import judge_all
from comfy_fsm.core.fold.deafness import judge_ear
from comfy_fsm.core.fold.settlement import want_look
from comfy_fsm.core.registry.counters import REASONS
from comfy_fsm.core.registry.registry import Ledger, Socket
from comfy_fsm.core.registry.servers import Own
from comfy_fsm.core.registry.task import Cause

_ABNORMAL = frozenset({1001, 1006, 1012})
"""Close codes that a killed or restarting server shows (P8)."""


def fold_opened(ledger: Ledger, position: int, o: seen.Opened) -> None:
    ledger.order += 1
    socket = ledger.socket(o.server, o.window)
    socket.read_to, socket.conn, socket.seen = max(socket.read_to, o.at), o.conn, True
    if socket.open:
        text = "a second socket was opened under the same client id"
        ledger.find("shared-client-id", position, o.at, text, window=o.window, server=socket.server.url)
    else:
        socket.opened_order = ledger.order
        _come_back(ledger, socket, o.at)
        note_gap(ledger, socket, o.at)
    socket.open += 1
    socket.server.stir(o.window)
    socket.down_position = None
    ledger.unwant(OpenSocket, socket.server.url, o.window)


def _come_back(ledger: Ledger, socket: Socket, at: float) -> None:
    """It was open before: count how long it was not, and why."""
    if socket.gone_at is not None:
        ledger.tally.gaps.observe(at - socket.gone_at)
        socket.server.tally.reconnects[socket.gone_by] += 1
        socket.gone_at = None


def note_gap(ledger: Ledger, socket: Socket, at: float) -> None:
    """The socket was down and its window went on: nothing missed is repeated (P4), so look."""
    down = socket.down_position
    if down is None or at < socket.down_at:  # what was seen before the close may be told after it
        return
    socket.down_position = None
    for own in _owned(socket):
        ungapped, own.ungapped = own.ungapped, {}  # of the others, nothing was heard that a second gap could hide
        for task in ungapped.values():
            if not task.unanswered:
                task.whole = task.whole and task.heard_null  # after its end there was nothing left to miss
                ledger.find("socket-gap", down, socket.down_at, "the socket of its window was down", task=task)
        unlooked, own.unlooked = own.unlooked, {}
        for task in unlooked.values():
            if not task.unanswered:
                want_look(ledger, task, at)


def _owned(socket: Socket) -> list[Own]:
    """The open tasks of its window."""
    found = (server.own.get(socket.window) for server in socket.server.names())
    return [own for own in found if own is not None]


def fold_closed(ledger: Ledger, position: int, o: seen.Closed) -> None:
    ledger.order += 1
    socket = ledger.socket(o.server, o.window)
    if not socket.open:
        return
    socket.read_to = max(socket.read_to, o.at)
    socket.open -= 1
    if o.data.code in _ABNORMAL:
        socket.server.go_out(ledger.order, Cause("hang-up", position, o.at, what=f"code {o.data.code}"))
    if not socket.open:
        socket.leave(o.at, REASONS.get(o.data.code or 0, "other"))
        go_down(ledger, socket, position, o.at)


def go_down(ledger: Ledger, socket: Socket, position: int, at: float) -> None:
    """The last socket of this window at this server is closed, or was closed by a process that is gone."""
    socket.open, socket.running = 0, None
    if socket.counts:
        socket.counts.append((at, None))
    judge_all(ledger, socket.server, at)
    judge_ear(ledger, socket, at, closing=True)
    window = socket.window
    if _owned(socket):
        if socket.down_position is None:
            socket.down_position, socket.down_at = position, at
        due = at + ledger.policy.reopen_seconds
        ledger.want(OpenSocket(due=due, server=socket.server.url, window=window or ""), window)
