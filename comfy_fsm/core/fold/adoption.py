"""Adoption: a task that its own server denies is looked for at others, and bound to the one that has it.

Two commands do it, and both are in the log: `seek` allows another server to be asked, `adopt` moves the task there. An
`adopt` without its proof changes nothing, whoever wrote it: an answer of that server must have shown the prompt.
"""

from __future__ import annotations

from comfy_fsm.core.effects import FetchHistory, LookAtQueue
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.settlement import apply_signal, reopen
from comfy_fsm.core.machine import FINAL, Signal, State
from comfy_fsm.core.registry.registry import Registry, Server, Subject
from comfy_fsm.core.registry.task import Task

__all__ = ["adopt", "bound_here", "is_candidate", "is_denied", "note_not_shown", "note_shown", "seek"]


def seek(registry: Registry, task: Task, url: str | None) -> None:
    """Allow this server, for one query, to be asked about the task as if it were bound there."""
    if url is None or task.state in FINAL or len(task.inquiry.candidates) >= registry.policy.acts:
        return
    server = registry.server(url)
    if server.url != task.server:
        task.inquiry.admit(server.url)


def is_candidate(registry: Registry, server: Server, prompt_id: str) -> list[Task]:
    """Return the tasks of other servers that this one may be asked about; for most ids that a queue lists there are
    none."""
    tasks = registry.tasks_of(prompt_id, None) if prompt_id in registry.homes else []
    return [task for task in tasks if server.url in task.inquiry.candidates]


def note_shown(registry: Registry, server: Server, prompt_id: str) -> None:
    """Note that the server lists the prompt, or has its record; of a server that was not asked, that proves nothing."""
    for task in is_candidate(registry, server, prompt_id):
        task.inquiry.find(server.url)


def note_not_shown(registry: Registry, server: Server, prompt_id: str) -> None:
    """End the query: to ask this server again takes another `seek`."""
    for task in is_candidate(registry, server, prompt_id):
        task.inquiry.dismiss(server.url)


def bound_here(registry: Registry, server: Server, prompt_id: str, window: str | None, how: str) -> Task | None:
    """Return the task with this id at this server; report it if another server has it."""
    task = registry.task_at(server, prompt_id)
    if task is not None:
        registry.join(server, task.server)
        return task
    home = registry.homes.get(prompt_id)
    elsewhere = home is not None and home != server.url and prompt_id not in server.chosen
    if elsewhere and not is_candidate(registry, server, prompt_id):
        text = f"{how} at {server.url}, while it is bound to {home}"
        registry.report(Code.WRONG_SERVER, text, Subject(window, server.url, prompt_id))
    return None


def adopt(registry: Registry, task: Task, url: str | None) -> None:
    """Bind the task to the server that showed it; its own must have denied it, by the proof that also makes a task
    lost."""
    here, there = registry.server(task.server), registry.server(url)
    prompt_id = task.prompt_id
    if (
        prompt_id is None
        or not task.inquiry.candidates.get(there.url)
        or not is_denied(registry, task)
        or prompt_id in there.tasks
    ):
        return
    registry.order += 1
    for wish in (LookAtQueue, FetchHistory):
        registry.retract(wish, here.url, prompt_id)
    here.remove_open(task)
    del here.tasks[prompt_id]
    if registry.homes.get(prompt_id) == here.url:
        del registry.homes[prompt_id]
    for socket in (name.sockets.get(window) for name in here.names() for window in task.windows):
        if socket is not None:
            socket.loose.pop(task.number, None)
    registry.counters.reopened += task.settled
    task.move(there.url, registry.order)
    registry.bind(task, there, prompt_id)
    apply_signal(registry, task, Signal.ADOPT, "command")
    reopen(registry, task)


def is_denied(registry: Registry, task: Task) -> bool:
    """Return whether absence is proved (P29), and no end was reported: it may never have been there."""
    proved = not task.settled and len(task.inquiry.rounds) >= registry.policy.absences
    return task.state is State.LOST or (proved and task.stated is None)
