"""Parts of a task, each a record that is replaced as a whole when what it notes is void: a new inquiry, a new run.

A part is written by its own methods alone, and by the task that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from msgspec import Struct

from comfy_fsm.core.effects import Failure, Output
from comfy_fsm.core.machine import REASONS, Signal, State
from comfy_fsm.core.registry.ending import Cause, Confidence, Ending, Source

__all__ = [
    "NO_NODES", "AbsenceRound", "Inquiry", "KnownEnd", "PostAnswer", "Remains", "Run", "Silence", "SocketImages",
    "Submission", "Transition",
]  # fmt: skip

NO_NODES: frozenset[str] = frozenset()
"""Empty set that all tasks share: one of its own takes 216 bytes, frozen or not."""
_MOST_ROUNDS = 16
"""Rounds of absence remembered for each task."""


class AbsenceRound(Struct, frozen=True, gc=False):
    """Absence from the queue and, asked after its answer, from the history (P29)."""

    order: int
    asked: float
    """When the queue was asked."""
    at: float
    position: int
    rows: int | None
    """Number of prompts that the queue listed; None if a job was missing, and no queue was asked."""


class Transition(Struct, frozen=True, gc=False):
    """Signal applied to a task: ComfyUI's name for it, where and when it was seen, and the transition that it made."""

    signal: str
    position: int
    at: float
    before: State
    signalled: Signal
    after: State

    @property
    def why(self) -> str:
        """Reason that the table gives for the transition."""
        return REASONS[self.before, self.signalled]


@dataclass(slots=True)
class SocketImages:
    """Nodes of a graph that send their images over the socket, and the images that came."""

    nodes: frozenset[str]
    node: str | None = None
    """Node that executes now, whether or not it sends images."""
    images: list[Output] = field(default_factory=list)
    weight: int = 0
    named: bool = False
    """The images come with metadata, so a frame without any repeats one or is a preview."""
    left_out: int = 0

    def execute(self, node: str) -> None:
        self.node = node

    def drop(self, nodes: frozenset[str] | set[str]) -> None:
        """Expect no images of these nodes any more: they will not run."""
        self.nodes -= nodes


@dataclass(slots=True)
class Submission:
    """POST of a task, as it was sent; of several, the last one."""

    at: float | None = None
    position: int = 0
    order: int = 0


@dataclass(slots=True)
class PostAnswer:
    """Answer to its POST, as far as it was not accepted, or the lack of one."""

    over_at: float | None = None
    """When its POST was cut off without an answer; its server may take it up even after that."""
    undelivered: bool = False
    """The connection for its POST was refused, so nothing was sent."""
    put_off: bool = False
    """The answer asked to try again later, so nothing of it is under way."""
    doubted: Failure | None = None
    """Answer that left open whether the prompt was accepted; reported if it never shows up again."""
    refused: int | None = None
    """HTTP status that refused its POST."""

    def lose(self, *, undelivered: bool) -> None:
        """Note that no answer came."""
        self.undelivered = undelivered

    def end(self, at: float) -> None:
        """Note that its POST is over, though nothing says that it was accepted."""
        self.over_at = None if self.undelivered else at

    def doubt(self, failure: Failure, *, put_off: bool) -> None:
        self.doubted, self.put_off = failure, put_off

    def refuse(self, status: int) -> None:
        self.refused = status


@dataclass(slots=True)
class Run:
    """Run of a task, as its socket and its record showed it."""

    end_received: bool = False
    """A frame that reported its end reached its own window."""
    null_received: bool = False
    unbroken: bool = False
    """Its start was received, and its socket was never down since."""
    has_timestamp: bool = False
    """Its start carried a timestamp: this server states a success by name (since July 2024)."""
    statusless: bool = False
    """Its record was seen without a status: it ended, and a later frame may state how."""
    statusless_outputs: object | None = None
    """Outputs of that record, which may be partial."""
    moved_at: float | None = None
    """When HTTP first showed progress of which no frame came."""
    moved_position: int = 0

    def begin(self, *, has_timestamp: bool) -> None:
        self.null_received, self.unbroken, self.has_timestamp = False, True, has_timestamp

    def receive_end(self, *, null: bool = False) -> None:
        """Note that a frame reported the end; `null`: without the outcome (P22)."""
        self.end_received = True
        self.null_received = self.null_received or null

    def miss(self) -> None:
        """Note that its socket was down; after its end there was nothing left to miss."""
        self.unbroken = self.unbroken and self.null_received

    def take_statusless(self, outputs: object) -> None:
        """Keep the outputs of a record without a status: they are read once it settles, as there may be many."""
        self.statusless, self.statusless_outputs = True, outputs

    def move(self, position: int, at: float) -> None:
        self.moved_position, self.moved_at = position, at

    def forget_move(self) -> None:
        self.moved_at = None


