"""Absence: what may be concluded from it, after how many rounds of queue and history, and how far apart (P29).

Absence is no evidence of what became of a task. It is believed if it lasts, if the server's counts agree with it, and
if its answers come from one server; and it stays a conclusion, which late evidence takes back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Raw

from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.settlement import reopen_conclusion, request_queue, request_record, settle
from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.ending import Cause, Ending, Source
from comfy_fsm.core.registry.registry import Act, Question, Registry, Server, Socket
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.registry.task_parts import AbsenceRound
from comfy_fsm.core.wire.status import remaining

__all__ = [
    "AT_ONCE", "DISPUTED", "LONE", "ask_again", "is_proved", "judge_absence", "judge_all", "note_absent", "note_count",
    "note_empty", "refute_absence", "refute_by_record",
]  # fmt: skip

LONE, _EXPLAINED, DISPUTED = 5.0, 1 / 3, 10.0
"""Factors for how long an absence must last that nothing else agrees with, that an act or an outage explains, or that
an older count disputes."""
AT_ONCE = 64
"""Tasks whose absence is judged in one turn."""
_OWED = 10
"""Attempts to fetch the record of a task that was settled as stated."""


def note_empty(registry: Registry, task: Task, question: Question) -> None:
    """Note an empty answer: `{}` alone proves nothing (P26); after a queue without the prompt, it is one round of
    absence (P29). So is the 404 of a single job, for which the server reads both, in this order (P38)."""
    if task.inquiry.take_confirming() and question.kind != "job" and not _is_looked_for(task, question):
        return  # asked by itself, an empty answer proves nothing (P26), and causes no query
    task.inquiry.fail()
    registry.counters.looks["absent"] += 1
    task.inquiry.deny(registry.position)
    if task.confidence == "stated" and not task.run.null_received and task.client_id is not None:
        registry.report(Code.HISTORY_EARLY, "the record is written after the end is reported", task)
    chosen = task.nameless and task.posts and not task.unsent
    if chosen and not (task.known_order and question.server.honours_ids):
        return request_queue(registry, task)  # a prompt accepted under another id would be absent too (P10)
    note_absent(registry, task, question)


def note_absent(registry: Registry, task: Task, question: Question) -> None:
    _note_round(registry, task, question)
    if not task.settled:
        agreed = _trusted(registry, task).agreed  # a look is made as soon as it can decide, and a moment more
        before = agreed[0].at + 1.01 * registry.policy.absence_seconds if agreed else math.inf
        request_queue(registry, task, before)


def ask_again(registry: Registry, task: Task) -> None:
    """Request the record of a task that was settled as stated: it may still be written."""
    task.inquiry.fail()
    task.inquiry.owe(owed=task.inquiry.fruitless < _OWED)
    request_record(registry, task)


def _note_round(registry: Registry, task: Task, question: Question) -> None:
    """Note a history without the record: with a query of the queue before it, that is one round."""
    look = _round(registry, task, question)
    if look is None:
        return
    task.inquiry.add_round(look)
    server = registry.server(task.server)
    server.absent[task.number] = task
    registry.absent[server.url] = server
    judge_absence(registry, task)
    if not task.settled:
        kept = _trusted(registry, task).rounds
        first = kept[0].at if kept else look.at
        due = first + registry.policy.settle_seconds
        server.absent_due, server.turn_due = min(server.absent_due, due), min(server.turn_due, due)


def _round(registry: Registry, task: Task, question: Question) -> AbsenceRound | None:
    """Return the round that this answer completes, if it does. A query counts only if it was sent after the POST was
    over, and after the time in which the server may still take it up."""
    if task.posts and not task.known_order:
        return None
    since = max(task.known_order, task.inquiry.rounds[-1].order if task.inquiry.rounds else 0)
    queues = (queue for name in question.server.names() for queue in name.queues)
    looks = [q for q in queues if q.asked > since and q.answered < question.order]
    look = max(looks, key=lambda look: look.at, default=None)  # another window may report an older answer last
    asked, rows = (look.asked_at, look.rows) if look is not None else (question.at, None)
    if look is None or task.prompt_id in look.ids:
        if question.kind != "job" or question.order <= since:
            return None
        asked, rows = question.at, None  # a missing job is in neither, by one answer (P38)
    if (
        task.answer.over_at is not None
        and asked < task.answer.over_at + registry.policy.post_seconds
        and not task.accepted
    ):
        return None
    return AbsenceRound(registry.order, asked, registry.now, registry.position, rows)


def _is_looked_for(task: Task, question: Question) -> bool:
    """Return whether the queue was asked before this, since the last round: only then an empty record counts."""
    since = max(task.known_order, task.inquiry.rounds[-1].order if task.inquiry.rounds else 0)
    queues = (queue for name in question.server.names() for queue in name.queues)
    return any(q.asked > since and q.answered < question.order and task.prompt_id not in q.ids for q in queues)


def note_count(registry: Registry, question: Question, raw: Raw) -> None:
    """Note the answer to `GET /prompt`, which counts what the queue may hide."""
    count = remaining(raw)
    if count is not None:
        question.server.counts.append((question.at, registry.now, count))


def refute_absence(registry: Registry, task: Task, question: Question, name: Source) -> None:
    """Note that an absent task is listed: answers without it prove nothing any more, and a conclusion is taken back.

    Unless the answer is older than they are: that of another window may be reported late.
    """
    last = task.inquiry.rounds[-1] if task.inquiry.rounds else None
    if last is not None and registry.now < last.at:
        return
    newer = last is None or question.at > last.at
    in_time = last is not None and newer and task.accepted and last.order > task.known_order  # else its POST came late
    if in_time and _trusted(registry, task).rounds:  # otherwise its queue hid what was counted all the while
        question.server.mixed = True
        registry.report(Code.MIXED_SERVERS, "in neither queue nor history, and then shown again", task)
    if task.concluded and newer:
        reopen_conclusion(registry, task, f"a listing by the {name}")
    if not task.settled:
        task.inquiry.forget_rounds()
        registry.server(task.server).absent.pop(task.number, None)


def refute_by_record(registry: Registry, task: Task, question: Question) -> None:
    """Report that several servers answer, if a task is recorded that was in neither queue nor history time and again,
    while no end was reported: one server writes the record before its queue drops the prompt (P21)."""
    if task.settled or task.stated is not None or not task.accepted:
        return
    kept = _trusted(registry, task).rounds
    if len(kept) >= registry.policy.absences and kept[0].order > task.known_order and question.at > kept[-1].at:
        question.server.mixed = True
        registry.report(Code.MIXED_SERVERS, "in neither queue nor history, and then recorded there", task)


def judge_all(registry: Registry, server: Server, *, ticked: bool = False) -> None:
    """Judge the absences that can be judged now that a socket was read further, or time passed. Of many, each turn
    takes the next, and the rest are due at once, so that no entry holds up the fold for long."""
    patience, now = registry.policy.settle_seconds, registry.now
    absent, turn = server.absent, server.turn
    if not turn:
        turn.extend(reversed(absent.values()))
        server.turn_due = float("inf")
    for _ in range(min(len(turn), AT_ONCE)):
        task = turn.pop()
        if task.number not in absent:
            continue
        judge_absence(registry, task, ticked=ticked)
        if not task.settled:
            kept = _trusted(registry, task).rounds
            if kept and kept[0].at + patience > now:
                server.turn_due = min(server.turn_due, kept[0].at + patience)
    server.absent_due = now if turn else server.turn_due


def judge_absence(registry: Registry, task: Task, *, ticked: bool = False, closing: bool = False) -> None:
    """Conclude what the rounds allow. `ticked`: time passed; `closing`: no further query will come."""
    proof = _proof(registry, task, closing=closing)
    if proof is None or not (closing or _is_read(registry, task, proof.rounds, ticked=ticked)):
        return
    last = proof.rounds[-1]
    with registry.as_of(last.position, last.at):
        if task.stated is not None:
            _stand(registry, task, proof.forgotten)
        else:
            _conclude(registry, task, proof.deletion, proof.forgotten)


def is_proved(registry: Registry, task: Task) -> bool:
    """Return whether the rounds suffice to settle the task, unless its socket still holds what refutes them."""
    return task.settled or _proof(registry, task) is not None


class _Proof(NamedTuple):
    """Rounds that suffice to settle a task, and what explains its absence."""

    rounds: list[AbsenceRound]
    deletion: Act | None
    forgotten: Cause | None


def _proof(registry: Registry, task: Task, *, closing: bool = False) -> _Proof | None:
    if task.settled or not task.inquiry.rounds:
        return None
    server = registry.server(task.server)
    deletion = _deletion(server, task) if task.state is State.PENDING else None
    least = 1 if deletion is not None and task.stated is None else registry.policy.absences
    kept = _trusted(registry, task)
    if len(kept.rounds) < least:
        return None
    proof = _Proof(kept.rounds, deletion, _forgotten(server, task, kept.rounds[0]))
    if task.stated is not None:
        return proof
    explained = task.unsent or (task.answer.put_off and not task.accepted) or bool(deletion or proof.forgotten)
    if server.is_mixed and not (task.unsent or (explained and closing)):
        return None  # the server that denies it may be another than the one that has it
    agreed = explained and (closing or kept.rounds[-1] in kept.agreed)
    return proof if agreed or _lasts(registry.policy, kept, explained=explained) else None


def _lasts(policy: Policy, kept: _Kept, *, explained: bool) -> bool:
    """Return whether the absence lasted long enough, over all of the rounds or over those that a count agrees with."""
    span = policy.absence_seconds
    if kept.disputed:
        return _spread(kept.rounds) >= DISPUTED * span
    if len(kept.agreed) >= policy.absences and _spread(kept.agreed) >= span:
        return True
    return _spread(kept.rounds) >= span * (_EXPLAINED if explained else LONE)


def _spread(rounds: list[AbsenceRound]) -> float:
    """Return for how many seconds it was surely absent: an answer may be older than its arrival, by the time it
    took."""
    return max(0.0, rounds[-1].asked - rounds[0].at)


def _stand(registry: Registry, task: Task, forgotten: Cause | None) -> None:
    """Settle the task as it was stated: that stands, though no record confirms it."""
    outcome = task.stated or State.COMPLETED
    if outcome is not State.CANCELLED:
        task.end.blame(forgotten)
    settle(registry, task, Ending(outcome, task.confidence or "stated"))
    text = "absent from queue and history: nothing confirms what was reported"
    registry.report(Code.UNVERIFIED, text, task)


def _conclude(registry: Registry, task: Task, deletion: Act | None, forgotten: Cause | None) -> None:
    """Conclude the likeliest outcome, as none was stated, and mark it as concluded (P27, P30)."""
    if task.state is State.PENDING and (deletion is not None or forgotten is None):
        task.end.blame(deletion.cause(task.prompt_id) if deletion is not None else None)
        settle(registry, task, Ending(State.CANCELLED, "inferred", "queue"))
        if deletion is not None and deletion.window != task.window:
            text = f"removed from the queue by window {deletion.window}"
            with registry.as_of(deletion.position, deletion.at):
                registry.report(Code.FOREIGN_DELETE, text, task)
    else:
        if forgotten is not None and not task.unsent:
            task.end.blame(forgotten)
        settle(registry, task, Ending(State.LOST, "inferred", "queue"))


# counts that agree, and counts that do not


class _Kept(NamedTuple):
    """Rounds of a task that may prove its absence."""

    rounds: list[AbsenceRound]
    """Rounds since the last one that a count refutes."""
    agreed: list[AbsenceRound]
    """Those of them that a count agrees with."""
    disputed: bool
    """An older count contradicts the last of them."""


def _trusted(registry: Registry, task: Task) -> _Kept:
    """Return the rounds that may prove something. A queue that hides rows, or that of another server, lists fewer than
    the server counts; and a round in which a server that counts left that question unanswered proves nothing."""
    kept, hidden, server = _Kept([], [], False), 0.0, registry.server(task.server)
    known = any(name.shown_order for name in server.names())
    counts = any(name.counts for name in server.names())
    for each in task.inquiry.rounds:
        heard, answered = _counted(registry, task, each.asked, each.at)
        told = max((count for count in (heard, answered) if count is not None), default=None)
        fewer = told is not None and each.rows is not None and told > each.rows
        apart = heard is not None and answered is not None and answered < heard
        if fewer and _is_outdated(registry, task, each):
            kept = _Kept([*kept.rounds, each], kept.agreed, True)
        elif fewer or (apart and each.rows is not None):
            hidden, kept = hidden or each.at, _Kept([], [], False)
            if each.at - hidden >= registry.policy.absence_seconds:
                text = f"its queue lists {each.rows}, while {told} are counted: rows are hidden, or two servers answer"
                if not fewer:
                    text = f"it counts {answered}, while its socket reports {heard}: two servers answer"
                with registry.as_of(each.position, each.at):
                    registry.report(Code.MIXED_SERVERS, text, task)
        elif task.stated is not None:
            kept.rounds.append(each)
        elif each.asked >= task.last_sign and (told == 0 or (each.rows is not None and not (told is None and counts))):
            # Answers also agree with each other at a server that never had anything of ours: it may be another one.
            agrees = told is not None and (heard is not None or known)
            kept = _Kept([*kept.rounds, each], [*kept.agreed, each] if agrees else kept.agreed, False)
    return kept


def _counted(registry: Registry, task: Task, since: float, until: float) -> tuple[int | None, int | None]:
    """Return how many prompts were pending or running during the query: by its own socket, and by `GET /prompt`.

    The larger of the two is to be believed: a socket may have gone deaf, and an answer may be of another server.
    """
    server, own_socket = registry.server(task.server), registry.socket_of(task)
    told = _least(own_socket, since, until) if own_socket is not None and _hears(own_socket, task) else None
    if told is None:
        sockets = (socket for name in server.names() for socket in name.counting.values() if socket is not own_socket)
        others = ((socket.counted_at, _least(socket, since, until)) for socket in sockets if _hears(socket, task))
        told = max(((at, count) for at, count in others if count is not None), default=(0.0, None))[1]
    answered = (count for name in server.names() for count in name.counts)
    asked = min((n for begun, at, n in answered if begun <= until and since <= at), default=None)
    return told, asked


def _is_outdated(registry: Registry, task: Task, look: AbsenceRound) -> bool:
    """Return whether the last number of the socket is older than an answer that agrees with this round: a `status` may
    be lost.

    Only where that server showed the task before, so that it is not another one behind the same address.
    """
    server, own_socket = registry.server(task.server), registry.socket_of(task)
    if own_socket is None or not own_socket.open or not own_socket.counts or not task.shown_order or server.is_mixed:
        return False
    last = own_socket.counts[-1][0]
    answers = (count for name in server.names() for count in name.counts)
    within = [n for begun, at, n in answers if last < begun <= look.at and look.asked <= at]
    return bool(within) and look.rows is not None and max(within) <= look.rows


def _hears(own_socket: Socket, task: Task) -> bool:
    """Return whether the socket reported a number since the POST, which changes the queue, as every socket is told: one
    that did not is deaf, or belongs to another server.

    Its greeting does not count: a deaf socket is greeted, too (P3).
    """
    return bool(own_socket.counts) and own_socket.counted_at >= (task.submitted_at or 0.0)


def _least(socket: Socket, since: float, until: float) -> int | None:
    """Return the least number in force between the two moments, by the `status` frames of one socket."""
    before = None
    within: list[int | None] = []
    for at, count in socket.counts:
        if at <= since:
            before = count
        elif at <= until:
            within.append(count)
    return min((count for count in (before, *within) if count is not None), default=None)


def _is_read(registry: Registry, task: Task, kept: list[AbsenceRound], *, ticked: bool) -> bool:
    """Return whether no frame can be on its way that was sent before the task vanished: what is read later may be sent
    earlier."""
    own_socket = registry.socket_of(task)
    over = kept[0].at + registry.policy.settle_seconds
    if own_socket is None or own_socket.read_to >= max(over, kept[-1].at) or (ticked and registry.now >= over):
        return True
    told = _least(
        own_socket, kept[-1].asked, kept[-1].at
    )  # frames come in order: those about the task came before that number
    most = max(_since(own_socket.counts, task.submitted_at or 0.0), default=0)
    return own_socket.read_to >= kept[-1].at and told is not None and told < most


def _since(counts: Iterable[tuple[float, int | None]], begun: float) -> Iterable[int]:
    return (count for at, count in counts if at >= begun and count is not None)


# acts and outages that explain it


def _deletion(server: Server, task: Task) -> Act | None:
    """Return the act that removed it while it was pending: one of its owner, if there is one, else of anybody."""
    acts = [act for act in server.acts if act.kind == "delete" and _is_later(act, task) and act.hits(task.prompt_id)]
    own = [act for act in acts if act.window == task.window]
    return next(iter(own or acts), None)


def _is_later(act: Act, task: Task) -> bool:
    """Return whether the act came after its POST: in the order of the entries or, as another window may report late, by
    its time."""
    return act.order > task.submission.order or act.at > (task.submitted_at or act.at)


def _forgotten(server: Server, task: Task, first: AbsenceRound) -> Cause | None:
    """Return the outage or the clearing of the history after which the server may have forgotten that it ran (P27).

    What came after it was first absent explains nothing, in whichever order the two were reported.
    """
    since = max(task.submission.order, task.shown_order)  # an outage before it was last listed lost nothing
    clears = (act for act in server.acts if act.kind == "clear-history" and act.order > since)
    return server.outage_since(task, first.at) or next((act.cause(task.prompt_id) for act in clears), None)
