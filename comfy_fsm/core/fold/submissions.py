"""Submissions: a POST and its answer decide which task it is, under which id, and whether it was accepted at all.

The id in the answer is the task's (P10); an answer that says nothing leaves a doubt, which only a query can settle
(P11).
"""

from __future__ import annotations

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Failure
from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.frames.attribution import replay_waiting
from comfy_fsm.core.fold.settlement import apply_signal, reopen_conclusion, request_queue, settle
from comfy_fsm.core.fold.silence import note_answer
from comfy_fsm.core.machine import Signal, State
from comfy_fsm.core.registry.ending import Ending
from comfy_fsm.core.registry.oddities import note_oddities
from comfy_fsm.core.registry.registry import Question, Registry, Server, Subject, Window
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.registry.task_parts import Submission
from comfy_fsm.core.wire import bodies, codec, refusals
from comfy_fsm.core.wire.fieldwise import read

__all__ = [
    "abandon_questions", "adopt_marked", "awaits_marker", "fold_acceptance", "fold_submission", "mark_uncertain",
    "note_post_over",
]  # fmt: skip

_GATEWAY = frozenset({408, 499, 502, 503, 504, 520, 521, 522, 523, 524})
"""Statuses of gateways: what they passed on may still be under way."""


def fold_submission(registry: Registry, question: Question, o: seen.Request) -> None:
    submission = codec.body(o.data.body, bodies.Submission) or bodies.Submission()
    server, chosen = question.server, submission.prompt_id
    registry.counters.submissions += 1
    task = Task(server=server.url, prompt_id=chosen)
    _take_submission(registry, task, submission, o)
    known = None
    if chosen is not None:
        known = _known(registry, server, task, chosen)
        before = known or server.chosen.get(chosen)
        home = known.server if known is not None else server.url
        if (before is not None and before.posts) or registry.homes.get(chosen, home) != home:
            text = "the same prompt id was posted again"
            registry.report(Code.RESUBMITTED, text, before or Subject(prompt_id=chosen))
    if known is None or known.state is State.REJECTED:  # of a refused POST nothing runs: its id is free (P9)
        known = task
        registry.add(task, server)
    elif not known.posts:
        binding = registry.server(known.server)
        binding.unindex(known)
        registry.relieve(known)
        _take_submission(registry, known, submission, o)
        binding.index(known)
        registry.owe(known)
    known.count_post(registry.backlog.take(chosen), registry.backlog.take_tag(chosen))
    question.task = known
    replay_waiting(registry, known)


def _known(registry: Registry, server: Server, task: Task, prompt_id: str) -> Task | None:
    """Return the task with this id; one that another window adopted from overheard frames is dropped: it was never its
    own."""
    known = registry.task_at(server, prompt_id)
    if known is None or known.posts or known.window in (task.window, task.client_id):
        return known
    home = registry.server(known.server)
    registry.forget(known, home)
    del home.tasks[prompt_id]
    text = "received about a task of another window"
    with registry.as_of(known.first_position, known.last_sign):
        registry.report(Code.FOREIGN_MESSAGE, text, Subject(known.window, server.url, prompt_id))
    return None


def _take_submission(registry: Registry, task: Task, submission: bodies.Submission, o: seen.Request) -> None:
    window, client_id = o.window if o.window is not None else submission.client_id, submission.client_id
    client_id = window if client_id == window else client_id  # one text in memory, since most name themselves
    task.post(window, client_id, Submission(registry.now, registry.position, registry.order))
    sinks, remaining = (submission.sinks(), submission.must_run()) if submission.prompt else (None, set())
    task.plan(sinks, remaining, submission.image_nodes())


def fold_acceptance(registry: Registry, question: Question, task: Task, o: seen.Response) -> None:
    status, raw = o.data.status, o.data.body
    accepted, odd = read(raw, refusals.Accepted) if 200 <= status < 300 else (None, ())
    if accepted is not None:
        note_oddities(registry, task, "the answer to its POST", odd)
        _accept(registry, question, task, accepted)
    elif refusals.is_refusal(status):
        error = task.error or _words_of(o.data)
        task.fail(error)
        if error.type is not None or error.message is not None:
            note_answer(question.server, registry.now)
        task.answer.refuse(status)
        if task.unanswered:
            task.note_end_source("response", registry.now)
        _refuse(registry, task)
    else:
        task.answer.doubt(_words_of(o.data), put_off=refusals.puts_off(status, o.data.retry_after))
        if status in _GATEWAY and not task.answer.put_off:
            note_post_over(registry, task)
        mark_uncertain(registry, task, f"HTTP {status}")


def _words_of(answer: seen.ResponseData) -> Failure:
    """Return what an answer says that accepts nothing."""
    if 300 <= answer.status < 400 and isinstance(answer.location, str) and answer.location:
        return refusals.redirect(answer.status, answer.location)
    return (refusals.misfit if answer.status < 300 else refusals.refusal)(answer.body, answer.status)