@dataclass(slots=True)
class Remains:
    """Nodes of a task that may still report something."""

    sinks: set[str] | None = None
    """Sinks of its graph that are not done; None while the graph is not known."""
    reached: Set[str] = field(default_factory=set)
    finished_early: Set[str] = field(default_factory=set)
    """Nodes reported as done while the graph was not known yet (P12)."""
    announced: dict[str, bytes] = field(default_factory=dict)
    """Outputs that frames reported, by node."""

    def clear(self) -> None:
        """Expect nothing any more."""
        self.sinks = None
        self.reached = self.finished_early = NO_NODES
        self.announced.clear()

    def plan(self, sinks: set[str] | None) -> None:
        """Take the sinks of its graph, which is now known."""
        self.sinks = sinks - self.finished_early if sinks is not None else None

    def join(self, sinks: set[str] | None) -> None:
        """Take the sinks of the POST to which these frames turned out to belong."""
        self.plan(sinks)
        if self.sinks is not None:
            self.reached = self.sinks & self.reached

    def drop(self, nodes: Iterable[str]) -> None:
        """Expect nothing of these nodes: the server dropped them."""
        if self.sinks is not None:
            self.sinks.difference_update(nodes)

    def finish(self, nodes: Iterable[str], limit: int) -> None:
        """Note nodes that will report nothing more; the remaining sinks are those that still may."""
        if self.sinks is not None:
            self.sinks.difference_update(nodes)
        elif len(self.finished_early) < limit:
            self.finished_early |= {*nodes}

    def reach(self, nodes: Iterable[str], limit: int) -> None:
        """Note nodes that were begun, cached or done; while the graph is unknown, at most `limit` are remembered."""
        if self.sinks is not None:
            self.reached |= self.sinks.intersection(nodes)
        elif len(self.reached) < limit:
            self.reached |= {*nodes}


@dataclass(slots=True)
class Silence:
    """Silence of a task: since when, and what was asked meanwhile."""

    since: float = 0.0
    """Last sign of life before the silence that was last examined; a later one starts a new silence."""
    tier: int = 0
    """Number of tiers that this silence has passed."""
    asked_from: float = 0.0
    tier_at: float = 0.0
    """When the question of the last of these tiers was asked; `asked_from`: that of the first."""
    quiet_from: float = 0.0
    """When it begins to count, if later than the last sign of life: until then nobody could be asked."""
    paused: int = 0
    """Number of unreachable spans of its server that `quiet_from` takes into account."""
    confirms: int = 0
    """How often the record was fetched meanwhile, to confirm the state."""

    def begin(self, since: float) -> bool:
        """Begin anew and return True, unless it lasts since then already."""
        if self.since == since:
            return False
        self.since, self.tier, self.confirms = since, 0, 0
        return True

    def shift(self, since: float) -> None:
        """Let the same silence count from later on."""
        self.since = since

    def pause(self, quiet_from: float, paused: int) -> None:
        self.quiet_from, self.paused = quiet_from, paused

    def ask(self, at: float) -> None:
        """Enter the next tier, with its question."""
        if self.tier == 0:
            self.asked_from = at
        self.tier, self.tier_at = self.tier + 1, at

    def confirm(self) -> None:
        self.confirms += 1

    def end(self) -> None:
        self.tier = self.paused = 0


