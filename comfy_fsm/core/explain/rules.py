"""The tables of a diagnosis: what is so, what is missing, what to do next.

A row applies in its states where its question is answered with yes. Of `SAYS` the first that applies is taken, so that
the last one of each state always does; of the others all are. A sentence names words of the case as `{c.word}`: what a
server said is put into it, and never read as a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from comfy_fsm.core.explain.facts import Case, Places
from comfy_fsm.core.machine import OPEN, SETTLED, State
from comfy_fsm.core.registry.task import CauseKind

States = tuple[State, ...]
Ask = Callable[[Case], bool]
Where = Callable[[Case], Places]

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


class Row(NamedTuple):
    """In these states, if so, it is seen there: this sentence."""

    states: States
    when: Ask
    where: Where
    text: str


class StepRow(NamedTuple):
    """In these states, if so, by this subcommand, where one does it: do this."""

    states: States
    when: Ask
    command: str
    text: str


def _by(kind: CauseKind, *, own: bool = False) -> Ask:
    return lambda c: c.caused_by(kind, own=own)


def _found(code: str) -> Ask:
    return lambda c: c.found(code)


def _at(code: str) -> Where:
    return lambda c: c.at(code)


def _all(*asks: Ask) -> Ask:
    return lambda c: all(ask(c) for ask in asks)


def _any(*asks: Ask) -> Ask:
    return lambda c: any(ask(c) for ask in asks)


def _no(ask: Ask) -> Ask:
    return lambda c: not ask(c)


_always, _nowhere, _stayed = Case.always, Case.nowhere, _no(Case.moved_on)
_interrupted, _removed = _by("interrupt"), _by("delete")
_meant = _any(_by("interrupt", own=True), _by("delete", own=True))
_blamed = _any(_interrupted, _removed)

SAYS: tuple[Row, ...] = (
    Row(_NEVER_RAN, Case.moved_on, Case.at_settling,
        "It never ran at {c.server}, which is proved, and its job went on as {c.heir}."),
    Row(_SUBMITTING, _always, Case.at_post,
        "It was posted to {c.server}, and no answer to its POST was seen."),
    Row(_UNCERTAIN, Case.adopted, Case.at_last,
        "Its own server denied it, {c.server} showed it: a recovery bound it there, and it is being looked for."),
    Row(_UNCERTAIN, Case.reopened, Case.at_last,
        "It had been given up, was reopened by a recover command, and is being looked for."),
    Row(_UNCERTAIN, Case.followed, Case.at_first,
        "It is somebody else's prompt, followed from here, and {c.server} has not shown it yet."),
    Row(_UNCERTAIN, Case.unsent, Case.at_doubt,
        "{c.server} never got it: the connection for its POST was refused ({c.how}), so nothing was sent."),
    Row(_UNCERTAIN, _always, Case.at_doubt,
        "{c.server} may have accepted it, or not: its POST got no clear answer ({c.how})."),
    Row(_PENDING, Case.out, Case.at_outage,
        "It waited in the queue when {c.server} went down ({c.outage}): a restart empties the queue."),
    Row(_PENDING, Case.threatened, Case.at_threat,
        "{c.server} accepted it, and was asked to remove it again, by {c.threat}; it is not told whether it did."),
    Row(_PENDING, Case.vanished, Case.at_look,
        "{c.server} accepted it, and lists it no more: it began, or was removed, and nothing told which."),
    Row(_PENDING, Case.behind, Case.at_standstill,
        "It waits at {c.server} behind prompt {c.blocker}, listed as running for {c.standstill}."),
    Row(_PENDING, _always, Case.at_last,
        "{c.server} accepted it, and it waits: nothing shows that it began."),
    Row(_IN_PROGRESS, Case.out, Case.at_outage,
        "It ran when {c.server} went down ({c.outage}), and nothing told its end."),
    Row(_IN_PROGRESS, Case.vanished, Case.at_look,
        "It ran at {c.server}, which lists it no more, and nothing told its end."),
    Row(_IN_PROGRESS, Case.addressed_to_nobody, Case.at_post,
        "It runs at {c.server}, which tells nobody of its end: it was posted without client_id."),
    Row(_IN_PROGRESS, Case.deaf, Case.at_last,
        "It runs at {c.server}, as HTTP shows, and the open socket of its window hears nothing of it."),
    Row(_IN_PROGRESS, Case.dropped, Case.at_closing,
        "It ran when the socket of its window closed, and nothing told its end since."),
    Row(_IN_PROGRESS, Case.hung_up, Case.at_outage,
        "It ran when a socket to {c.server} broke off ({c.outage}), and nothing was told of it since."),
    Row(_IN_PROGRESS, Case.down, Case.at_last,
        "It runs at {c.server}, as HTTP shows; the socket of its window is closed, and hears nothing of it."),
    Row(_IN_PROGRESS, Case.threatened, Case.at_threat,
        "It ran at {c.server} when {c.threat} sent an interrupt that may have hit it; nothing told its end."),
    Row(_IN_PROGRESS, Case.standing, Case.at_standstill,
        "It was listed as running at {c.server} for {c.standstill}, look after look; nothing told its end."),
    Row(_IN_PROGRESS, Case.quiet, _nowhere,
        "It ran at {c.server}, and gave no sign of life for {c.silence}."),
    Row(_IN_PROGRESS, _always, Case.at_last,
        "It runs at {c.server}, and nothing told its end so far."),
    Row(_ENDING, Case.invalid, _at("history-incomplete"),
        "It ended, and the record that {c.server} gave of it does not validate."),
    Row(_ENDING, _no(Case.open_ended), Case.at_end,
        "It {c.said}, {c.told}; no record confirms it yet."),
    Row(_ENDING, Case.bare, Case.at_end,
        "It ended, and how is open: its record has no status, and no frame told it."),
    Row(_ENDING, Case.ended, Case.at_end,
        "It ended, as {c.source} told, and how is open."),
    Row(_ENDING, _always, Case.at_end,
        "All that it had to run was told to be done ({c.source}), but not that it ended."),
    Row(_RAN, _found("contradiction"), _at("contradiction"),
        "It counts as {c.task.state}, but the evidence disagrees: {c.dispute}."),
    Row(_COMPLETED, Case.verified, Case.at_settling,
        "It succeeded: the {c.record} of {c.server} says so."),
    Row(_COMPLETED, Case.recorded, Case.at_settling,
        "It succeeded, as far as is told: its record at {c.server} has no status, and nothing told of a failure."),
    Row(_COMPLETED, _by("clear-history"), Case.at_cause,
        "It succeeded, {c.told}, but {c.who} cleared the history before its record was read."),
    Row(_COMPLETED, _by("outage"), Case.at_cause,
        "It succeeded, {c.told}, but {c.server} went down ({c.how}) before its record was read."),
    Row(_COMPLETED, _always, Case.at_end,
        "It succeeded, {c.told}, but its record was gone before anybody read it."),
    Row(_FAILED, Case.placed, Case.at_end,
        "It failed in {c.node}: {c.complaint}"),
    Row(_FAILED, Case.complained, Case.at_end,
        "It failed: {c.complaint}"),
    Row(_FAILED, _always, Case.at_end,
        "It failed, and neither a frame nor a record says why."),
    Row(_REJECTED, Case.placed, Case.at_settling,
        "{c.server} refused it at {c.node}, and nothing ran: {c.complaint}"),
    Row(_REJECTED, _always, Case.at_settling,
        "{c.server} refused it, and nothing ran: {c.complaint}"),
    Row(_CANCELLED, _by("interrupt", own=True), Case.at_cause,
        "Its own window interrupted it."),
    Row(_CANCELLED, _by("delete", own=True), Case.at_cause,
        "Its own window removed it from the queue before it ran."),
    Row(_CANCELLED, _all(_interrupted, Case.aimed_at_all), Case.at_cause,
        "An interrupt by {c.who} hit it: it named no prompt, and so stopped whatever ran."),
    Row(_CANCELLED, _all(_interrupted, Case.aimed_elsewhere), Case.at_cause,
        "An interrupt by {c.who} hit it, it seems, though it named another prompt: before 0.3.57 no id is minded."),
    Row(_CANCELLED, _interrupted, Case.at_cause,
        "An interrupt by {c.who} hit it."),
    Row(_CANCELLED, _all(_removed, Case.aimed_at_all), Case.at_cause,
        "It waited when {c.who} cleared the whole queue."),
    Row(_CANCELLED, _removed, Case.at_cause,
        "It waited when {c.who} removed it from the queue."),
    Row(_CANCELLED, Case.ran, Case.at_end,
        "It was interrupted while it ran, by somebody who is not seen here."),
    Row(_CANCELLED, _always, Case.at_absence,
        "It is in neither queue nor history of {c.server}: removed before it ran, it seems, by somebody unseen."),
    Row(_LOST, _by("outage"), Case.at_cause,
        "{c.server} forgot it: it went down ({c.how}), which empties queue and history."),
    Row(_LOST, _by("hang-up"), Case.at_cause,
        "{c.server} forgot it: it went down, it seems, when a socket broke off ({c.how}), and a restart forgets all."),
    Row(_LOST, _by("clear-history"), Case.at_cause,
        "What became of it is forgotten: {c.who} cleared the history of {c.server}."),
    Row(_LOST, _by("unwatched"), Case.at_cause,
        "{c.server} does not know it: what happened to it while nobody watched is not told."),
    Row(_LOST, _all(Case.followed, _no(Case.accepted)), Case.at_absence,
        "{c.server} does not know it: it is somebody else's prompt, followed from here, and was never shown."),
    Row(_LOST, Case.unsent, Case.at_doubt,
        "{c.server} never got it: the connection for its POST was refused ({c.how}), and it is nowhere."),
    Row(_LOST, _no(Case.accepted), Case.at_doubt,
        "{c.server} never took it, by all that is seen: its POST got no clear answer ({c.how}), and it is nowhere."),
    Row(_LOST, _always, Case.at_absence,
        "{c.server} forgot it, and nothing tells why: no outage and no clearing of its history was seen."),
    Row(_EXPIRED, _by("unreachable"), Case.at_cause,
        "It was given up after {c.patience}: {c.server} could not be reached ({c.how})."),
    Row(_EXPIRED, _no(Case.looked_since), Case.at_settling,
        "It was given up after {c.patience} of silence, in which nobody looked at the queue of {c.server}."),
    Row(_EXPIRED, _always, Case.at_settling,
        "It was given up after {c.patience} of silence: {c.server} answers, and says nothing of it."),
)  # fmt: skip

MISSING: tuple[Row, ...] = (
    Row(OPEN, Case.overheard, Case.at_first,
        "Its POST: it is known by its frames alone."),
    Row(_SUBMITTING, _always, Case.at_post,
        "The answer to its POST."),
    Row(_UNCERTAIN, _any(Case.nameless, Case.unsent), Case.at_doubt,
        "A clear answer to its POST."),
    Row(_UNKNOWN, _no(Case.looked), _nowhere,
        "A look at the queue, and then at the history: since its POST nobody asked whether it is there."),
    Row(_PENDING, _always, _nowhere,
        "Any sign that it began."),
    Row(_WAITING_OR_RUNNING, _all(_no(Case.looked), _no(Case.healthy)), _nowhere,
        "A look at the queue: none was answered since it was posted."),
    Row(_UNCERTAIN + _WAITING_OR_RUNNING, _all(Case.looked, _no(Case.healthy)), Case.at_look,
        "A newer look at the queue: the last one {c.listing}."),
    Row(_PENDING, Case.threatened, Case.at_threat,
        "What came of a delete: {c.threat} asked for it to be removed from the queue."),
    Row(_IN_PROGRESS, Case.threatened, Case.at_threat,
        "What came of an interrupt: {c.threat} sent one that may have hit it."),
    Row(_IN_PROGRESS, _always, _nowhere,
        "Word of its end: its last sign of life came {c.silence} before the last entry."),
    Row(_IN_PROGRESS, Case.unfinished, _nowhere,
        "Its outputs: nothing told that node {c.left} is done."),
    Row(_WAITING_OR_RUNNING, _any(Case.behind, Case.standing), Case.at_standstill,
        "A change in what runs: prompt {c.blocker} was listed as running for {c.standstill}."),
    Row(_ENDING, Case.stated, Case.at_end,
        "Its record: {c.source} stated the outcome, and only the record verifies it."),
    Row(_ENDING, Case.concluded, Case.at_end,
        "Its record: the outcome is concluded from {c.source}, and no server stated it."),
    Row(_ENDING, Case.open_ended, Case.at_end,
        "How it ended: nothing states an outcome."),
    Row(_ENDING, Case.bare, Case.at_end,
        "A status in its record: servers before 2024 give none."),
    Row(_ENDING, Case.unasked, _nowhere,
        "A look at the history: none was answered since its end was told."),
    Row(_ENDING, Case.invalid, _at("history-incomplete"),
        "A record that validates: {c.flaw}."),
    Row(OPEN, Case.denied, Case.at_denial,
        "Its record: the history answered {c.denials} that it has none."),
    Row(_ACCEPTED, Case.addressed_to_nobody, Case.at_post,
        "Frames about it: of a prompt posted without client_id none tells the end."),
    Row(_ACCEPTED, Case.unheard, _nowhere,
        "A socket of its window: none was seen that could have heard of it."),
    Row(_UNKNOWN + _WAITING_OR_RUNNING, Case.down, Case.at_closing,
        "The socket of its window: it is closed, and what it misses is not repeated."),
    Row(_ACCEPTED, Case.deaf, _at("deaf-socket"),
        "Frames on the socket of its window: it is open, and heard nothing of this task."),
    Row(OPEN, Case.out, Case.at_outage,
        "What its server still knows: it went down ({c.outage}) after this was posted."),
    Row(_UNKNOWN + _WAITING_OR_RUNNING, Case.hung_up, Case.at_outage,
        "Whether its server was restarted, and forgot it: a socket broke off ({c.outage}) after this was posted."),
    Row(OPEN, Case.unwatched, Case.at_outage,
        "What happened until its window was taken up again: nobody watched."),
    Row(OPEN, Case.unreachable, Case.at_trouble,
        "An answer of its server: {c.failures} got none that can be used ({c.trouble})."),
    Row(OPEN, Case.unread, Case.at_gaps,
        "What could not be read of this log or trace: it may have told of the end."),
    Row(_LOST, _always, Case.at_absence,
        "Any trace of it at its server: it was absent from the queue, and then from the history."),
    Row(_EXPIRED, _always, Case.at_last,
        "A sign of life: it gave none for {c.patience}."),
    Row(_LOST + _EXPIRED, Case.begun, _nowhere,
        "Word of its end: it had begun, and may have run to its end."),
    Row(_LOST + _EXPIRED, _all(Case.accepted, _no(Case.begun)), _nowhere,
        "Any sign that it began: it was accepted, and may have run unheard."),
    Row(_RAN, _all(Case.recorded, _no(Case.verified)), Case.at_settling,
        "A status in its record, which would verify it."),
    Row(_COMPLETED + _FAILED, _no(Case.recorded), Case.at_absence,
        "Its record, which would verify it: the history had none when it was asked."),
    Row(_CANCELLED, Case.inferred, Case.at_absence,
        "Word that it was removed: that is only concluded, and evidence of it that comes late takes it back."),
    Row(_CANCELLED, _no(_blamed), _nowhere,
        "Who did it: no interrupt, delete or clear that explains it was seen."),
    Row(_REFUSED, _no(Case.complained), _nowhere,
        "The reason, in the server's words."),
)  # fmt: skip

_ASK = "ask {c.server} about it: the queue first, and after its answer the history."

NEXT: tuple[StepRow, ...] = (
    # first what stands in the way of the rest
    StepRow((*OPEN, *_EXPIRED), Case.unreachable, "",
            "Get {c.server} to answer: until it does, nothing about this task can be proved."),
    StepRow(_NEVER_RAN, Case.moved_on, "",
            "Do not submit it again: {c.heir} is its job now."),
    StepRow(_UNCERTAIN, Case.unsent, "",
            "Post it again when {c.server} answers, or at another server: nothing was sent."),
    StepRow(_UNKNOWN, Case.nameless, "",
            "Do not post it again yet: it may have been accepted."),
    StepRow(_ACCEPTED, Case.deaf, "",
            "Open a new socket for {c.window} at {c.server}, under a fresh client id: this one hears nothing more."),
    StepRow(_WAITING_OR_RUNNING, _all(Case.down, _no(Case.deaf)), "",
            "Open the socket of {c.window} at {c.server} again, for what is still to come."),
    # the undecided
    StepRow(_ENDING, Case.bare, "history",
            "Look at its outputs: the records of {c.server} do not say how a run ended."),
    StepRow(_ENDING, _no(Case.bare), "history",
            "Fetch its record from {c.server}: it decides."),
    StepRow(_ENDING, Case.denied, "recover",
            "If there is none, look at the queue as well: absent from both, it counts as it was told."),
    StepRow(_WAITING_OR_RUNNING, Case.healthy, "",
            "Wait: nothing is amiss so far."),
    StepRow(_WAITING_OR_RUNNING, Case.healthy, "recover",
            "If nothing comes, " + _ASK),
    StepRow(_UNKNOWN + _WAITING_OR_RUNNING, _no(Case.healthy), "recover",
            "Now " + _ASK),
    StepRow(_UNKNOWN, Case.nameless, "",
            "If both deny it, and again a little later, it was never taken: then post it again."),
    StepRow(_UNCERTAIN, Case.accepted, "",
            "If both deny it, it is lost: look for its files before you submit it again."),
    StepRow(_PENDING, Case.threatened, "",
            "If both deny it, it was removed: submit it again, if it is still wanted."),
    StepRow(_PENDING, Case.out, "",
            "If both deny it, it is lost: submit it again."),
    StepRow(_IN_PROGRESS, Case.out, "",
            "If both deny it, it is lost: look for its files, then submit it again."),
    StepRow(_PENDING, Case.behind, "",
            "See whether {c.blocker} makes progress at {c.server}; if not, its worker has died: restart the server."),
    StepRow(_PENDING, Case.behind, "",
            "Until then, submit new work to another server."),
    StepRow(_IN_PROGRESS, Case.standing, "",
            "See whether it makes progress at {c.server}; if not, its worker has died: restart the server."),
    # the settled
    StepRow(_RAN, _found("contradiction"), "history",
            "Look at its outputs before you use them, and trust its record at {c.server} over any frame."),
    StepRow(_COMPLETED, _no(Case.recorded), "",
            "Look whether its files are there, at {c.server}: no record will tell of them any more."),
    StepRow(_FAILED, Case.starved, "",
            "Give {c.server} more memory, or ask less of it: a smaller picture, batch or model."),
    StepRow(_REFUSED, _all(Case.placed, _stayed), "",
            "Mend {c.node} of the workflow, then submit it again: as it is, it would fail again."),
    StepRow(_FAILED, _no(Case.placed), "",
            "Read what {c.server} printed at that time, mend the workflow, and submit it again."),
    StepRow(_REJECTED, _all(_no(Case.placed), _stayed), "",
            "Read error and node_errors in the answer to its POST, mend the workflow, and submit it again."),
    StepRow(_CANCELLED, _all(_meant, _stayed), "",
            "Nothing, if that was meant; else submit it again."),
    StepRow(_CANCELLED, _all(_interrupted, _no(_meant)), "",
            "Have {c.who} interrupt by prompt id alone, and only at servers that honour it (0.3.57 and newer)."),
    StepRow(_CANCELLED, _all(_removed, _no(_meant)), "",
            "Have {c.who} delete its own prompts by id, and never clear a queue that others use."),
    StepRow(_CANCELLED, _no(_blamed), "",
            "Find out who else uses {c.server}: a browser tab, another client."),
    StepRow(_CANCELLED, _all(_no(_meant), _stayed, _no(Case.inferred)), "",
            "Submit it again, if it is still wanted."),
    StepRow(_CANCELLED, _all(Case.inferred, _stayed), "",
            "Look whether it is at {c.server} all the same before you submit it again: its end is only concluded."),
    StepRow(_LOST, Case.begun, "",
            "Look for its files in the output folder of {c.server}: it may have run to its end."),
    StepRow(_EXPIRED, _always, "recover",
            "Do not submit it again yet, since it may still run: " + _ASK),
    StepRow(_LOST + _EXPIRED, _always, "consistency",
            "See whether another server has it, as behind a balancer."),
    StepRow(_LOST, _always, "recover",
            "If {c.server} may know it all the same, have it looked for once more."),
    StepRow(_LOST, Case.begun, "",
            "If nothing is found, and it is still wanted, submit it again: it may then have run twice."),
    StepRow(_LOST, _all(_no(Case.begun), _stayed), "",
            "If nothing is found, and it is still wanted, submit it again: it may then run twice, if it is late."),
    # what a finding asks for beside
    StepRow(_ANY, _found("wrong-server"), "consistency",
            "Ask {c.server} about it, and no other server: it is bound to that one."),
    StepRow(_ANY, _found("double-delivery"), "",
            "Undo what the second hand-over of its result did, and let one place deliver."),
    StepRow(_ANY, _found("resubmitted"), "history",
            "See whether it ran twice at {c.server}, and has its outputs twice."),
    StepRow(tuple(SETTLED), Case.deaf, "",
            "Open a new socket for {c.window} at {c.server}, under a fresh client id: this one hears nothing more."),
    StepRow(_ANY, _found("callback-recursion"), "",
            "Mend its progress callback: it caused its own call, and was cut off."),
    StepRow(_ANY, _found("partial-accept"), "",
            "Read node_errors in the answer to its POST: these outputs never come. Mend them if they are wanted."),
    StepRow(_ANY, _found("outputs-cut"), "",
            "Fetch what is not in its result from {c.server} by hand, or follow it with a higher bound in the Policy."),
    StepRow(_ANY, _found("images-missed"), "",
            "Run it again, with the socket of {c.window} open from start to end: what it sent is gone."),
    StepRow(_ANY, _found("out-of-order"), "",
            "Look for what reorders frames between {c.server} and {c.window}: a proxy, a recorder."),
)  # fmt: skip


def applies(row: Row | StepRow, case: Case) -> bool:
    return case.task.state in row.states and row.when(case)


def worded(row: Row | StepRow, case: Case) -> str:
    """The sentence with its words put in: they are not read again, whatever they hold."""
    return row.text.format(c=case)
