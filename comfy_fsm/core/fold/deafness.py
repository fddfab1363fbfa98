"""Deaf sockets: open, but without the end of a task, or any frame about one that makes progress (P3).

A socket is judged once it was read as far as it goes, or once its time is over.
"""

from __future__ import annotations

import heapq

from comfy_fsm.core.effects import OpenSocket
from comfy_fsm.core.findings import Code
from comfy_fsm.core.registry.ending import RECORDS
from comfy_fsm.core.registry.registry import Registry, Socket
from comfy_fsm.core.registry.task import Task

__all__ = ["check_missed_frames", "expect_end", "note_progress"]


def expect_end(registry: Registry, task: Task) -> None:
    """Check later whether the socket delivers the end of a task that was settled over HTTP."""
    socket = registry.socket_of(task)
    if (
        socket is not None
        and socket.seen
        and not task.run.end_received
        and task.confirmed_by in RECORDS
        and task.number not in socket.loose
    ):
        _loosen(registry, socket, task, task.settled_at or 0.0)
        if socket.open:
            _suspect(registry, socket, task, task.settled_at or 0.0)


def _loosen(registry: Registry, socket: Socket, task: Task, at: float) -> None:
    socket.loosen(task, at + registry.policy.settle_seconds)
    registry.loose[socket.server.url, socket.window] = socket
    socket.server.stir(socket.window)


def _suspect(registry: Registry, socket: Socket, task: Task, at: float) -> None:
    """Ask for a fresh socket, unless this one delivers in time what it should have delivered by now."""
    due = at + registry.policy.settle_seconds
    registry.emit(OpenSocket(due=due, server=task.server, window=socket.window or ""), socket.window)


def note_progress(registry: Registry, task: Task) -> None:
    """Note progress seen over HTTP: an open socket that receives nothing about it is deaf (P3)."""
    socket = registry.socket_of(task)
    if socket is None or task.frames or task.run.moved_at is not None:
        return
    if socket.open and task.submitted_at is not None and socket.opened_order < task.submission.order:
        task.run.move(registry.position, registry.now)
        _loosen(registry, socket, task, registry.now)
        _suspect(registry, socket, task, registry.now)


def check_missed_frames(registry: Registry, socket: Socket, *, closing: bool) -> None:
    """Report what a socket did not deliver, now that it was read as far as it goes."""
    for task in _take_due(socket, registry.now, None if closing else registry.policy.settle_seconds):
        if task.run.moved_at is not None and not task.frames:
            text = "the task progressed, but its window's open socket received nothing"
            with registry.as_of(task.run.moved_position, task.run.moved_at):
                registry.report(Code.DEAF_SOCKET, text, task)
            task.run.forget_move()
        if not task.settled:
            continue
        if not task.run.end_received:
            with registry.as_of(task.end.settled_position, task.settled_at or registry.now):
                registry.report(Code.MISSED_END, f"settled by {task.confirmed_by} alone", task)
    if not socket.loose:
        registry.loose.pop((socket.server.url, socket.window), None)


def _take_due(socket: Socket, at: float, patience: float | None) -> list[Task]:
    """Take the tasks whose time is over; all of them if `patience` is None."""
    over: list[Task] = []
    while socket.loose_due and (patience is None or socket.loose_due[0][0] <= at):
        _, number = heapq.heappop(socket.loose_due)
        task = socket.loose.get(number)
        if task is None:
            continue
        due = max(task.settled_at or 0.0, task.run.moved_at or 0.0) + (patience or 0.0)
        if patience is not None and due > at:
            heapq.heappush(socket.loose_due, (due, number))
            continue
        over.append(socket.loose.pop(number))
    return over
