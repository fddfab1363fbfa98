"""Requests and responses over HTTP: submissions, records, queues, jobs, and acts of windows.

An answer counts only for a task that is bound to the server that gave it; one that is not JSON of the expected shape
means unreachable, never absent (P33).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.absence import ask_again, note_absent, note_count, note_empty, refute_absence, refute_by_record
from comfy_fsm.core.fold.adoption import bound_here, note_not_shown, note_shown
from comfy_fsm.core.fold.deafness import note_progress
from comfy_fsm.core.fold.settlement import apply_job, apply_record, apply_signal, request_record
from comfy_fsm.core.fold.silence import await_end, note_answer
from comfy_fsm.core.fold.sockets import note_gap
from comfy_fsm.core.fold.submissions import (
    adopt_marked,
    awaits_marker,
    fold_acceptance,
    fold_submission,
    mark_uncertain,
    note_post_over,
)
from comfy_fsm.core.machine import SETTLED, Signal
from comfy_fsm.core.registry import oddities
from comfy_fsm.core.registry.ending import Source
from comfy_fsm.core.registry.registry import Question, QueueSnapshot, Registry, Server, Subject
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.registry.window_acts import ACTS, fold_act, undo
from comfy_fsm.core.wire import bodies, histories, queues, routes
from comfy_fsm.core.wire.fieldwise import Oddity, read

__all__ = ["fold_no_answer", "fold_request", "fold_response"]

_ABOUT_TASKS = frozenset({"post", "history", "histories", "queue"})
"""Questions that every ComfyUI answers: a server without an answer is not there, or is something else (P33)."""
_RUN = Signal.RUN  # to look up a member of an enum takes as long as to apply half a signal
_UNANSWERED_AT_ONCE = 256
"""Tasks not known to be accepted that are looked for in one history."""
_CONNECTION_LOST = ("ConnectError", "ConnectionRefused", "ClientConnector", "ECONNREFUSED")


def fold_request(registry: Registry, o: seen.Request) -> None:
    data = o.data
    registry.order += 1
    if data.id in registry.questions:
        return  # a request id is unique in a trace: this entry came before
    asked = routes.parse(data.method, data.path)
    server = registry.server(o.server if o.server is not None else asked.server)
    socket = server.sockets.get(o.window)
    if socket is None:
        registry.see(o.window)
    elif socket.down_position is not None:
        note_gap(registry, socket)
    kind, prompt_id = asked.kind, asked.prompt_id
    if asked.prefix and not _is_comfy(server, asked):
        kind = routes.OTHER
    question = Question(kind, server, o.window, registry.order, registry.now, prompt_id)
    registry.add_question(data.id, question)
    if kind == "post":
        fold_submission(registry, question, o)
    elif kind in ("history", "job") and prompt_id is not None:
        bound_here(registry, server, prompt_id, o.window, "asked")
    elif kind in ("queue", "jobs"):
        server.listing = question
        question.partial = kind == "jobs" and routes.is_partial(data.path)
    elif kind == routes.OTHER:
        question.what = f"{data.method} {data.path}"[: oddities.MAX_PATH]
    elif kind in ACTS:
        fold_act(registry, question, o)


def _answered(registry: Registry, request_id: str, status: int | None, at: float) -> Question | None:
    """Return the question that this answers; None if nobody asked it, or if it was answered before."""
    registry.order += 1
    question = registry.answer(request_id)
    if question is not None:
        question.server.counters.answer(status, at - question.at)
    return question


def fold_response(registry: Registry, o: seen.Response) -> None:
    question = _answered(registry, o.data.id, o.data.status, o.at)
    if question is None:
        return
    status, raw = o.data.status, o.data.body
    fold = _FOLDS.get(question.kind) if status == 200 else None
    if fold is not None:
        fold(registry, question, raw)
    elif question.kind == routes.OTHER:
        oddities.note_unknown_route(registry, question, raw)
    elif question.task is not None:
        fold_acceptance(registry, question, question.task, o)
    elif status >= 400 and question.acts:
        undo(question)
    elif question.kind == "features" and status in (200, 404):
        if status == 404:  # both came with 0.3.45 (P10), but a service may have the one without the other
            question.server.honours_ids = False
    elif question.kind == "job" and status == 404 and bodies.is_missing_job(raw):
        _job_missing(registry, question)
    elif question.kind == "jobs" and status == 400 and bodies.knows_no_cancelled(raw):
        question.server.cancelled_jobs = False
    elif status != 200:
        _unreachable(registry, question, f"HTTP {status}")
    elif question.acts and bodies.did_nothing(raw):
        undo(question)


def fold_no_answer(registry: Registry, o: seen.NoAnswer) -> None:
    question = _answered(registry, o.data.id, None, o.at)
    if question is None:
        return
    if o.data.error.startswith(_CONNECTION_LOST):  # refused is not slow (P8)
        question.server.note_outage(registry.order, registry.cause("outage", o.data.error))
        undo(question)
    if question.task is not None:
        question.task.answer.lose(undelivered=o.data.error.startswith(_CONNECTION_LOST))
        note_post_over(registry, question.task)
        mark_uncertain(registry, question.task, o.data.error)
    _unreachable(registry, question, o.data.error)


_MAX_PREFIXES = 8
_LOOKS = frozenset({"history", "histories", "queue", "job", "jobs"})


def _is_comfy(server: Server, asked: routes.ParsedRequest) -> bool:
    """Return whether a path behind a prefix is ComfyUI's: it names a prompt, or others under this prefix did."""
    if asked.prefix in server.prefixes:
        return True
    if asked.kind != "post" and asked.prompt_id is None:
        return False
    if len(server.prefixes) < _MAX_PREFIXES:
        server.prefixes.add(asked.prefix)
    return True


