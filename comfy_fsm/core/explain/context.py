"""Context of one task on a board: its server, its socket, the queries and acts since it was posted.

Looked up once for each task that is explained; `facts` reads it. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from comfy_fsm.core.findings import Code, Finding
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.registry.ending import Cause, CauseKind
from comfy_fsm.core.registry.registry import Act, QueueSnapshot, Registry, Server
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.registry.task_parts import Transition

__all__ = ["Context", "whose"]


class Context:
    """Task, and where to look for what concerns it."""

    def __init__(self, registry: Registry, task: Task, findings: Sequence[Finding], unread: Sequence[Finding]) -> None:
        self.task = task
        self.findings = findings
        self._unread = unread
        self._now = registry.now
        self._patience = registry.policy.check_seconds
        self._home = registry.servers[task.server]
        socket = self._home.sockets.get(task.client_id) if task.client_id is not None else None
        self._listener = socket if socket is not None and socket.seen else None
        """Socket on which its server would report on it, if one was ever seen."""
        self._stuck = _standstill(self._home, self._patience)

    def _threat(self) -> Act | None:
        kind = "delete" if self.task.state is State.PENDING else "interrupt"
        acts = (act for act in reversed(self._home.acts) if act.kind == kind and not act.used)
        return next((act for act in acts if self._may_hit(act)), None)

    def _may_hit(self, act: Act) -> bool:
        """Return whether the act may have hit it: an interrupt hits what runs (P31); what the queue still listed
        afterwards was not removed."""
        task = self.task
        if act.order <= task.submission.order or not act.hits(task.prompt_id):
            return False
        return act.order > task.shown_order if act.kind == "delete" else act.at >= (task.started_at or act.at)

    def _away(self) -> CauseKind | None:
        outage = self._home.outage_since(self.task)
        return outage.kind if outage is not None else None

    def _text(self, code: Code) -> str:
        return next((finding.text for finding in self.findings if finding.code == code), "")

    def _told(self, *signals: Signal) -> Transition | None:
        return next((told for told in reversed(self.task.signals) if told.signalled in signals), None)

    def _ended(self) -> Transition | None:
        return self._told(Signal.TELL) or self._told(Signal.END) or self._told(Signal.EXHAUST)

    def _last_snapshot(self) -> QueueSnapshot | None:
        """Return the last snapshot of the queue since it was posted."""
        last = self._home.queues[-1] if self._home.queues else None
        return last if last is not None and last.asked > self.task.submission.order else None


def whose(deed: Act | Cause | None) -> str:
    """Return the window that did it, as a sentence names it."""
    return f"window {deed.window}" if deed is not None and deed.window else "a client without an id"


def _standstill(server: Server, seconds: float) -> tuple[str, QueueSnapshot, QueueSnapshot] | None:
    """Return a prompt that all snapshots in a row listed as running for longer than this, with the first and the last
    of them."""
    lasting = ((name, first, last) for name, (first, last) in sorted(server.running.items()))
    return next(((name, first, last) for name, first, last in lasting if last.at - first.at > seconds), None)
