"""Resubmission: a job goes to another server once it is proved that it never ran at the first.

A job is posted under one id at one server. To post it again is to run it twice, unless the first POST came to nothing;
so each proof names the fact that makes it one, and what is not proved is not moved (P11, F14). Absence is only
concluded; before anything is done about it, the server is asked again, several times, and over a socket that was just
opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.registry import QueueSnapshot, Registry, Server
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire.refusals import ELSEWHERE

__all__ = ["LOOKS", "is_still_absent", "never_ran", "witness_for"]

_WITNESSES = 256
"""Number of a server's last tasks among which a witness is sought: one that it still knows."""


def never_ran(registry: Registry, task: Task) -> str | None:
    """Return why it is certain that this task did not run and will not; None if it may have, or may still."""
    if task.posts != 1 or task.job is None or not task.wanted or task.delivered:
        return None  # whoever received its result may have acted on it
    if task.unsent and (task.unanswered or task.state is State.LOST):
        return "the connection for its POST was refused: nothing was sent"  # P8
    if task.state is State.REJECTED and task.answer.refused in ELSEWHERE:
        return "its POST was refused: nothing was queued"  # P9
    if not _is_remembered(registry, task) or registry.server(task.server).is_mixed:
        return None
    if task.state is State.LOST and not task.accepted and (task.answer.over_at is None or registry.policy.resubmits):
        return "it was never accepted, and its absence is proved"  # P29, where that is allowed
    vanished = task.state is State.CANCELLED and task.confirmed_by == "queue" and task.started_at is None
    if vanished and task.recalled:
        return "it was taken back while it was pending, and its absence is proved"  # P29, P30
    return None


LOOKS = 6
"""Number of queries before it is posted again: if several servers answer in turn, each gets its turn."""


def is_still_absent(registry: Registry, task: Task, since: float) -> bool:
    """Return whether all that was reported since then denies it; a socket, or an earlier task, must show that its
    server was asked.

    A server that counts more prompts than its queue lists may have it; so may the server of a socket whose number
    differs.
    """
    server = registry.server(task.server)
    names = server.names()
    looks = [look for name in names for look in name.queues if look.asked_at >= since]
    if server.is_mixed or len(looks) < LOOKS or any(task.prompt_id in look.ids for look in looks):
        return False
    answered = [(at, count) for name in names for begun, at, count in name.counts if begun >= since]
    if any(count > max(_rows_at(looks, at)) for at, count in answered):
        return False
    sockets = [socket for name in names for socket in name.sockets.values()]
    heard = [(at, n) for socket in sockets for at, n in socket.counts if at >= since and n is not None]
    if any(count not in _rows_at(looks, at) for at, count in heard):
        return False
    greeted = any(socket.greeted_at >= since for socket in sockets)
    return greeted or any(other.shown_order > other.known_order for other in _accepted(server))


def _rows_at(looks: list[QueueSnapshot], at: float) -> list[int]:
    """Return the length of the queue just before that moment, and just after."""
    before = max((look for look in looks if look.at <= at), key=lambda look: look.at, default=looks[0])
    after = min((look for look in looks if look.asked_at >= at), key=lambda look: look.at, default=looks[-1])
    return [before.rows, after.rows]


def _accepted(server: Server) -> Iterator[Task]:
    """Return tasks that the server accepted, the last ones first."""
    lately = islice(reversed(server.tasks.values()), _WITNESSES)
    return (task for task in lately if task.posts and task.accepted and task.known_order)


def _is_remembered(registry: Registry, task: Task) -> bool:
    """Return whether its server forgot nothing since the POST, without which absence proves nothing (P27): it must not
    have been down since, or show that it still knows a task that it had accepted before."""
    server = registry.server(task.server)
    if any(act.kind == "clear-history" and act.order > task.submission.order for act in server.acts):
        return False
    down = server.outage_order
    return down <= task.submission.order or any(witness.shown_order > down for witness in _witnesses(registry, task))


def _witnesses(registry: Registry, task: Task) -> Iterator[Task]:
    """Return tasks that the same server had accepted before this one was posted; the last ones first."""
    accepted = _accepted(registry.server(task.server))
    return (other for other in accepted if other.known_order < task.submission.order)


def witness_for(registry: Registry, task: Task) -> Task | None:
    """Return a task whose record should still be there, if its server forgot nothing."""
    recorded = (State.COMPLETED, State.FAILED)
    return next((other for other in _witnesses(registry, task) if other.state in recorded), None)