def _unreachable(registry: Registry, question: Question, what: str) -> None:
    """Note that a question has no usable answer: that is no evidence (P33), only a reason to ask again, later."""
    registry.counters.looks["absent" if (question.kind, what) == ("job", "HTTP 404") else "unreachable"] += (
        question.kind in _LOOKS
    )
    if question.kind in _ABOUT_TASKS:
        question.server.note_failure(registry.cause("unreachable", what))
    task = registry.task_at(question.server, question.prompt_id)
    if task is not None and not task.settled:
        task.inquiry.fail()
        request_record(registry, task)


_ANOTHER = "the answer is about another prompt"


def _history_answered(registry: Registry, question: Question, raw: Raw) -> None:
    found = histories.records(raw)
    if found is None:
        oddities.note_misfit(registry, question, raw, "a history")
        return _unreachable(registry, question, "no JSON of a history")
    records, server, unread = found.records, question.server, found.odd.keys() - found.records.keys()
    note_answer(server, registry.now)
    unanswered = _next_unanswered(server) if question.kind == "histories" else []
    if awaits_marker(server):
        for prompt_id, record in records.items():
            adopt_marked(registry, server, prompt_id, record.mark())
    for prompt_id, record in records.items():
        task = bound_here(registry, server, prompt_id, question.window, "answered")
        if task is not None:
            _recorded(registry, task, question, record, found.odd.get(prompt_id, ()))
        elif record.names(prompt_id):
            note_shown(registry, server, prompt_id)
    if question.prompt_id is not None and not records:
        note_not_shown(registry, server, question.prompt_id)
    asked = registry.task_at(server, question.prompt_id)
    if asked is not None and not (question.prompt_id in records or question.prompt_id in found.odd or asked.settled):
        if records and question.kind == "history":  # of another prompt alone: no answer to the question
            registry.report(Code.HISTORY_INCOMPLETE, _ANOTHER, asked)
            return _unreachable(registry, question, _ANOTHER)
        note_empty(registry, asked, question)
    elif asked is not None and asked.inquiry.owed and not records:
        ask_again(registry, asked)
    if asked is not None and question.prompt_id in unread and not asked.settled:
        oddities.note_oddities(registry, asked, "its record", found.odd[question.prompt_id or ""])
        return _unreachable(registry, question, "a record that cannot be read")
    if question.kind == "histories" and not unread:
        _unmarked(registry, unanswered, question)


