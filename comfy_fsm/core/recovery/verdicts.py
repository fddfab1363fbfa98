"""Results of `recover`, `consistency` and `history`, as values, with a sentence for each case.

Knows what servers showed, and no server: nothing is asked here, and nothing is moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from comfy_fsm.core.effects import Output, Text
from comfy_fsm.core.machine import FINAL, RECOVERABLE, Signal, State
from comfy_fsm.core.recovery.probes import ProbeResult
from comfy_fsm.core.registry.task import Task

__all__ = [
    "CONSISTENT", "FETCHED", "RECOVERED", "Consistency", "Fetched", "Recovered", "Recovery", "RecoveryCase",
    "binding", "compare", "needs_recovery",
]  # fmt: skip


class RecoveryCase(NamedTuple):
    """Case: whether nothing is left to do, what is so, and what to do next."""

    well: bool
    so: str
    next: str = ""


_SAVE = "resume hands it over and saves its files"
RECOVERED = {
    "final": RecoveryCase(True, "it is settled already: nothing to do"),
    "settled": RecoveryCase(True, "its server knows how it ended", _SAVE),
    "unverified": RecoveryCase(True, "its server has no record any more; what was reported of its end stands"),
    "adopted": RecoveryCase(True, "its server denies it, and another one knows how it ended: it is bound there", _SAVE),
    "moved": RecoveryCase(
        False, "its server denies it, and another one has it: it is bound there", "resume follows it"
    ),
    "open": RecoveryCase(False, "its server has it, and it is not over", "resume follows it to its end"),
    "lost": RecoveryCase(
        True, "no server asked has it: it is lost, though it may have run", "look for its files; submit it again"
    ),
    "denied": RecoveryCase(
        False, "its server denies it, and not every other one answered", "recover again when they answer"
    ),
    "twofold": RecoveryCase(
        False, "its server denies it, and more than one other has it: none is believed", "look at both"
    ),
    "taken": RecoveryCase(
        False, "its server denies it; one that has it is known to the log as another task", "look at both"
    ),
    "unreachable": RecoveryCase(
        False, "its server gave no answer, which proves nothing", "recover again when it answers"
    ),
    "doubtful": RecoveryCase(
        False, "its server denies it, and the record of another does not validate", "recover again"
    ),
    "unclear": RecoveryCase(False, "what its server says does not decide it", "history tells what is missing"),
    "unnamed": RecoveryCase(False, "its server is not among those named, and no other can decide", "name its server"),
}
CONSISTENT = {
    "bound": RecoveryCase(True, "the server that it is bound to has it, and no other that was asked"),
    "ended": RecoveryCase(True, "its server has its record, of which the log does not know yet", "recover decides it"),
    "forgotten": RecoveryCase(
        True, "it is decided, and no server asked has it any more: histories get trimmed or lost"
    ),
    "lost": RecoveryCase(True, "it is lost, and no server asked has it", "look for its files; submit it again"),
    "found": RecoveryCase(False, "the log has given it up, and its server has it", "recover --yes reopens it"),
    "contradicted": RecoveryCase(False, "the log and its server disagree about its end", "look at its outputs"),
    "vanished": RecoveryCase(False, "no server asked has it, and it is not decided", "recover --yes decides it"),
    "elsewhere": RecoveryCase(False, "another server has it, and its own denies it", "recover --yes binds it there"),
    "strayed": RecoveryCase(
        False, "it was decided here, and another server has it too", "look whether it was posted twice"
    ),
    "twofold": RecoveryCase(False, "more than one server has it: it may have run twice", "look at both"),
    "unreachable": RecoveryCase(False, "its server gave no answer, which proves nothing", "ask again when it answers"),
    "unsure": RecoveryCase(
        False, "its server denies it, and not every other one answered", "ask again when they answer"
    ),
    "unnamed": RecoveryCase(False, "its server is not among those named", "name it as --server"),
}
FETCHED = {
    "complete": RecoveryCase(True, "the record is valid"),
    "incomplete": RecoveryCase(
        False, "the record is there, and does not validate", "fetch it again; some are written late"
    ),
    "absent": RecoveryCase(
        False, "the history has no record of it", "name other servers; consistency asks all at once"
    ),
    "astray": RecoveryCase(
        False, "an answer came, and it says nothing about this prompt", "ask the server by its own address"
    ),
    "unreachable": RecoveryCase(False, "no answer came that says anything", "ask again when it answers"),
}


class Recovered(Struct, frozen=True):
    """Recovery of one task: its state before and after, or what it would be, and what the servers showed."""

    prompt_id: str
    window: str | None
    bound: str
    """Server that it was bound to."""
    server: str
    before: State
    state: State
    name: str
    """Name of the case in `RECOVERED`."""
    showings: tuple[ProbeResult, ...] = ()
    outputs: tuple[Output, ...] = ()
    texts: tuple[Text, ...] = ()

    @property
    def case(self) -> RecoveryCase:
        return RECOVERED[self.name]


class Recovery(Struct, frozen=True):
    """Result of a recovery: what was done about tasks or, in a dry run, would be."""

    acted: bool
    tasks: tuple[Recovered, ...] = ()
    silent: tuple[ProbeResult, ...] = ()
    """Servers that gave no answer."""
    asked: tuple[str, ...] = ()
    """All servers that were asked."""

    @property
    def decided(self) -> bool:
        return all(task.case.well for task in self.tasks)

    @property
    def unreachable(self) -> bool:
        """Return the verdict where no server answered, so that nothing could be found out."""
        return bool(self.asked) and len(self.asked) == len(self.silent)


class Consistency(Struct, frozen=True):
    """Server that has a task, the one that should, and why."""

    prompt_id: str
    state: State
    server: str
    reason: str
    position: int
    showings: tuple[ProbeResult, ...]
    name: str

    @property
    def case(self) -> RecoveryCase:
        return CONSISTENT[self.name]

    @property
    def unreachable(self) -> bool:
        return all(showing.has == "unreachable" for showing in self.showings)

    @property
    def silent(self) -> tuple[ProbeResult, ...]:
        return tuple(showing for showing in self.showings if showing.has == "unreachable")


class Fetched(Struct, frozen=True):
    """Record of a prompt, as far as it came, and the number of attempts."""

    prompt_id: str
    attempts: int
    servers: tuple[str, ...]
    """Servers that were asked: the one that the task is bound to, or all if that is unknown."""
    showing: ProbeResult

    @property
    def name(self) -> str:
        if self.showing.has == "recorded":
            return "incomplete" if self.showing.missing else "complete"
        return "absent" if self.showing.has == "denied" else self.showing.has

    @property
    def case(self) -> RecoveryCase:
        return FETCHED[self.name]


def needs_recovery(task: Task, silence: float, patience: float) -> bool:
    """Return whether a task is given up, or open without progress: its outcome is still to be proved, or it has long
    been silent."""
    stuck = task.state in (State.UNCERTAIN, State.ENDING) or silence >= patience
    return task.prompt_id is not None and task.state not in FINAL and (task.state in RECOVERABLE or stuck)


def binding(task: Task) -> tuple[str, int]:
    """Return why the task is bound to its server, and the position that shows it."""
    for told in reversed(task.signals):
        if told.signalled is Signal.ADOPT:
            return "a recovery found it there", told.position
    for told in task.signals:
        if told.signalled is Signal.ACCEPT:
            return "it accepted the POST", told.position
    return ("its POST went there" if task.posts else "it was first seen there"), task.first_position


def compare(state: State, server: str, showings: Iterable[ProbeResult]) -> str:
    """Return the case of CONSISTENT for a task of this server, in this state, given what the servers show of it."""
    shown = {showing.server: showing for showing in showings}
    own = shown.pop(server, None)
    others = [showing for showing in shown.values() if showing.held]
    if own is None or own.says_nothing:
        return "unnamed" if own is None else "unreachable"
    if own.held:
        return "twofold" if others else _at_home(state, own)
    if others:
        return "strayed" if state in FINAL else "elsewhere"
    if state in FINAL:
        return "forgotten"
    if any(showing.says_nothing for showing in shown.values()):
        return "unsure"
    return "lost" if state is State.LOST else "vanished"


def _at_home(state: State, own: ProbeResult) -> str:
    if state in RECOVERABLE:
        return "found"
    if state not in FINAL:
        return "ended" if own.has == "recorded" else "bound"
    return "bound" if own.has == "recorded" and own.outcome in (state, None) else "contradicted"
