"""Settlement: how a task ends, by a frame that states it, a record that proves it, or absence; and whose act it was.

The one place that settles; both the frames and the answers bring their evidence here.
"""

from __future__ import annotations

import math

from msgspec import Raw

from comfy_fsm.core.effects import Deliver, FetchHistory, LookAtQueue
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.deafness import expect_end
from comfy_fsm.core.machine import RECOVERABLE, UNANSWERED, Signal, State
from comfy_fsm.core.registry.ending import RECORDS, SETTLING, Ending, Source
from comfy_fsm.core.registry.oddities import note_unknown_word
from comfy_fsm.core.registry.registry import Registry
from comfy_fsm.core.registry.socket_images import take_images
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire.bodies import ENDED, HistoryRecord, JobRecord, executed_output
from comfy_fsm.core.wire.results import produced

__all__ = [
    "apply_job", "apply_record", "apply_signal", "note_end", "reopen", "reopen_conclusion", "request_queue",
    "request_queue_at_once", "request_queue_in_sweep", "request_record", "settle", "state_outcome", "take_outputs",
]  # fmt: skip

_ABSENT = "absent from the queue, then from the history of its server"


def apply_signal(registry: Registry, task: Task, signal: Signal, name: str) -> bool:
    unknown = task.state in UNANSWERED
    changed = task.apply(signal, name, registry.position, registry.now, registry.policy.signals)
    server = registry.servers[task.server]
    server.note(task)
    if unknown and changed and task.state not in UNANSWERED:
        server.unanswered.pop(task.number, None)
        if not task.settled:
            task.note_known(registry.order)  # a query sent before may have come before its POST (P11)
    return changed


def state_outcome(registry: Registry, task: Task, outcome: State, name: Source) -> None:
    """Note that the server stated the outcome; its record is still to come (P21)."""
    if task.settled or (task.stated is not None and task.confidence == "stated"):
        _repeat_signal(registry, task, outcome, name)
        return
    task.note_end_source(name, registry.now)
    task.end.state(outcome, registry.now)
    apply_signal(registry, task, Signal.TELL, name)
    request_record(registry, task)
    if outcome is State.CANCELLED:
        _blame_interrupt(registry, task)
    _apply_statusless_record(registry, task)


def _repeat_signal(registry: Registry, task: Task, outcome: State, name: Source) -> None:
    agreed = task.outcome
    if agreed is outcome or agreed is State.EXPIRED or task.posts > 1:
        if task.posts <= 1:
            registry.report(Code.REPEATED_SIGNAL, f"{name} was reported again", task)
        elif task.state is State.IN_PROGRESS:  # the second run of the same id ends
            apply_signal(registry, task, Signal.TELL, name)
            request_record(registry, task)
        return
    registry.report(Code.CONTRADICTION, f"{name}, after it was reported as {agreed}", task)


def note_end(registry: Registry, task: Task, name: Source) -> None:
    """Note that the server reported the end of the task, but not its outcome (P22)."""
    task.note_end_source(name, registry.now)
    apply_signal(registry, task, Signal.END, name)
    request_record(registry, task)
    _apply_statusless_record(registry, task)


def settle(registry: Registry, task: Task, ending: Ending) -> None:
    """Settle the task, once; everything that follows from it is requested or noted here."""
    outcome, source = ending.outcome, ending.source
    contradicted = task.stated not in (None, outcome) and task.confidence == "stated" and task.posts <= 1
    if contradicted and outcome not in RECOVERABLE:
        text = f"stated to be {task.stated}, while the record says {outcome}"
        registry.report(Code.CONTRADICTION, text, task)
    told_by: Source = "tick" if outcome is State.EXPIRED else source or task.completion_source or "queue"
    apply_signal(registry, task, SETTLING[outcome], told_by)
    if outcome is not State.EXPIRED:
        task.note_end_source(told_by, registry.now)
    if not task.outputs and not task.texts and not task.left_out:
        take_outputs(registry, task, task.run.statusless_outputs)
    take_images(registry, task, outcome)
    if task.left_out:
        registry.report(Code.OUTPUTS_CUT, f"{task.left_out:,} outputs are beyond the bounds", task)
    blamed = task.stated is State.CANCELLED  # its interrupt was attributed then: the next one is somebody else's
    task.mark_settled(ending, registry.position, registry.now)
    server = registry.servers[task.server]
    registry.counters.settle(task, server.counters, registry.now)
    server.remove_open(task)
    if task.prompt_id is not None:
        registry.retract(FetchHistory, task.server, task.prompt_id)
        registry.retract(LookAtQueue, task.server, task.prompt_id)
    registry.owe(task)
    _deliver(registry, task)
    if outcome is State.LOST:
        registry.report(Code.LOST, _ABSENT, task)
    elif outcome is State.CANCELLED and source in RECORDS and not blamed:
        _blame_interrupt(registry, task)
    expect_end(registry, task)


def _deliver(registry: Registry, task: Task) -> None:
    """Request the delivery, once; after late evidence, the new result replaces one that was not handed over yet."""
    if not task.handed_over or registry.has_emitted(Deliver, task.server, str(task.number)):
        task.hand_over()
        registry.emit(Deliver(due=registry.now, server=task.server, result=task.result()), str(task.number))