def _recorded(
    registry: Registry, task: Task, question: Question, record: bodies.HistoryRecord, odd: Sequence[Oddity]
) -> None:
    refute_by_record(registry, task, question)
    task.note_sign(registry.now)
    _shown(task, question)
    note_progress(registry, task)
    lacking = bodies.odd_outputs(record.outputs, task.remains.announced)
    if odd or lacking:
        oddities.note_oddities(registry, task, "its record", (*odd, *lacking))
    apply_record(registry, task, record, "history", blurred=any(each.path == "status" for each in odd))


def _shown(task: Task, question: Question) -> None:
    """Note that an answer to this question shows the task: its server knows it, and us."""
    task.note_shown(question.order)
    if question.order > question.server.shown_order:
        question.server.shown_order = question.order


def _next_unanswered(server: Server) -> list[Task]:
    """Return some of these tasks, and the next ones the next time, so that no answer holds up the fold for long."""
    found: list[Task] = []
    for name in server.names():
        some = list(islice(name.unanswered.values(), _UNANSWERED_AT_ONCE - len(found)))
        if len(some) < len(name.unanswered):
            for task in some:
                name.unanswered[task.number] = name.unanswered.pop(task.number)
        found += some
    return found


def _unmarked(registry: Registry, tasks: list[Task], question: Question) -> None:
    """Note the absence of tasks whose mark is nowhere in a full history: they were not accepted (P10, P11)."""
    for task in tasks:
        if task.nameless and task.known_order and task.window == question.window:
            task.inquiry.miss()
            registry.counters.looks["absent"] += 1
            note_absent(registry, task, question)


def _queue_answered(registry: Registry, question: Question, raw: Raw) -> None:
    listed = queues.listing(raw)
    if listed is None:
        oddities.note_misfit(registry, question, raw, "a queue")
        return _unreachable(registry, question, "no JSON of a queue")
    server = question.server
    note_answer(server, registry.now)
    running, pending = listed.running, listed.pending
    if listed.odd:
        oddities.note_odd_queue(registry, question, listed.odd)
    if awaits_marker(server):
        for prompt_id, mark in queues.marks(raw).items():
            adopt_marked(registry, server, prompt_id, mark)
    ids = listed.named.union(running, pending)
    rows = len(running) + len(pending) + listed.unread
    if listed.whole:
        server.add_snapshot(_snapshot(registry, question, rows, ids, frozenset(running)))
    for listing, signal in ((running, _RUN), (pending, Signal.QUEUE)):
        for prompt_id in listing:
            task = server.tasks.get(prompt_id)
            if task is None or task.server != server.url:
                if task is None and prompt_id not in registry.homes and len(server.twins) < 2:
                    continue  # somebody else's, as most in a long queue are
                task = bound_here(registry, server, prompt_id, question.window, "listed")
            if task is None:
                note_shown(registry, server, prompt_id)
                continue
            _shown(task, question)
            _listed(registry, task, question, signal, "queue")


def _snapshot(
    registry: Registry, question: Question, rows: int, ids: frozenset[str], running: frozenset[str]
) -> QueueSnapshot:
    orders = question.order, registry.order
    return QueueSnapshot(question.at, rows, *orders, ids, running, registry.position, registry.now)


def _listed(registry: Registry, task: Task, question: Question, signal: Signal, name: Source) -> None:
    if question.server.honours_ids is None and task.unanswered and task.posts:
        question.server.honours_ids = True  # it is there under the id that we chose
    if task.inquiry.rounds or task.concluded:
        refute_absence(registry, task, question, name)
    if task.state in SETTLED:
        return
    if registry.now > task.last_sign:
        task.note_sign(registry.now)
    registry.counters.looks["listed"] += 1
    if signal is _RUN:
        note_progress(registry, task)
        if task.over:
            signal = Signal.TRAIL  # it is listed until its record is written (P21)
    apply_signal(registry, task, signal, name)
    if task.client_id is not None and not task.over:
        task.inquiry.start_over()  # there is news, and no record yet: earlier queries are no reason to wait now
    else:
        await_end(registry, task, by_job=question.kind == "job")


def _job_missing(registry: Registry, question: Question) -> None:
    """Note that a job is neither in the queue nor, read after it, in the history (P38)."""
    server = question.server
    _has_jobs(server, registry.now)
    task = server.tasks.get(question.prompt_id or "")
    if task is None:
        note_not_shown(registry, server, question.prompt_id or "")
    elif not task.settled:
        note_empty(registry, task, question)


