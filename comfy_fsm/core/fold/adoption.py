"""A task that its own server denies, looked for at others, and bound to the one that has it.

Two commands do it, and both are in the log: `seek` makes it right to ask another server, `adopt` moves the task there.
A move without its proof changes nothing, whoever wrote it: an answer of that server must have shown the prompt.
"""

from __future__ import annotations

from comfy_fsm.core.effects import FetchHistory, LookAtQueue
from comfy_fsm.core.fold.settlement import move, reopen
from comfy_fsm.core.machine import FINAL, Signal, State
from comfy_fsm.core.registry.registry import Ledger, Server
from comfy_fsm.core.registry.task import Task


def seek(ledger: Ledger, task: Task, url: str | None) -> None:
    """For one look, this server may be asked for the task as if it were bound there (R2.1)."""
    if url is None or task.state in FINAL or len(task.sought) >= ledger.policy.acts:
        return
    server = ledger.server(url)
    if server.url != task.server:
        task.sought[server.url] = False


def sought(ledger: Ledger, server: Server, prompt_id: str) -> list[Task]:
    """The tasks of other servers that this one may be asked for; of most ids that a queue lists, nobody knows any."""
    tasks = ledger.tasks_of(prompt_id, None) if prompt_id in ledger.homes else []
    return [task for task in tasks if server.url in task.sought]


def shown(ledger: Ledger, server: Server, prompt_id: str) -> None:
    """The server lists the prompt, or has its record; one that was not asked for it proves nothing by that."""
    for task in sought(ledger, server, prompt_id):
        task.sought[server.url] = True


def not_shown(ledger: Ledger, server: Server, prompt_id: str) -> None:
    """The look is over: whoever asks this server again has to say so again."""
    for task in sought(ledger, server, prompt_id):
        if not task.sought[server.url]:
            del task.sought[server.url]


def adopt(ledger: Ledger, task: Task, url: str | None, position: int, at: float) -> None:
    """Bind the task to the server that showed it; its own must have denied it, by the proof that also loses a task."""
    here, there = ledger.server(task.server), ledger.server(url)
    prompt_id = task.prompt_id
    if prompt_id is None or not task.sought.get(there.url) or not _is_denied(ledger, task) or prompt_id in there.tasks:
        return
    ledger.order += 1
    for wish in (LookAtQueue, FetchHistory):
        ledger.unwant(wish, here.url, prompt_id)
    here.let(task)
    del here.tasks[prompt_id]
    if ledger.homes.get(prompt_id) == here.url:
        del ledger.homes[prompt_id]
    for ear in (name.sockets.get(window) for name in here.names() for window in task.windows):
        if ear is not None:
            ear.loose.pop(task.number, None)
    ledger.tally.reopened += task.settled
    task.server = there.url
    ledger.bind(task, there, prompt_id)
    move(ledger, task, Signal.ADOPT, "command", position, at)
    task.known_order = ledger.order  # what that server did not list before proves nothing
    task.leave_server()
    reopen(ledger, task, at)


def _is_denied(ledger: Ledger, task: Task) -> bool:
    """Absence is proved (P29), and nothing told how it ended: it may be that it never was there."""
    proved = not task.settled and task.absences >= ledger.policy.absences
    return task.state is State.LOST or (proved and task.stated is None)