def _refuse(registry: Registry, task: Task) -> None:
    if task.unanswered:
        settle(registry, task, Ending(State.REJECTED, "verified", "response"))
    else:
        apply_signal(registry, task, Signal.REJECT, "response")


def note_post_over(registry: Registry, task: Task) -> None:
    """Note that its POST ended without an answer, or with one of a gateway: its server may take it up all the same."""
    task.answer.end(registry.now)


def mark_uncertain(registry: Registry, task: Task, what: str) -> None:
    """Note that the prompt may have been accepted: ask before anything else (P11)."""
    task.end.blame(task.cause or registry.cause("unanswered", what))
    task.note_known(task.known_order or registry.order)
    registry.counters.uncertain += apply_signal(registry, task, Signal.DOUBT, "response")
    if not task.settled:
        request_queue(registry, task)


def abandon_questions(registry: Registry, window: Window) -> None:
    """Give up the questions of a window whose process is gone: no answer will come."""
    pending, window.pending = window.pending, {}
    for question in pending.values():
        question.answered = True
        if question.task is not None:
            note_post_over(registry, question.task)
            mark_uncertain(registry, question.task, "its process ended")


def _accept(registry: Registry, question: Question, task: Task, accepted: refusals.Accepted) -> None:
    server, chosen, given = question.server, task.prompt_id, accepted.prompt_id
    note_answer(server, registry.now)
    if chosen == given:
        server.honours_ids = True
    elif chosen is not None and task.known_order:  # the id was posted twice, and each POST was given an id of its own
        task = _second(registry, task, server)
        task = _rebind(registry, task, server, given)
    else:
        task = _rename(registry, task, server, given)
    question.prompt_id = given
    task.note_known(registry.order)
    task.note_sign(registry.now)
    dropped = accepted.dropped()
    if dropped:
        text = f"accepted without node {', '.join(sorted(dropped)[:5])}"
        registry.report(Code.PARTIAL_ACCEPT, text, task)
        task.drop(dropped)
    apply_signal(registry, task, Signal.ACCEPT, "response")
    replay_waiting(registry, task)
    task.conclude()


def _second(registry: Registry, first: Task, server: Server) -> Task:
    task = first.split()
    registry.add(task, server)
    return task


def _rename(registry: Registry, task: Task, server: Server, given: str) -> Task:
    """Give the task the id that the server chose in place of ours: no other exists (P10)."""
    chosen = task.prompt_id
    if chosen is None:
        return _rebind(registry, task, server, given)
    server.honours_ids = False
    if server.tasks.get(chosen) is task:
        del server.tasks[chosen]
        registry.homes.pop(chosen, None)
    registry.chosen.add(chosen)
    bound = server.chosen[chosen] = _rebind(registry, task, server, given)
    return bound


def _rebind(registry: Registry, task: Task, server: Server, given: str) -> Task:
    """Give the task its id; if its frames were adopted as a task before the answer came (P12), the two become one."""
    adopted = _known(registry, server, task, given)
    if adopted is None or adopted.posts:
        registry.bind(task, server, given)
        return task
    home = registry.server(adopted.server)
    home.unindex(adopted)
    registry.relieve(adopted)
    adopted.absorb(task)
    home.index(adopted)
    registry.owe(adopted)
    registry.forget(task, server)
    return adopted


def adopt_marked(registry: Registry, server: Server, given: str, mark: str | None) -> None:
    """Take a prompt that bears our mark for the one whose POST was never answered, whatever its id is here (P10); even
    where that was called lost, which was only concluded."""
    task = registry.task_at(server, mark)
    if task is None or mark == given or not (task.unanswered or task.may_have_another_id):
        return
    home, late, lost = registry.server(task.server), task.settled, task
    registry.withdraw_finding(Code.LOST, lost)
    task = _rename(registry, task, home, given)
    if late and task is lost:
        reopen_conclusion(registry, task, "a prompt that bears its mark")
    elif late:  # frames reported on it meanwhile, under the id that it has
        home.unfound.pop(lost.number, None)
        registry.relieve(task)
        task.share_delivery(lost)
        registry.owe(task)
        text = f"a prompt that bears its mark came after it was concluded to be {lost.state}"
        registry.report(Code.LATE_EVIDENCE, text, task)
        registry.counters.reopened += 1
    task.note_known(task.known_order or registry.order)
    apply_signal(registry, task, Signal.ACCEPT, "queue")
    replay_waiting(registry, task)


def awaits_marker(server: Server) -> bool:
    """Return whether a prompt under any id may be one of ours, by the mark that it bears."""
    names = server.names()
    return any(name.unfound or name.unanswered for name in names)