def _has_jobs(server: Server, now: float) -> None:
    note_answer(server, now)
    server.has_jobs = True


def _job_answered(registry: Registry, question: Question, raw: Raw) -> None:
    job, odd = read(raw, bodies.JobRecord)
    if job is None or (job.id is None and job.status is None):
        oddities.note_misfit(registry, question, raw, "a job")
        return _unreachable(registry, question, "no JSON of a job")
    if job.id not in (None, question.prompt_id):  # no answer to the question
        text = "the answer is about another job"
        registry.report(
            Code.HISTORY_INCOMPLETE, text, Subject(server=question.server.url, prompt_id=question.prompt_id)
        )
        return _unreachable(registry, question, text)
    _has_jobs(question.server, registry.now)
    _job(registry, question, job, question.prompt_id or "", odd)


def _jobs_answered(registry: Registry, question: Question, raw: Raw) -> None:
    """Fold a page of jobs: what it lists counts; what it lacks is absent only if all pending and running jobs were
    listed."""
    page, _ = read(raw, bodies.JobList)
    if page is None:
        oddities.note_misfit(registry, question, raw, "a list of jobs")
        return _unreachable(registry, question, "no JSON of jobs")
    server = question.server
    _has_jobs(server, registry.now)
    readable = [(job, odd) for job, odd in (read(item, bodies.JobRecord) for item in page.jobs) if job is not None]
    jobs = [(job, odd) for job, odd in readable if job.id is not None]
    if len(jobs) < len(page.jobs):
        text = f"{len(page.jobs) - len(jobs)} of {len(page.jobs)} jobs in a list have no id, or are no objects"
        registry.report(Code.UNRECOGNIZED, text, Subject(question.window, server.url))
    elif not question.partial and not (page.pagination and page.pagination.has_more):
        ids = {job.id or "": job.signal for job, _ in jobs if job.signal is not None}
        running = frozenset(name for name, signal in ids.items() if signal is Signal.RUN)
        server.add_snapshot(_snapshot(registry, question, len(ids), frozenset(ids), running))
    for job, odd in jobs:
        _job(registry, question, job, job.id or "", odd)


def _job(registry: Registry, question: Question, job: bodies.JobRecord, name: str, odd: tuple[Oddity, ...]) -> None:
    server = question.server
    if job.status == "cancelled":
        server.cancelled_jobs = True
    task = bound_here(registry, server, name, question.window, "answered")
    if task is None:
        return note_shown(registry, server, name) if job.status is not None else None
    oddities.note_oddities(registry, task, "its job", (*odd, *bodies.odd_outputs(job.outputs)))
    signal = job.signal
    if question.kind == "job":
        ids = frozenset((name,))
        look = _snapshot(registry, question, 1, ids, ids)
        server.note_one_job(name, look if signal is Signal.RUN else None)
    _shown(task, question)
    if signal is None and job.verdict(None).outcome is None and job.status != "failed":
        return _unknown_job(registry, task, job)
    if signal is None:
        refute_by_record(registry, task, question)
        if not task.settled:
            task.note_sign(registry.now)
        note_progress(registry, task)
        apply_job(registry, task, job)
    else:
        _listed(registry, task, question, signal, "jobs")


def _unknown_job(registry: Registry, task: Task, job: bodies.JobRecord) -> None:
    """Note a status that no version is known to write: it is no evidence, so it is reported and asked about again."""
    oddities.note_unknown_word(registry, task, "the status of its job", job.status)
    if not task.settled:
        task.inquiry.fail()
        request_record(registry, task)


def _stats_answered(registry: Registry, question: Question, raw: Raw) -> None:
    question.server.version = bodies.version(raw) or question.server.version


_FOLDS: dict[routes.Kind, Callable[[Registry, Question, Raw], None]] = {
    "history": _history_answered,
    "histories": _history_answered,
    "remaining": note_count,
    "queue": _queue_answered,
    "job": _job_answered,
    "jobs": _jobs_answered,
    "stats": _stats_answered,
}
"""What a 200 says, by the kind of the request."""
