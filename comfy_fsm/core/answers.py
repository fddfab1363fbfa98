"""What HTTP asked and was answered, folded: submissions, records, queues, jobs, and what windows did to each other.

An answer counts only for the task that is bound to the server that gave it (R2); what is not JSON of the
expected shape is unreachable, never absent (P33).
"""

from __future__ import annotations

from urllib.parse import unquote

from msgspec import Raw

from comfy_fsm.core import evidence, wire
from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Failure
from comfy_fsm.core.hearing import replay_waiting
from comfy_fsm.core.ledger import Act, Ledger, Question, QueueAnswer, Server
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.settling import ask_history, ask_queue, judge_absence, move, moved, settle, weigh
from comfy_fsm.core.sockets import note_gap
from comfy_fsm.core.task import Task

REFUSED = frozenset({400, 401, 403, 404, 405, 413, 415, 422})
"""Answers to a POST that say that nothing was queued; 429 and 5xx do not (P11, P33)."""
_CONNECTION_LOST = ("ConnectError", "ConnectionRefused", "ClientConnector", "ECONNREFUSED")


def fold_request(ledger: Ledger, position: int, o: seen.Request) -> None:
    ledger.order += 1
    if o.data.id in ledger.questions:
        return  # a request id is unique in a trace: this is the same entry again
    server = ledger.server(o.server)
    socket = server.sockets.get(o.window)
    if socket is None:
        ledger.windows.setdefault(o.window)
    elif socket.down_position is not None:
        note_gap(ledger, socket, o.at)
    kind, prompt_id = _route(o.data.method.upper(), o.data.path)
    question = Question(kind, server, o.window, ledger.order, prompt_id)
    ledger.ask(o.data.id, question)
    if kind == "post":
        _post(ledger, question, position, o)
    elif kind in ("history", "job") and prompt_id is not None:
        _bound_here(ledger, server, prompt_id, o.window, position, o.at, "asked")
    elif kind.startswith("act-"):
        _act(ledger, question, position, o)


def _answered(ledger: Ledger, request_id: str) -> Question | None:
    """The question that this answers; None where nobody asked it, or it was answered before."""
    ledger.order += 1
    question = ledger.questions.get(request_id)
    if question is None or question.answered:
        return None
    question.answered = True
    return question


def fold_response(ledger: Ledger, position: int, o: seen.Response) -> None:
    question = _answered(ledger, o.data.id)
    if question is None:
        return
    status, raw = o.data.status, o.data.body
    if question.kind == "post":
        _post_answered(ledger, question, position, o)
    elif status >= 400 and question.act is not None and question.act in question.server.acts:
        question.server.acts.remove(question.act)  # refused: it did nothing
    elif status != 200:
        _unreachable(ledger, question, o.at)
    elif question.kind in ("history", "histories"):
        _history_answered(ledger, question, raw, position, o.at)
    elif question.kind == "queue":
        _queue_answered(ledger, question, raw, position, o.at)
    elif question.kind in ("job", "jobs"):
        _jobs_answered(ledger, question, raw, position, o.at)


def fold_no_answer(ledger: Ledger, position: int, o: seen.NoAnswer) -> None:
    question = _answered(ledger, o.data.id)
    if question is None:
        return
    if o.data.error.startswith(_CONNECTION_LOST):  # refused is not slow (P8)
        question.server.outage_order = ledger.order
    if question.task is not None:
        _doubt(ledger, question.task, position, o.at)
    _unreachable(ledger, question, o.at)


_ROUTES = {
    ("POST", "/prompt"): "post",
    ("GET", "/history"): "histories",
    ("GET", "/queue"): "queue",
    ("GET", "/jobs"): "jobs",
    ("POST", "/queue"): "act-queue",
    ("POST", "/interrupt"): "act-interrupt",
    ("POST", "/history"): "act-history",
}


