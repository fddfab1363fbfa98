"""Rules of a diagnosis: tables of what is so, what is missing, and what to do next.

A row applies in its states if its question is answered with yes. Of `SAYS` the first that applies is used, so the last
one of each state always applies; of the other tables, all that apply. A sentence names words of the facts as
`{c.word}`: what a server said is put in, and never read as a part of the sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from comfy_fsm.core.explain.facts import Facts, Places
from comfy_fsm.core.findings import Code
from comfy_fsm.core.machine import OPEN, SETTLED, State
from comfy_fsm.core.registry.ending import CauseKind

__all__ = ["MISSING", "NEXT", "SAYS", "Rule", "StepRule", "applies", "sentence"]

_States = tuple[State, ...]
_Condition = Callable[[Facts], bool]
_Where = Callable[[Facts], Places]

_SUBMITTING, _UNCERTAIN, _PENDING, _IN_PROGRESS, _ENDING = ((state,) for state in OPEN)
_COMPLETED, _FAILED, _CANCELLED = (State.COMPLETED,), (State.FAILED,), (State.CANCELLED,)
_REJECTED, _LOST, _EXPIRED = (State.REJECTED,), (State.LOST,), (State.EXPIRED,)
_UNKNOWN = _SUBMITTING + _UNCERTAIN
_WAITING_OR_RUNNING = _PENDING + _IN_PROGRESS
_ACCEPTED = _PENDING + _IN_PROGRESS + _ENDING
_RAN = _COMPLETED + _FAILED + _CANCELLED
_REFUSED = _FAILED + _REJECTED
_NEVER_RAN = _REJECTED + _CANCELLED + _LOST
_ANY = (*OPEN, *SETTLED)


class Rule(NamedTuple):
    """Rule: in these states, if this is so, say this sentence and cite these positions."""

    states: _States
    when: _Condition
    where: _Where
    text: str


class StepRule(NamedTuple):
    """Rule for a next step: in these states, if this is so, do this, with this subcommand if there is one."""

    states: _States
    when: _Condition
    command: str
    text: str


def _by(kind: CauseKind, *, own: bool = False) -> _Condition:
    return lambda c: c.caused_by(kind, own=own)


def _found(code: Code) -> _Condition:
    return lambda c: c.found(code)


def _at(code: Code) -> _Where:
    return lambda c: c.at(code)


def _all(*conditions: _Condition) -> _Condition:
    return lambda c: all(condition(c) for condition in conditions)


def _any(*conditions: _Condition) -> _Condition:
    return lambda c: any(condition(c) for condition in conditions)


def _no(condition: _Condition) -> _Condition:
    return lambda c: not condition(c)


_always, _nowhere, _stayed = Facts.always, Facts.nowhere, _no(Facts.moved_on)
_interrupted, _removed = _by("interrupt"), _by("delete")
_meant = _any(_by("interrupt", own=True), _by("delete", own=True))
_blamed = _any(_interrupted, _removed)

SAYS: tuple[Rule, ...] = (
    Rule(_NEVER_RAN, Facts.moved_on, Facts.at_settling,
        "It is proved that it never ran at {c.server}; its job continued as {c.successor}."),
    Rule(_SUBMITTING, _always, Facts.at_post,
        "It was posted to {c.server}, and no answer to its POST was seen."),
    Rule(_UNCERTAIN, Facts.adopted, Facts.at_last,
        "Its own server did not have it and {c.server} did: a recovery bound it there, and it is being looked for."),
    Rule(_UNCERTAIN, Facts.reopened, Facts.at_last,
        "It had been given up, was reopened by a recover command, and is being looked for."),
    Rule(_UNCERTAIN, Facts.followed, Facts.at_first,
        "It is somebody else's prompt, followed from here, and {c.server} has not shown it yet."),
    Rule(_UNCERTAIN, Facts.unsent, Facts.at_doubt,
        "{c.server} never received it: the connection for its POST was refused ({c.how}), so nothing was sent."),
    Rule(_UNCERTAIN, _always, Facts.at_doubt,
        "{c.server} may have accepted it, or not: its POST got no clear answer ({c.how})."),
    Rule(_PENDING, Facts.out, Facts.at_outage,
        "It was waiting in the queue when {c.server} went down ({c.outage}): a restart empties the queue."),
    Rule(_PENDING, Facts.threatened, Facts.at_threat,
        "{c.server} accepted it, and {c.threat} asked for it to be removed again; nothing shows whether it was."),
    Rule(_PENDING, Facts.vanished, Facts.at_query,
        "{c.server} accepted it but no longer lists it: it started or was removed, and nothing shows which."),
    Rule(_PENDING, Facts.behind, Facts.at_standstill,
        "It is waiting at {c.server} behind prompt {c.blocker}, which has been listed as running for {c.standstill}."),
    Rule(_PENDING, _always, Facts.at_last,
        "{c.server} accepted it, and it is waiting: nothing shows that it has started."),
    Rule(_IN_PROGRESS, Facts.out, Facts.at_outage,
        "It was running when {c.server} went down ({c.outage}); nothing reported its end."),
    Rule(_IN_PROGRESS, Facts.vanished, Facts.at_query,
        "It was running at {c.server}, which no longer lists it; nothing reported its end."),
    Rule(_IN_PROGRESS, Facts.addressed_to_nobody, Facts.at_post,
        "It is running at {c.server}, which reports its end to nobody: it was posted without client_id."),
    Rule(_IN_PROGRESS, Facts.deaf, Facts.at_last,
        "It is running at {c.server}, as HTTP shows, but the open socket of its window receives none of it."),
    Rule(_IN_PROGRESS, Facts.dropped, Facts.at_closing,
        "It was running when the socket of its window closed; nothing has reported its end since."),
    Rule(_IN_PROGRESS, Facts.hung_up, Facts.at_outage,
        "It was running when a socket to {c.server} broke off ({c.outage}); nothing is known of it since."),
    Rule(_IN_PROGRESS, Facts.down, Facts.at_last,
        "It is running at {c.server}, as HTTP shows; the socket of its window is closed, and receives nothing."),
    Rule(_IN_PROGRESS, Facts.threatened, Facts.at_threat,
        "It was running at {c.server} when {c.threat} sent an interrupt that may have hit it; its end is unknown."),
    Rule(_IN_PROGRESS, Facts.standing, Facts.at_standstill,
        "Every query for {c.standstill} listed it as running at {c.server}; nothing reported its end."),
    Rule(_IN_PROGRESS, Facts.quiet, _nowhere,
        "It was running at {c.server}, and has shown no sign of life for {c.silence}."),
    Rule(_IN_PROGRESS, _always, Facts.at_last,
        "It is running at {c.server}; nothing has reported its end so far."),
    Rule(_ENDING, Facts.invalid, _at(Code.HISTORY_INCOMPLETE),
        "It ended, but the record that {c.server} returned for it does not validate."),
    Rule(_ENDING, _no(Facts.open_ended), Facts.at_end,
        "It {c.statement}, {c.basis}; no record confirms it yet."),
    Rule(_ENDING, Facts.statusless, Facts.at_end,
        "It ended, but its outcome is unknown: its record has no status, and no frame reported it."),
    Rule(_ENDING, Facts.ended, Facts.at_end,
        "It ended, as {c.source} reported, but its outcome is unknown."),
    Rule(_ENDING, _always, Facts.at_end,
        "All its nodes were reported as done ({c.source}), but its end was not."),
    Rule(_RAN, _found(Code.CONTRADICTION), _at(Code.CONTRADICTION),
        "It counts as {c.task.state}, but the evidence disagrees: {c.dispute}."),
    Rule(_COMPLETED, Facts.verified, Facts.at_settling,
        "It succeeded: the {c.record} of {c.server} says so."),
    Rule(_COMPLETED, Facts.recorded, Facts.at_settling,
        "It succeeded, as far as is known: its record at {c.server} has no status, and nothing reported a failure."),
    Rule(_COMPLETED, _by("clear-history"), Facts.at_cause,
        "It succeeded, {c.basis}, but {c.who} cleared the history before its record was read."),
    Rule(_COMPLETED, _by("outage"), Facts.at_cause,
        "It succeeded, {c.basis}, but {c.server} went down ({c.how}) before its record was read."),
    Rule(_COMPLETED, _always, Facts.at_end,
        "It succeeded, {c.basis}, but its record was gone before anybody read it."),
    Rule(_FAILED, Facts.placed, Facts.at_end,
        "It failed in {c.node}: {c.complaint}"),
    Rule(_FAILED, Facts.complained, Facts.at_end,
        "It failed: {c.complaint}"),
    Rule(_FAILED, _always, Facts.at_end,
        "It failed, and neither a frame nor a record says why."),
    Rule(_REJECTED, Facts.placed, Facts.at_settling,
        "{c.server} refused it at {c.node}, and nothing ran: {c.complaint}"),
    Rule(_REJECTED, _always, Facts.at_settling,
        "{c.server} refused it, and nothing ran: {c.complaint}"),
    Rule(_CANCELLED, _by("interrupt", own=True), Facts.at_cause,
        "Its own window interrupted it."),
    Rule(_CANCELLED, _by("delete", own=True), Facts.at_cause,
        "Its own window removed it from the queue before it ran."),
    Rule(_CANCELLED, _all(_interrupted, Facts.aimed_at_all), Facts.at_cause,
        "An interrupt by {c.who} hit it: it named no prompt, and so stopped whatever ran."),
    Rule(_CANCELLED, _all(_interrupted, Facts.aimed_elsewhere), Facts.at_cause,
        "An interrupt by {c.who} seems to have hit it, though for another prompt: before 0.3.57 ids are ignored."),
    Rule(_CANCELLED, _interrupted, Facts.at_cause,
        "An interrupt by {c.who} hit it."),
    Rule(_CANCELLED, _all(_removed, Facts.aimed_at_all), Facts.at_cause,
        "It was waiting when {c.who} cleared the whole queue."),
    Rule(_CANCELLED, _removed, Facts.at_cause,
        "It was waiting when {c.who} removed it from the queue."),
    Rule(_CANCELLED, Facts.ran, Facts.at_end,
        "It was interrupted while it ran, by somebody who does not appear here."),
    Rule(_CANCELLED, _always, Facts.at_absence,
        "It is in neither the queue nor the history of {c.server}: somebody seems to have removed it before it ran."),
    Rule(_LOST, _by("outage"), Facts.at_cause,
        "{c.server} forgot it: it went down ({c.how}), which empties queue and history."),
    Rule(_LOST, _by("hang-up"), Facts.at_cause,
        "{c.server} forgot it: it seems to have restarted when a socket broke off ({c.how}), which forgets all."),
    Rule(_LOST, _by("clear-history"), Facts.at_cause,
        "Its outcome is lost: {c.who} cleared the history of {c.server}."),
    Rule(_LOST, _by("unwatched"), Facts.at_cause,
        "{c.server} does not know it: what happened to it while nobody watched is unknown."),
    Rule(_LOST, _all(Facts.followed, _no(Facts.accepted)), Facts.at_absence,
        "{c.server} does not know it: it is somebody else's prompt, followed from here, and was never shown."),
    Rule(_LOST, Facts.unsent, Facts.at_doubt,
        "{c.server} never received it: the connection for its POST was refused ({c.how}), and it is not there."),
    Rule(_LOST, _no(Facts.accepted), Facts.at_doubt,
        "{c.server} apparently never accepted it: its POST got no clear answer ({c.how}), and it is not there."),
    Rule(_LOST, _always, Facts.at_absence,
        "{c.server} forgot it, and nothing shows why: no outage and no clearing of its history was seen."),
    Rule(_EXPIRED, _by("unreachable"), Facts.at_cause,
        "It was given up after {c.patience}: {c.server} could not be reached ({c.how})."),
    Rule(_EXPIRED, _no(Facts.queried_since), Facts.at_settling,
        "It was given up after {c.patience} of silence, in which nobody queried the queue of {c.server}."),
    Rule(_EXPIRED, _always, Facts.at_settling,
        "It was given up after {c.patience} of silence: {c.server} answers, but says nothing about it."),
)  # fmt: skip

MISSING: tuple[Rule, ...] = (
    Rule(OPEN, Facts.overheard, Facts.at_first,
        "Its POST: it is known from its frames alone."),
    Rule(_SUBMITTING, _always, Facts.at_post,
        "The answer to its POST."),
    Rule(_UNCERTAIN, _any(Facts.nameless, Facts.unsent), Facts.at_doubt,
        "A clear answer to its POST."),
    Rule(_UNKNOWN, _no(Facts.queried), _nowhere,
        "A query of the queue and then of the history: since its POST nobody has asked whether it is there."),
    Rule(_PENDING, _always, _nowhere,
        "Any sign that it started."),
    Rule(_WAITING_OR_RUNNING, _all(_no(Facts.queried), _no(Facts.healthy)), _nowhere,
        "A query of the queue: none has been answered since it was posted."),
    Rule(_UNCERTAIN + _WAITING_OR_RUNNING, _all(Facts.queried, _no(Facts.healthy)), Facts.at_query,
        "A newer query of the queue: the last one {c.listing}."),
    Rule(_PENDING, Facts.threatened, Facts.at_threat,
        "The result of a removal: {c.threat} asked for it to be removed from the queue."),
    Rule(_IN_PROGRESS, Facts.threatened, Facts.at_threat,
        "The result of an interrupt: {c.threat} sent one that may have hit it."),
    Rule(_IN_PROGRESS, _always, _nowhere,
        "A report of its end: its last sign of life came {c.silence} before the last entry."),
    Rule(_IN_PROGRESS, Facts.unfinished, _nowhere,
        "Its outputs: nothing reported node {c.left} as done."),
    Rule(_WAITING_OR_RUNNING, _any(Facts.behind, Facts.standing), Facts.at_standstill,
        "A change in what is running: prompt {c.blocker} has been listed as running for {c.standstill}."),
    Rule(_ENDING, Facts.stated, Facts.at_end,
        "Its record: {c.source} stated the outcome, but only the record verifies it."),
    Rule(_ENDING, Facts.concluded, Facts.at_end,
        "Its record: the outcome is concluded from {c.source}; no server stated it."),
    Rule(_ENDING, Facts.open_ended, Facts.at_end,
        "Its outcome: nothing states it."),
    Rule(_ENDING, Facts.statusless, Facts.at_end,
        "A status in its record: servers before 2024 write none."),
    Rule(_ENDING, Facts.unasked, _nowhere,
        "A query of the history: none has been answered since its end was reported."),
    Rule(_ENDING, Facts.invalid, _at(Code.HISTORY_INCOMPLETE),
        "A record that validates: {c.flaw}."),
    Rule(OPEN, Facts.denied, Facts.at_denial,
        "Its record: the history answered {c.denials} that it has none."),
    Rule(_ACCEPTED, Facts.addressed_to_nobody, Facts.at_post,
        "Frames about it: none reports the end of a prompt posted without client_id."),
    Rule(_ACCEPTED, Facts.unheard, _nowhere,
        "A socket of its window: none was seen that could have received its frames."),
    Rule(_UNKNOWN + _WAITING_OR_RUNNING, Facts.down, Facts.at_closing,
        "The socket of its window: it is closed, and ComfyUI does not resend what it misses."),
    Rule(_ACCEPTED, Facts.deaf, _at(Code.DEAF_SOCKET),
        "Frames on the socket of its window: it is open, and received nothing about this task."),
    Rule(OPEN, Facts.out, Facts.at_outage,
        "What its server still knows: it went down ({c.outage}) after this was posted."),
    Rule(_UNKNOWN + _WAITING_OR_RUNNING, Facts.hung_up, Facts.at_outage,
        "Whether its server was restarted, and forgot it: a socket broke off ({c.outage}) after this was posted."),
    Rule(OPEN, Facts.unwatched, Facts.at_outage,
        "What happened until its window was resumed: nobody watched."),
    Rule(OPEN, Facts.unreachable, Facts.at_trouble,
        "An answer of its server: {c.failures} got no usable one ({c.trouble})."),
    Rule(OPEN, Facts.unread, Facts.at_gaps,
        "What could not be read in this log or trace: it may have reported the end."),
    Rule(_LOST, _always, Facts.at_absence,
        "Any trace of it at its server: it was absent from the queue, and then from the history."),
    Rule(_EXPIRED, _always, Facts.at_last,
        "A sign of life: it showed none for {c.patience}."),
    Rule(_LOST + _EXPIRED, Facts.begun, _nowhere,
        "A report of its end: it had started, and may have run to its end."),
    Rule(_LOST + _EXPIRED, _all(Facts.accepted, _no(Facts.begun)), _nowhere,
        "Any sign that it started: it was accepted, and may have run unnoticed."),
    Rule(_RAN, _all(Facts.recorded, _no(Facts.verified)), Facts.at_settling,
        "A status in its record, which would verify it."),
    Rule(_COMPLETED + _FAILED, _no(Facts.recorded), Facts.at_absence,
        "Its record, which would verify it: the history had none when it was queried."),
    Rule(_CANCELLED, Facts.inferred, Facts.at_absence,
        "A report that it was removed: that is only concluded, and late evidence would take it back."),
    Rule(_CANCELLED, _no(_blamed), _nowhere,
        "Who did it: no interrupt, delete or clear that explains it was seen."),
    Rule(_REFUSED, _no(Facts.complained), _nowhere,
        "The reason, in the server's words."),
)  # fmt: skip

_ASK = "ask {c.server} about it: the queue first, and after its answer the history."

NEXT: tuple[StepRule, ...] = (
    # first, what stands in the way of the rest
    StepRule((*OPEN, *_EXPIRED), Facts.unreachable, "",
            "Get {c.server} to answer: until it does, nothing about this task can be proved."),
    StepRule(_NEVER_RAN, Facts.moved_on, "",
            "Do not submit it again: {c.successor} is its job now."),
    StepRule(_UNCERTAIN, Facts.unsent, "",
            "Post it again when {c.server} answers, or at another server: nothing was sent."),
    StepRule(_UNKNOWN, Facts.nameless, "",
            "Do not post it again yet: it may have been accepted."),
    StepRule(_ACCEPTED, Facts.deaf, "",
            "Open a new socket for {c.window} at {c.server}, under a fresh client id: this one receives nothing."),
    StepRule(_WAITING_OR_RUNNING, _all(Facts.down, _no(Facts.deaf)), "",
            "Open the socket of {c.window} at {c.server} again, for what is still to come."),
    # undecided tasks
    StepRule(_ENDING, Facts.statusless, "history",
            "Check its outputs: the records of {c.server} do not say how a run ended."),
    StepRule(_ENDING, _no(Facts.statusless), "history",
            "Fetch its record from {c.server}: it decides."),
    StepRule(_ENDING, Facts.denied, "recover",
            "If there is none, query the queue as well: absent from both, it counts as it was reported."),
    StepRule(_WAITING_OR_RUNNING, Facts.healthy, "",
            "Wait: nothing is wrong so far."),
    StepRule(_WAITING_OR_RUNNING, Facts.healthy, "recover",
            "If nothing comes, " + _ASK),
    StepRule(_UNKNOWN + _WAITING_OR_RUNNING, _no(Facts.healthy), "recover",
            "Now " + _ASK),
    StepRule(_UNKNOWN, Facts.nameless, "",
            "If neither has it, now and a little later, it was never accepted: then post it again."),
    StepRule(_UNCERTAIN, Facts.accepted, "",
            "If neither has it, it is lost: look for its files before you submit it again."),
    StepRule(_PENDING, Facts.threatened, "",
            "If neither has it, it was removed: submit it again, if it is still wanted."),
    StepRule(_PENDING, Facts.out, "",
            "If neither has it, it is lost: submit it again."),
    StepRule(_IN_PROGRESS, Facts.out, "",
            "If neither has it, it is lost: look for its files, then submit it again."),
    StepRule(_PENDING, Facts.behind, "",
            "Check whether {c.blocker} makes progress at {c.server}; if not, its worker has died: restart the server."),
    StepRule(_PENDING, Facts.behind, "",
            "Until then, submit new work to another server."),
    StepRule(_IN_PROGRESS, Facts.standing, "",
            "Check whether it makes progress at {c.server}; if not, its worker has died: restart the server."),
    # settled tasks
    StepRule(_RAN, _found(Code.CONTRADICTION), "history",
            "Check its outputs before you use them, and trust its record at {c.server} over any frame."),
    StepRule(_COMPLETED, _no(Facts.recorded), "",
            "Check whether its files are at {c.server}: no record will list them any more."),
    StepRule(_FAILED, Facts.starved, "",
            "Give {c.server} more memory, or a smaller picture, batch or model."),
    StepRule(_REFUSED, _all(Facts.placed, _stayed), "",
            "Fix {c.node} of the workflow, then submit it again: unchanged, it would fail again."),
    StepRule(_FAILED, _no(Facts.placed), "",
            "Read what {c.server} printed at that time, fix the workflow, and submit it again."),
    StepRule(_REJECTED, _all(_no(Facts.placed), _stayed), "",
            "Read error and node_errors in the answer to its POST, fix the workflow, and submit it again."),
    StepRule(_CANCELLED, _all(_meant, _stayed), "",
            "Nothing, if that was intended; otherwise submit it again."),
    StepRule(_CANCELLED, _all(_interrupted, _no(_meant)), "",
            "Have {c.who} interrupt by prompt id only, and only at servers that honour it (0.3.57 and newer)."),
    StepRule(_CANCELLED, _all(_removed, _no(_meant)), "",
            "Have {c.who} delete its own prompts by id, and never clear a queue that others use."),
    StepRule(_CANCELLED, _no(_blamed), "",
            "Find out who else uses {c.server}: a browser tab, another client."),
    StepRule(_CANCELLED, _all(_no(_meant), _stayed, _no(Facts.inferred)), "",
            "Submit it again, if it is still wanted."),
    StepRule(_CANCELLED, _all(Facts.inferred, _stayed), "",
            "Check whether it is at {c.server} after all before you submit it again: its end is only concluded."),
    StepRule(_LOST, Facts.begun, "",
            "Look for its files in the output folder of {c.server}: it may have run to its end."),
    StepRule(_EXPIRED, _always, "recover",
            "Do not submit it again yet, since it may still run: " + _ASK),
    StepRule(_LOST + _EXPIRED, _always, "consistency",
            "Check whether another server has it, as behind a balancer."),
    StepRule(_LOST, _always, "recover",
            "If {c.server} may know it after all, have it looked for once more."),
    StepRule(_LOST, Facts.begun, "",
            "If nothing is found, and it is still wanted, submit it again: it may then have run twice."),
    StepRule(_LOST, _all(_no(Facts.begun), _stayed), "",
            "If nothing is found, and it is still wanted, submit it again: it may then run twice, if it is late."),
    # further advice for single findings
    StepRule(_ANY, _found(Code.WRONG_SERVER), "consistency",
            "Ask {c.server} about it, and no other server: it is bound to that one."),
    StepRule(_ANY, _found(Code.DOUBLE_DELIVERY), "",
            "Undo what the second delivery of its result did, and let one place deliver."),
    StepRule(_ANY, _found(Code.RESUBMITTED), "history",
            "Check whether it ran twice at {c.server}, and has its outputs twice."),
    StepRule(tuple(SETTLED), Facts.deaf, "",
            "Open a new socket for {c.window} at {c.server}, under a fresh client id: this one receives nothing."),
    StepRule(_ANY, _found(Code.CALLBACK_RECURSION), "",
            "Fix its progress callback: it caused its own call, and was cut off."),
    StepRule(_ANY, _found(Code.PARTIAL_ACCEPT), "",
            "Read node_errors in the answer to its POST: these outputs never come. Fix them if they are wanted."),
    StepRule(_ANY, _found(Code.OUTPUTS_CUT), "",
            "Fetch what its result lacks from {c.server} by hand, or follow it with a higher limit in the Policy."),
    StepRule(_ANY, _found(Code.IMAGES_MISSED), "",
            "Run it again, with the socket of {c.window} open from start to end: what it sent is gone."),
    StepRule(_ANY, _found(Code.OUT_OF_ORDER), "",
            "Look for what reorders frames between {c.server} and {c.window}: a proxy, a recorder."),
)  # fmt: skip


def applies(row: Rule | StepRule, case: Facts) -> bool:
    return case.task.state in row.states and row.when(case)


def sentence(row: Rule | StepRule, case: Facts) -> str:
    """Return the sentence with its words put in; they are not formatted again, whatever they contain."""
    return row.text.format(c=case)