def take_outputs(registry: Registry, task: Task, outputs: object) -> None:
    """Take the outputs that a record or a job names, and those of other nodes that frames reported: after a failure it
    may name fewer."""
    told = outputs if isinstance(outputs, dict) else {} if outputs is None else {"": outputs}
    heard = {node: executed_output(Raw(raw)) for node, raw in task.remains.announced.items() if node not in told}
    task.produce(*produced(told | heard, registry.policy))


# records


def apply_record(registry: Registry, task: Task, record: HistoryRecord, name: Source, *, blurred: bool = False) -> None:
    """Validate a history entry of this prompt, from the bound server, and settle by it.

    `blurred`: its status cannot be read, so it ended, and only a frame can have stated how.
    """
    if not record.names(task.prompt_id or ""):
        _incomplete(registry, task, "it names another prompt")
        return
    if record.status is not None:
        registry.server(task.server).gives_status = True
    outcome, stale, failure = record.verdict()
    if task.concluded and outcome is not task.state:
        reopen_conclusion(registry, task, f"its record in the {name}")
    missing = record.lacks(task.remains.announced)
    if outcome is None:
        if blurred or (record.word and record.word not in ENDED):
            _weigh_unclear(registry, task, record, missing, name)
        else:
            _weigh_statusless(registry, task, record, missing, name)
        return
    if outcome is State.COMPLETED and missing and not task.settled:
        _incomplete(registry, task, f"it lacks the outputs of node {', '.join(missing[:5])}")
        return
    if stale:
        status = record.status.status_str if record.status else None
        registry.report(Code.STALE_STATUS, f"status_str says {status}, the messages say {outcome}", task)
    if not task.settled:
        task.fail(failure)
    _believe(registry, task, record, Ending(outcome, "verified", name))


def apply_job(registry: Registry, task: Task, job: JobRecord) -> None:
    """Apply a job that ended, like a record; in a list it has neither outputs nor messages (P38)."""
    outcome, stale, failure = job.verdict(registry.server(task.server).names_cancelled)
    missing = HistoryRecord(outputs=job.outputs).lacks(task.remains.announced) if job.outputs is not None else []
    if outcome is None or (outcome is State.COMPLETED and missing):
        lacks = f"it lacks the outputs of node {', '.join(missing[:5])}" if missing else "it does not say how it ended"
        _incomplete(registry, task, lacks)
        return
    if task.concluded and outcome is not task.state:
        reopen_conclusion(registry, task, "the record of its job")
    if stale:
        text = f"the status of its job says {job.status}, the messages say {outcome}"
        registry.report(Code.STALE_STATUS, text, task)
    if not task.settled:
        task.fail(failure)
    record, unseen = HistoryRecord(outputs=job.named()), not task.settled and job.outputs is None
    _believe(registry, task, record, Ending(outcome, "verified", "jobs"))
    if unseen:
        _note_unseen(registry, task, job.outputs_count or 0)


def _note_unseen(registry: Registry, task: Task, count: int) -> None:
    """Note that its outputs are only those that frames reported: a list of jobs counts them, and names one at the most
    (P38)."""
    task.note_listed()
    told = len(task.outputs) + len(task.texts)
    if count > told:
        text = f"a list of jobs counts {count:,} outputs of it and names one at the most; told here are {told:,}"
        registry.report(Code.OUTPUTS_UNSEEN, text, task)


def _weigh_unclear(registry: Registry, task: Task, record: HistoryRecord, missing: list[str], name: Source) -> None:
    """Apply a record whose outcome cannot be read; one that a frame stated stands."""
    if record.word:
        note_unknown_word(registry, task, "the status_str of its record", record.word)
    if task.stated is None or task.confidence != "stated":
        _incomplete(registry, task, "its status does not say how it ended")
    elif task.stated is State.COMPLETED and missing:
        _incomplete(registry, task, f"it lacks the outputs of node {', '.join(missing[:5])}")
    else:
        _believe(registry, task, record, Ending(task.stated, "stated", name))


def _weigh_statusless(registry: Registry, task: Task, record: HistoryRecord, missing: list[str], name: Source) -> None:
    """Apply an entry without a status: the run ended, and its outputs may be partial (before January 2024)."""
    if task.settled:
        return
    if registry.server(task.server).gives_status:
        _incomplete(registry, task, "it has no status, though this server gives one")
        return
    ordered = record.ordered()
    outputs = ordered if ordered is not None else task.remains.sinks
    through = bool(outputs) and record.has(outputs or ())
    note_end(registry, task, name)
    if task.stated is State.COMPLETED and missing:
        _incomplete(registry, task, f"it lacks the outputs of node {', '.join(missing[:5])}")
    elif task.stated is not None:
        _believe(registry, task, record, Ending(task.stated, task.confidence or "stated", name))
    elif through or task.reached_every_sink():
        _believe(registry, task, record, Ending(State.COMPLETED, "inferred", name))
    else:
        task.run.take_statusless(record.outputs)