def _route(method: str, path: str) -> tuple[str, str | None]:
    """Which question this is, with or without the `/api` that every route has since June 2024."""
    path = path.partition("?")[0].removeprefix("/api").rstrip("/")
    kind = _ROUTES.get((method, path))
    if kind is not None:
        return kind, None
    match (method, *path.split("/")[1:]):
        case ("GET", "history", prompt_id):
            return "history", unquote(prompt_id)
        case ("GET", "jobs", prompt_id):
            return "job", unquote(prompt_id)
        case ("POST", "jobs", prompt_id, "cancel"):
            return "act-cancel", unquote(prompt_id)
    return "other", None


def _bound_here(
    ledger: Ledger, server: Server, prompt_id: str, window: str | None, position: int, at: float, how: str
) -> Task | None:
    """The task of this server under this id; that another server has it is a finding (R2.1)."""
    task = server.tasks.get(prompt_id)
    home = ledger.homes.get(prompt_id)
    if task is None and home is not None and home != server.url and prompt_id not in server.chosen:
        text = f"{how} at {server.url}, while it is bound to {home}"
        ledger.find("wrong-server", position, at, text, window=window, server=server.url, prompt_id=prompt_id)
    return task


def _unreachable(ledger: Ledger, question: Question, at: float) -> None:
    """No evidence at all (P33): only a reason to ask again, later."""
    task = question.server.tasks.get(question.prompt_id or "")
    if task is not None and not task.settled:
        task.asked, task.looks = False, task.looks + 1
        ask_history(ledger, task, at)


# submitting


def _post(ledger: Ledger, question: Question, position: int, o: seen.Request) -> None:
    submission = wire.body(o.data.body, evidence.Submission) or evidence.Submission()
    server, chosen = question.server, submission.prompt_id
    task = Task(server=server.url)
    task.prompt_id = chosen
    _take_submission(ledger, task, submission, o)
    known = None
    if chosen is not None:
        known = _known(ledger, server, task, chosen)
        before = known or server.chosen.get(chosen)
        if (before is not None and before.posts) or ledger.homes.get(chosen, server.url) != server.url:
            text = "the same prompt id was posted again"
            ledger.find("resubmitted", position, o.at, text, task=before, prompt_id=chosen)
    if known is None or known.state is State.REJECTED:  # of a refused POST nothing runs: its id is free (P9)
        known = task
        ledger.add(task, server, position, o.at)
    elif not known.posts:
        _take_submission(ledger, known, submission, o)
    known.posts += 1
    question.task = known
    replay_waiting(ledger, known)


def _known(ledger: Ledger, server: Server, task: Task, prompt_id: str) -> Task | None:
    """The task under this id; one that another window merely overheard was never its own (R3.1)."""
    known = server.tasks.get(prompt_id)
    if known is None or known.posts or known.window in (task.window, task.client_id):
        return known
    ledger.forget(known, server)
    del server.tasks[prompt_id]
    text = "heard about a task of another window"
    window, url, position = known.window, server.url, known.first_position
    ledger.find("foreign-message", position, known.last_sign, text, window=window, server=url, prompt_id=prompt_id)
    return None


def _take_submission(ledger: Ledger, task: Task, submission: evidence.Submission, o: seen.Request) -> None:
    task.window = o.window if o.window is not None else submission.client_id
    task.client_id = submission.client_id
    task.submitted_at = o.at
    task.submitted_order = ledger.order
    task.sinks = submission.sinks() - task.done if submission.prompt else None
    task.must = submission.must_run() if submission.prompt else set()


def _post_answered(ledger: Ledger, question: Question, position: int, o: seen.Response) -> None:
    task = question.task
    if task is None:
        return
    accepted = wire.body(o.data.body, evidence.Accepted) if o.data.status == 200 else None
    if accepted is not None:
        _accept(ledger, question, task, accepted, position, o.at)
    elif o.data.status in REFUSED:
        refusal = wire.body(o.data.body, evidence.Refusal)
        failure = refusal.failure() if refusal else Failure(message=f"HTTP {o.data.status}")
        task.error = task.error or failure
        task.point_to_end("response", o.at) if task.state in (State.SUBMITTING, State.UNCERTAIN) else None
        settle_if_refused(ledger, task, position, o.at)
    else:
        _doubt(ledger, task, position, o.at)


