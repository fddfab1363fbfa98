"""Commands of the application about its jobs and tasks, which it logs before it carries them out."""

from __future__ import annotations

from collections.abc import Callable

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.adoption import adopt, seek
from comfy_fsm.core.fold.resubmission import never_ran
from comfy_fsm.core.fold.resume import fold_resume
from comfy_fsm.core.fold.settlement import apply_signal, reopen, request_queue, settle
from comfy_fsm.core.machine import RECOVERABLE, Signal, State
from comfy_fsm.core.registry.ending import Ending
from comfy_fsm.core.registry.registry import Registry
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.scheduling.backlog import tag_of

__all__ = ["fold_command"]


def _followed(registry: Registry, o: seen.Command) -> None:
    """Follow a prompt of somebody else: no socket of ours receives its frames (P1), so it is asked about (F6)."""
    server, prompt_id = registry.server(o.server), o.data.prompt_id
    if prompt_id is None or prompt_id in server.tasks or registry.homes.get(prompt_id) == server.url:
        return
    registry.order += 1
    task = Task(server=server.url, window=o.window, prompt_id=prompt_id, known_order=registry.order, tag=tag_of(o))
    registry.add(task, server)
    apply_signal(registry, task, Signal.DOUBT, "command")
    request_queue(registry, task)


def _recovered(registry: Registry, o: seen.Command) -> None:
    for task in _named(registry, o):
        signal = Signal.RECOVER if task.state in RECOVERABLE or not task.concluded else Signal.REOPEN
        if apply_signal(registry, task, signal, "command"):
            registry.counters.reopened += 1
            reopen(registry, task)


def _sought(registry: Registry, o: seen.Command) -> None:
    for task in _named(registry, o):
        seek(registry, task, o.data.to)


def _adopted(registry: Registry, o: seen.Command) -> None:
    for task in _named(registry, o):
        adopt(registry, task, o.data.to)


def _callback_cut(registry: Registry, o: seen.Command) -> None:
    for task in _named(registry, o):
        registry.report(Code.CALLBACK_RECURSION, "a progress callback caused its own call and was cut off", task)


def _named(registry: Registry, o: seen.Command) -> list[Task]:
    return registry.tasks_of(o.data.prompt_id or "", o.server)


def _enqueued(registry: Registry, o: seen.Command) -> None:
    if o.data.prompt_id is not None and not _is_posted(registry, o.data.prompt_id):
        registry.backlog.enqueue(registry.position, o)


def _submitted(registry: Registry, o: seen.Command) -> None:
    """Keep the tag for the next POST under this id."""
    registry.backlog.tag(o)


def _is_posted(registry: Registry, prompt_id: str) -> bool:
    """Return whether something was posted under this id already: to post it again would be to run it twice."""
    return bool(registry.tasks_of(prompt_id, None)) or prompt_id in registry.chosen


def _withdrawn(registry: Registry, o: seen.Command) -> None:
    registry.backlog.take(o.data.prompt_id)


def _rebound(registry: Registry, o: seen.Command) -> None:
    """Let its job wait again under a new id. Without a proof the command changes nothing, whoever wrote it."""
    new = o.data.to
    for task in registry.tasks_of(o.data.prompt_id or "", o.server):
        job = task.job
        if job is None or new is None or _is_posted(registry, new) or never_ran(registry, task) is None:
            continue
        registry.backlog.wait_again(job, new)
        if not task.settled:
            settle(registry, task, Ending(State.REJECTED, "verified", "command"))
        task.pass_on(new)


def _recalled(registry: Registry, o: seen.Command) -> None:
    for task in registry.tasks_of(o.data.prompt_id or "", o.server):
        task.recall()


def _cancelled(registry: Registry, o: seen.Command) -> None:
    """Note that the application cancelled the task, so that its job is not moved."""
    for task in registry.tasks_of(o.data.prompt_id or "", o.server):
        task.cancel()


def _drained(registry: Registry, o: seen.Command) -> None:
    registry.backlog.drain(o.server)


def _undrained(registry: Registry, o: seen.Command) -> None:
    registry.backlog.undrain(o.server)


_COMMANDS: dict[str, Callable[[Registry, seen.Command], None]] = {
    "enqueue": _enqueued,
    "submit": _submitted,
    "withdraw": _withdrawn,
    "rebind": _rebound,
    "recall": _recalled,
    "cancel": _cancelled,
    "drain": _drained,
    "undrain": _undrained,
    "resume": fold_resume,
    "follow": _followed,
    "recover": _recovered,
    "seek": _sought,
    "adopt": _adopted,
    "callback-cut": _callback_cut,
}


def fold_command(registry: Registry, o: seen.Command) -> None:
    fold = _COMMANDS.get(o.data.name)
    if fold is not None:
        fold(registry, o)