def _apply_statusless_record(registry: Registry, task: Task) -> None:
    """Settle by a record without a status that came before the frame which states the outcome."""
    if not task.run.statusless or task.settled:
        return
    if task.stated is not None:
        settle(registry, task, Ending(task.stated, task.confidence or "stated", "history"))
    elif task.reached_every_sink():
        settle(registry, task, Ending(State.COMPLETED, "inferred", "history"))


def _believe(registry: Registry, task: Task, record: HistoryRecord, ending: Ending) -> None:
    if task.settled:
        if ending.outcome is task.state:
            _verify(registry, task, record, ending)
        elif task.state is not State.EXPIRED and task.posts <= 1:
            text = f"settled as {task.state}, while a later record says {ending.outcome}"
            registry.report(Code.CONTRADICTION, text, task)
        return
    take_outputs(registry, task, record.outputs)
    settle(registry, task, ending)


def _verify(registry: Registry, task: Task, record: HistoryRecord, ending: Ending) -> None:
    """Confirm by its record a task that was settled without one: it is verified now, and nothing is delivered again."""
    task.inquiry.owe(owed=False)
    if ending.confidence == "verified" and (
        task.confidence != "verified" or (task.listed and record.outputs is not None)
    ):
        task.verify(ending, listed=task.listed and record.outputs is None)
        take_outputs(registry, task, record.outputs)
        for code in (Code.UNVERIFIED, Code.OUTPUTS_UNSEEN) if not task.listed else (Code.UNVERIFIED,):
            registry.withdraw_finding(code, task)


def _incomplete(registry: Registry, task: Task, what: str) -> None:
    if task.settled:
        return
    task.inquiry.fail()
    registry.counters.looks["incomplete"] += 1
    registry.report(Code.HISTORY_INCOMPLETE, f"the entry does not validate: {what}", task)
    apply_signal(registry, task, Signal.END, "history")
    task.note_end_source("history", registry.now)
    request_record(registry, task)


# requests


def reopen_conclusion(registry: Registry, task: Task, name: str) -> None:
    """Take back a conclusion that new evidence refutes, as a recover command does; nothing is delivered twice for
    it."""
    concluded = task.state
    registry.withdraw_finding(Code.LOST, task)
    text = f"{name} came after it was concluded to be {concluded}"
    registry.report(Code.LATE_EVIDENCE, text, task)
    apply_signal(registry, task, Signal.REOPEN, name)
    registry.counters.reopened += 1
    reopen(registry, task, again=False)


def reopen(registry: Registry, task: Task, *, again: bool = True) -> None:
    """Look again for a task that was reopened, or bound to another server."""
    registry.relieve(task)
    task.reopen(registry.now, again=again)
    registry.server(task.server).add_open(task)
    registry.remind(task, registry.now + registry.policy.check_seconds)
    request_queue(registry, task)


def request_record(registry: Registry, task: Task) -> None:
    """Request the record, later after each fruitless attempt."""
    if task.prompt_id is not None and not task.inquiry.requested:
        task.inquiry.request()
        registry.server(task.server).note(task)
        registry.counters.retries += task.inquiry.fruitless > 0
        due = registry.now + registry.policy.pause(task.inquiry.fruitless)
        registry.emit(FetchHistory(due=due, server=task.server, prompt_id=task.prompt_id), task.prompt_id)


def request_queue(registry: Registry, task: Task, before: float = math.inf) -> None:
    registry.server(task.server).note(task)
    request_queue_in_sweep(registry, task, before)


def request_queue_in_sweep(registry: Registry, task: Task, before: float = math.inf) -> None:
    """Request a query of the queue in a sweep over many tasks, which is no news of this one; at `before` at the
    latest."""
    prompt_id = task.prompt_id
    if prompt_id is not None:
        due = registry.now + registry.policy.pause(task.inquiry.fruitless)
        due = before if registry.now < before < due else due
        registry.emit(LookAtQueue(due, task.server, prompt_id), prompt_id)


def request_queue_at_once(registry: Registry, task: Task) -> None:
    """Request the same without a pause, however often it was asked in vain, about a task whose POST was answered."""
    prompt_id = task.prompt_id or ""
    registry.emit(LookAtQueue(registry.now, task.server, prompt_id), prompt_id)


def _blame_interrupt(registry: Registry, task: Task) -> None:
    """Attribute the interrupt: one of its owner if there is one, and one that names an id before one that does not
    (P31)."""
    server = registry.server(task.server)
    acts = [
        act
        for act in server.acts
        if act.kind == "interrupt"
        and not act.used
        and act.order > task.submission.order
        and (act.hits(task.prompt_id) or not (act.exact or server.interrupts_by_id))
    ]
    acts.sort(key=lambda act: (act.window != task.window, act.ids is None, not act.hits(task.prompt_id)))
    if not acts:
        return
    act = acts[0]
    act.used = True
    task.end.blame(act.cause(task.prompt_id))
    if act.window != task.window:
        text = f"interrupted by window {act.window}" + ("" if act.hits(task.prompt_id) else ", for another id")
        with registry.as_of(act.position, registry.now):
            registry.report(Code.FOREIGN_INTERRUPT, text, task)
