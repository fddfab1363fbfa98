"""Resume: a process takes over from one that is gone, asks for its open tasks and delivers what it left undelivered."""

from __future__ import annotations

from operator import attrgetter

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Deliver
from comfy_fsm.core.fold.settlement import request_queue_in_sweep
from comfy_fsm.core.fold.sockets import mark_down
from comfy_fsm.core.fold.submissions import abandon_questions
from comfy_fsm.core.registry.registry import Registry, Server

__all__ = ["fold_resume"]


def fold_resume(registry: Registry, o: seen.Command) -> None:
    """Let a process take over this window from the log of one that is gone: what that one still held is asked for anew.

    Where nothing changed since the last time, what was asked for then still stands.
    """
    registry.order += 1
    window = registry.windows.get(o.window)
    if window is None:
        return
    window.resumed_at = max(window.resumed_at, o.at)
    abandon_questions(registry, window)
    stirred, window.stirred = window.stirred, {}
    for server in stirred.values():
        socket = server.sockets.get(o.window)
        if socket is not None:
            if socket.open:
                socket.leave(socket.read_to, "resumed")  # nobody was there to see when it really ended
            mark_down(registry, socket)
        _resume_at(registry, server, o)
    undelivered, window.undelivered = window.undelivered, {}
    for task in sorted(undelivered.values(), key=attrgetter("number")):
        registry.emit(Deliver(due=o.at, server=task.server, result=task.result()), str(task.number))


def _resume_at(registry: Registry, server: Server, o: seen.Command) -> None:
    """Ask about the open tasks of this window at one server. Nobody watched it: it may have gone down, and a pending
    task may have run and been forgotten (P27)."""
    own = server.own.get(o.window)
    if own is None:
        return
    unresumed = own.take_unresumed().values()
    tasks = sorted((task for task in unresumed if task.window == o.window), key=attrgetter("number"))
    if tasks:
        server.note_outage(registry.order, registry.cause("unwatched"))
    for task in tasks:
        task.inquiry.start_over()
        request_queue_in_sweep(registry, task)