@dataclass(slots=True)
class Inquiry:
    """Requests about a task over HTTP since its last start, and what came of them."""

    rounds: list[AbsenceRound] = field(default_factory=list)
    """Rounds of absence since it was last shown; of many, the first and the last are kept."""
    denials: int = 0
    """How often its server answered that it has no record of it."""
    denied_position: int = 0
    fruitless: int = 0
    """Queries in a row that did not settle it: the next one waits longer."""
    requested: bool = False
    """Its record was requested, and no answer came yet: further signals of its end do not request it again."""
    owed: bool = False
    """Settled as stated; its record is still being requested."""
    confirming: bool = False
    """Its record alone was requested, without the queue: an answer without the record proves nothing."""
    candidates: dict[str, bool] = field(default_factory=dict)
    """Servers to which it is not bound and that a recovery may ask for it; True if the server showed it."""

    def request(self) -> None:
        self.requested = True

    def confirm(self) -> None:
        self.confirming = True

    def take_confirming(self) -> bool:
        """Return whether its record alone was requested; an answer to that came now."""
        confirming, self.confirming = self.confirming, False
        return confirming

    def answered(self) -> None:
        """Note an answer that stands for its record, too: there is none yet."""
        self.requested = False

    def miss(self) -> None:
        """Note a query that did not settle it."""
        self.fruitless += 1

    def fail(self) -> None:
        """Note an answer about its record that did not settle it."""
        self.requested = False
        self.fruitless += 1

    def hasten(self) -> None:
        """Ask soon again: there is news, and earlier queries are no reason to wait now."""
        self.fruitless = 0

    def start_over(self) -> None:
        self.requested, self.fruitless = False, 0

    def deny(self, position: int) -> None:
        self.denials, self.denied_position = self.denials + 1, position

    def owe(self, *, owed: bool = True) -> None:
        self.owed = owed

    def add_round(self, look: AbsenceRound) -> None:
        if len(self.rounds) >= _MOST_ROUNDS:
            del self.rounds[_MOST_ROUNDS // 2]
        self.rounds.append(look)

    def forget_rounds(self) -> None:
        self.rounds.clear()

    def admit(self, server: str) -> None:
        """Allow this server to be asked, for one query."""
        self.candidates[server] = False

    def find(self, server: str) -> None:
        """Note that this server, which was allowed to be asked, showed it."""
        self.candidates[server] = True

    def dismiss(self, server: str) -> None:
        """Ask this server no more, unless it showed the task."""
        if not self.candidates[server]:
            del self.candidates[server]


@dataclass(slots=True)
class KnownEnd:
    """End of a task, as far as it is known: what was stated, and how it was settled."""

    stated: State | None = None
    """Outcome reported so far; survives a second run of the same id, since completion is decided once."""
    stated_at: float | None = None
    confidence: Confidence | None = None
    source: Source | None = None
    """Signal that was the first to report the end."""
    confirmed_by: Source | None = None
    at: float | None = None
    settled_at: float | None = None
    settled_position: int = 0
    cause: Cause | None = None

    def report(self, source: Source, at: float) -> bool:
        """Note the first signal that reports the end as its source; later ones only confirm it."""
        if self.source is not None:
            return False
        self.source, self.at = source, at
        return True

    def state(self, outcome: State, at: float) -> None:
        self.stated, self.confidence, self.stated_at = outcome, "stated", at

    def infer(self, outcome: State | None) -> None:
        """Note what is only concluded; None: that it ended, and not how."""
        self.stated, self.confidence = outcome, "inferred"

    def withdraw(self) -> None:
        """Take back an end that was concluded too early: nothing reported it yet."""
        self.source = self.at = self.confidence = None

    def settle(self, ending: Ending, position: int, at: float) -> None:
        self.stated, self.confidence, self.confirmed_by = ending.outcome, ending.confidence, ending.source
        self.settled_at, self.settled_position = at, position

    def close(self, at: float) -> None:
        """Note that it ended now, unless that is known already."""
        self.at = self.at if self.at is not None else at

    def verify(self, ending: Ending) -> None:
        self.confidence, self.confirmed_by = ending.confidence, ending.source

    def blame(self, cause: Cause | None) -> None:
        self.cause = cause