def settle_if_refused(ledger: Ledger, task: Task, position: int, at: float) -> None:
    if task.state in (State.SUBMITTING, State.UNCERTAIN):
        settle(ledger, task, State.REJECTED, "verified", "response", position, at)
    else:
        move(ledger, task, Signal.REJECT, "response", position, at)


def _doubt(ledger: Ledger, task: Task, position: int, at: float) -> None:
    """It may have been accepted: look before anything else (P11)."""
    task.known_order = task.known_order or ledger.order
    move(ledger, task, Signal.DOUBT, "response", position, at)
    if not task.settled:
        ask_queue(ledger, task, at)


def _accept(
    ledger: Ledger, question: Question, task: Task, accepted: evidence.Accepted, position: int, at: float
) -> None:
    server, chosen, given = question.server, task.prompt_id, accepted.prompt_id
    if chosen == given:
        if task.posts:
            server.honours_ids = True
    elif chosen is not None and task.known_order:  # the id was posted twice, and each POST got an id of its own
        task = _second(ledger, task, server, position, at)
        task = _rebind(ledger, task, server, given)
    else:
        if chosen is not None:  # the one in the answer is the only one that exists (P10)
            server.honours_ids = False
            server.chosen[chosen] = task
            if server.tasks.get(chosen) is task:
                del server.tasks[chosen]
                ledger.homes.pop(chosen, None)
        task = _rebind(ledger, task, server, given)
    question.prompt_id = given
    task.known_order = ledger.order
    task.last_sign = at
    dropped = accepted.dropped()
    if dropped:
        text = f"accepted without node {', '.join(sorted(dropped)[:5])}"
        ledger.find("partial-accept", position, at, text, task=task)
        task.must.clear()
        if task.sinks is not None:
            task.sinks -= dropped
    move(ledger, task, Signal.ACCEPT, "response", position, at)
    replay_waiting(ledger, task)
    task.conclude()


def _second(ledger: Ledger, first: Task, server: Server, position: int, at: float) -> Task:
    task = Task(server=server.url, window=first.window, client_id=first.client_id, posts=1)
    task.submitted_at, task.submitted_order = first.submitted_at, first.submitted_order
    first.posts = 1
    ledger.add(task, server, position, at)
    return task


def _rebind(ledger: Ledger, task: Task, server: Server, given: str) -> Task:
    """Give the task its id; if its frames were adopted before the answer came (P12), they are one."""
    adopted = _known(ledger, server, task, given)
    if adopted is None or adopted.posts:
        ledger.bind(task, server, given)
        return task
    adopted.window, adopted.client_id, adopted.posts = task.window, task.client_id, task.posts
    adopted.submitted_at, adopted.submitted_order = task.submitted_at, task.submitted_order
    if not adopted.settled:
        reached = adopted.reached
        adopted.sinks, adopted.must = task.sinks, task.must - reached
        if adopted.sinks is not None:
            adopted.sinks -= adopted.done
            adopted.reached = adopted.sinks & reached
    ledger.forget(task, server)
    for chosen, meant in list(server.chosen.items())[-1:]:
        if meant is task:
            server.chosen[chosen] = adopted
    return adopted


# acts


def _act(ledger: Ledger, question: Question, position: int, o: seen.Request) -> None:
    """Remember who interrupted or removed what: if a task vanishes, it was somebody (P27, P30, P31)."""
    ids: frozenset[str] | None = None
    kinds = {"act-interrupt": ("interrupt",), "act-cancel": ("interrupt", "delete"), "act-queue": ("delete",)}
    if question.kind == "act-interrupt":
        interrupt = wire.body(o.data.body, evidence.Interrupt)
        ids = frozenset({interrupt.prompt_id}) if interrupt and interrupt.prompt_id is not None else None
    elif question.kind == "act-cancel":
        ids = frozenset({question.prompt_id or ""})
    else:
        removal = wire.body(o.data.body, evidence.Removal) or evidence.Removal()
        ids = None if removal.clear else frozenset(removal.delete or ())
    for kind in kinds.get(question.kind, ("clear-history",)):
        question.act = Act(kind, o.window, ids, ledger.order, position)
        ledger.remember_act(question.server, question.act)


# answers about tasks


def _history_answered(ledger: Ledger, question: Question, raw: Raw, position: int, at: float) -> None:
    records = wire.body(raw, dict[str, evidence.Record])
    if records is None:
        return _unreachable(ledger, question, at)
    server = question.server
    for prompt_id, record in records.items():
        task = _bound_here(ledger, server, prompt_id, question.window, position, at, "answered")
        if task is not None:
            task.last_sign = at
            moved(ledger, task, position, at)
            weigh(ledger, task, record, "history", position, at)
    asked = server.tasks.get(question.prompt_id or "")
    if asked is not None and question.prompt_id not in records and not asked.settled:
        _empty(ledger, asked, question, position, at)


def _empty(ledger: Ledger, task: Task, question: Question, position: int, at: float) -> None:
    """`{}` alone says nothing (P26); after a queue without it, it is one proof of absence (P29)."""
    task.asked, task.looks = False, task.looks + 1
    if task.confidence == "stated" and not task.heard_null and task.client_id is not None:
        ledger.find("history-early", position, at, "the record is written after the end is told", task=task)
    if task.state in (State.SUBMITTING, State.UNCERTAIN) and not (task.known_order and question.server.honours_ids):
        return ask_queue(ledger, task, at)  # a prompt accepted under another id would be absent too (P10)
    since = max(task.known_order, task.absent_order)
    looks = [q for q in question.server.queues if q.asked > since and q.answered < question.order]
    if looks and task.prompt_id not in looks[-1].ids:
        task.absences += 1
        task.absent_order, task.absent_at, task.absent_position = ledger.order, at, position
        ear = ledger.ear(task)
        if ear is None or ear.read_to >= at:
            judge_absence(ledger, task)
        elif task not in ear.absent:
            ear.absent.append(task)
    if not task.settled:
        ask_queue(ledger, task, at)


def _queue_answered(ledger: Ledger, question: Question, raw: Raw, position: int, at: float) -> None:
    listed = evidence.queue(raw)
    if listed is None:
        return _unreachable(ledger, question, at)
    server = question.server
    running, pending = listed
    server.queues.append(QueueAnswer(question.order, ledger.order, frozenset(running + pending)))
    for ids, signal in ((running, Signal.RUN), (pending, Signal.QUEUE)):
        for prompt_id in ids:
            task = _bound_here(ledger, server, prompt_id, question.window, position, at, "listed")
            if task is not None and not task.settled:
                _listed(ledger, task, signal, "queue", position, at)


def _listed(ledger: Ledger, task: Task, signal: Signal, name: str, position: int, at: float) -> None:
    task.last_sign = at
    task.absences = 0
    if signal is Signal.RUN:
        moved(ledger, task, position, at)
        if task.over:
            signal = Signal.TRAIL  # it is listed until its record is written (P21)
    move(ledger, task, signal, name, position, at)


def _jobs_answered(ledger: Ledger, question: Question, raw: Raw, position: int, at: float) -> None:
    many = wire.body(raw, evidence.Jobs) if question.kind == "jobs" else None
    one = wire.body(raw, evidence.Job) if question.kind == "job" else None
    jobs = many.jobs if many else [one] if one else []
    for job in jobs:
        prompt_id = job.id if job.id is not None else question.prompt_id
        if prompt_id is None:
            continue
        task = _bound_here(ledger, question.server, prompt_id, question.window, position, at, "answered")
        if task is None or task.settled:
            continue
        outcome = job.decided()
        if outcome is not None:
            task.last_sign = at
            moved(ledger, task, position, at)
            task.outputs = evidence.outputs_of(job.outputs, ledger.policy.outputs)
            task.error = evidence.failure_of(job.execution_error) if job.execution_error else task.error
            settle(ledger, task, outcome, "verified", "jobs", position, at)
        elif job.status in ("pending", "in_progress"):
            signal = Signal.RUN if job.status == "in_progress" else Signal.QUEUE
            _listed(ledger, task, signal, "jobs", position, at)
