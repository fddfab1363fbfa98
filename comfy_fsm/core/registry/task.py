"""One task: what was told of it so far, which signal that is, and what each move leaves behind.

Must know no other task, no socket and no request: whose an observation is was settled before it comes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Raw, Struct, field

from comfy_fsm.core.effects import Failure, Output, Result, Text
from comfy_fsm.core.machine import REASONS, RECOVERABLE, SETTLED, Signal, State, step
from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.wire import codec

Confidence = Literal["verified", "stated", "inferred"]

SETTLING = {
    State.COMPLETED: Signal.COMPLETE,
    State.FAILED: Signal.FAIL,
    State.CANCELLED: Signal.CANCEL,
    State.LOST: Signal.LOSE,
    State.REJECTED: Signal.REJECT,
    State.EXPIRED: Signal.EXPIRE,
}


UNANSWERED = frozenset({State.SUBMITTING, State.UNCERTAIN})


CauseKind = Literal[
    "unanswered", "interrupt", "delete", "clear-history", "outage", "hang-up", "unwatched", "unreachable"
]
"""`outage`: refused, so nobody is there; `hang-up`: a socket broke off, as it does when a server is killed (P8)."""


class Cause(Struct, frozen=True, gc=False):
    """What brought a task or a server where it is, where no signal says it: an act of a window, or a trouble."""

    kind: CauseKind
    position: int
    at: float
    window: str | None = None
    """Who did it."""
    what: str = ""
    """How: an error, a status, or what the act was aimed at."""


class AbsenceRound(Struct, frozen=True, gc=False):
    """Absent from the queue, and after its answer from the history (P29)."""

    order: int
    asked: float
    """When the queue was asked."""
    at: float
    position: int
    rows: int | None
    """How many prompts the queue listed; None where a job was missing, and no queue was asked."""


class Transition(Struct, frozen=True, gc=False):
    """A signal that mattered: its ComfyUI name, where and when it was seen, and the move it made."""

    signal: str
    position: int
    at: float
    before: State
    signalled: Signal
    after: State

    @property
    def why(self) -> str:
        """The reason that the table gives for the move."""
        return REASONS[self.before, self.signalled]


class SocketImages(Struct):
    """The nodes of a graph that send their images over the socket, and the images that came."""

    nodes: frozenset[str]
    node: str | None = None
    """The node that executes now, whichever it is."""
    images: list[Output] = field(default_factory=list)
    weight: int = 0
    named: bool = False
    """They come with metadata, so that a frame without any repeats one or is a preview."""
    left_out: int = 0


class Task(Struct, eq=False):
    """Our side of one prompt: (server, prompt id), owned by the window that posted it."""

    server: str
    prompt_id: str | None = None
    window: str | None = None
    client_id: str | None = None
    """To whom the server addresses its frames; None: to nobody, or to everybody (P2)."""
    state: State = State.SUBMITTING
    stated: State | None = None
    """How it ended, as far as told; survives a second run of the same id, since completion is decided once."""
    confidence: Confidence | None = None
    completion_source: str | None = None
    confirmed_by: str | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    settled_at: float | None = None
    settled_position: int = 0
    outputs: tuple[Output, ...] = ()
    error: Failure | None = None
    texts: tuple[Text, ...] = ()
    left_out: int = 0
    """Outputs and texts beyond the bounds of the policy."""
    missed: tuple[str, ...] = ()
    """Nodes whose images came over the socket, but not all of them."""
    signals: list[Transition] = field(default_factory=list)
    number: int = 0
    first_position: int = 0
    submitted_position: int = 0
    cause: Cause | None = None
    posts: int = 0
    delivered: bool = False
    handed_over: bool = False
    """Its result was to be delivered once; it is not again, unless the application asks for it."""
    concluded: bool = False
    """Settled on absence or time alone, and so open to evidence that comes late."""
    impaired: bool = False
    """Its socket was down, deaf, or silent about its end: whether it is settled all the same is a figure."""
    job: Job | None = None
    """What waited in the backlog until this task was posted for it; None again once it was moved to another task."""
    tag: bytes = b""
    """The JSON that the application gave with it."""
    wanted: bool = True
    """The application did not cancel it."""
    recalled: bool = False
    """It was to be taken back from its server, if it did not run yet."""
    successor: str | None = None
    """The id under which its job went on, since it is proved that it never ran under this one."""

    # what the socket told
    frames: int = 0
    """How many frames about it reached its own window."""
    end_received: bool = False
    """A frame that told its end reached its own window."""
    null_received: bool = False
    unbroken: bool = False
    """Its start was heard, and the socket was never down since."""
    has_timestamp: bool = False
    """Its start carried a timestamp: this server states a success by name (since July 2024)."""
    phase: int = 0
    last_sign: float = 0.0
    silent_since: float = 0.0
    """The sign after which silence was last looked into: a later one makes it begin anew."""
    tier: int = 0
    """How many tiers that silence has passed."""
    asked_from: float = 0.0
    tier_at: float = 0.0
    """When the question of the first and of the last of them was asked."""
    quiet_from: float = 0.0
    """From when on its silence counts, if that is later than its last sign: until then nobody could be asked."""
    paused: int = 0
    """How many of the pauses of its server that accounts for."""
    confirms: int = 0
    """How often its record was read in this silence, to confirm."""
    confirming: bool = False
    """An answer without its record says nothing: no look at the queue was asked for with it."""
    stated_at: float | None = None
    """When it was stated how it ended."""
    record_owed: bool = False
    """It was settled as stated, and its record is still asked for."""
    listed: bool = False
    """A list of jobs settled it, which names no outputs: those that it has were told by frames."""

    # what is left to run
    remaining: set[str] = field(default_factory=set)
    """Nodes of the accepted graph that are not cached: all finished, nothing is left."""
    sinks: set[str] | None = None
    reached: set[str] = field(default_factory=set)
    finished_early: set[str] = field(default_factory=set)
    """Nodes told to be done while the graph was not known yet (P12)."""
    announced: dict[str, bytes] = field(default_factory=dict)
    unannounced: int = 0
    """Nodes whose outputs were told beyond the bound."""
    imaging: SocketImages | None = None
    """Where the graph has nodes that send their images over the socket."""

    # what HTTP told
    submitted_order: int = 0
    known_order: int = 0
    """The answer to its POST: only a look that was asked after it can prove absence (P29)."""
    moved_at: float | None = None
    moved_position: int = 0
    over_at: float | None = None
    """When its POST was cut off without an answer: its server may take it up even after that."""
    rounds: list[AbsenceRound] = field(default_factory=list)
    """Absent, one time after the other, and not shown since; of many, the first and the last."""
    denials: int = 0
    """How often its server answered that it has no record of it."""
    denied_position: int = 0
    fruitless_looks: int = 0
    record_requested: bool = False
    """Its record is wanted, and no answer came yet: not asked for again by each further signal of its end."""
    shown_order: int = 0
    """The last answer that showed it: its server remembers what was there when it was accepted, and since."""
    undelivered: bool = False
    """The connection for its POST was refused: nothing was sent."""
    doubted: Failure | None = None
    """What its POST was answered with, where that left open whether it was taken: told if it never shows again."""
    refused: int | None = None
    """The status that refused its POST."""
    statusless: bool = False
    """Its record was seen, and had no status: it ended; a frame that comes later may tell how."""
    statusless_outputs: object = None
    """What that record had, which may be partial."""
    candidates: dict[str, bool] = field(default_factory=dict)
    """Servers to which it is not bound and that a recovery may ask for it; True: it showed it."""

    @property
    def windows(self) -> tuple[str | None, ...]:
        """Who may hear of it: the window that owns it, and the client id of its POST where that is another."""
        return (self.window,) if self.client_id == self.window else (self.window, self.client_id)

    @property
    def settled(self) -> bool:
        return self.state in SETTLED

    @property
    def absences(self) -> int:
        return len(self.rounds)

    @property
    def absent_position(self) -> int:
        return self.rounds[-1].position if self.rounds else 0

    @property
    def unanswered(self) -> bool:
        """Whether the server took it is not known yet."""
        return self.state in UNANSWERED

    @property
    def accepted(self) -> bool:
        """A server showed that it had it, be it long ago: what then vanished may have run."""
        return any(
            told.signalled is Signal.ADOPT or (told.after not in UNANSWERED and told.after not in SETTLED)
            for told in self.signals
        )

    @property
    def unsent(self) -> bool:
        """Its POST never reached a server (P8), and none has it all the same."""
        return self.undelivered and not self.accepted

    @property
    def nameless(self) -> bool:
        """Whether it was accepted, and under which id, is not known (P10); one that was reopened has its id."""
        return self.state in UNANSWERED and not self.accepted

    @property
    def may_have_another_id(self) -> bool:
        """It was called lost under the id of our choice, and may have been taken under another (P10)."""
        lost = self.state is State.LOST and self.concluded and self.posts > 0
        return lost and not (self.undelivered or self.accepted)

    @property
    def outcome(self) -> State | None:
        return self.state if self.state in SETTLED else self.stated

    def apply(self, signal: Signal, name: str, position: int, at: float, limit: int) -> bool:
        """Step through the table; True where the state changed. Of the signals, the first and the last are kept."""
        before = self.state
        after = step(before, signal)
        if len(self.signals) >= limit:
            del self.signals[limit // 2]
        self.signals.append(Transition(name, position, at, before, signal, after))
        if after is before:
            return False
        self.state = after
        if after is State.IN_PROGRESS:
            self.started_at = self.started_at or at
            if self.stated is None:  # the end was concluded too early: nothing told of it yet
                self.completion_source = self.ended_at = self.confidence = None
        return True

    def note_end_source(self, name: str, at: float) -> None:
        """The first signal that tells of the end names the source, the later ones confirm."""
        if self.completion_source is None:
            self.completion_source = name
            self.ended_at = at

    @property
    def over(self) -> bool:
        """Its end was told, or its record seen: what tells of the run now is late, whatever it says."""
        return self.stated is not None or self.null_received or self.statusless

    def conclude(self) -> None:
        """Before July 2024 a success ends with `executing` null alone: where all was heard, every sink was done or
        cached, and no error or interrupt was told, it succeeded."""
        if self._silent_end() and self.sinks is not None and not self.sinks:
            self.stated, self.confidence = State.COMPLETED, "inferred"

    def reached_every_sink(self) -> bool:
        """The same, but for sinks that never tell `executed` (P15): each was at least begun."""
        return self._silent_end() and self.sinks is not None and self.sinks <= self.reached

    def _silent_end(self) -> bool:
        return self.null_received and self.unbroken and not self.has_timestamp and self.stated is None

    def finish_nodes(self, nodes: Iterable[str], limit: int) -> None:
        """These nodes have nothing more to tell: what is left of the sinks is what may still come."""
        if self.sinks is not None:
            self.sinks.difference_update(nodes)
        elif len(self.finished_early) < limit:
            self.finished_early.update(nodes)

    def reach(self, nodes: Iterable[str], limit: int) -> None:
        """These nodes were begun, cached or done; of a graph not known yet, at most `limit` are remembered."""
        if self.sinks is not None:
            self.reached.update(self.sinks.intersection(nodes))
        elif len(self.reached) < limit:
            self.reached.update(nodes)

    def mark_settled(
        self, outcome: State, confidence: Confidence, confirmed_by: str | None, position: int, at: float
    ) -> None:
        """What a settling move leaves behind; the working notes of the run are dropped."""
        self.stated = outcome
        self.confidence = confidence
        self.concluded = outcome in RECOVERABLE or (outcome is State.CANCELLED and confidence == "inferred")
        self.confirmed_by = confirmed_by
        self.settled_at, self.settled_position = at, position
        if outcome in RECOVERABLE:
            self.error = self.error or self.doubted
        else:
            self.ended_at = self.ended_at if self.ended_at is not None else at
        self.sinks = self.statusless_outputs = None
        self.remaining.clear()
        self.reached.clear()
        self.finished_early.clear()
        self.announced.clear()

    def reopen(self, at: float, *, again: bool) -> None:
        """What was concluded from silence or absence is forgotten; `again`: its result is to be delivered once more."""
        self.concluded = False
        if again:
            self.delivered = self.handed_over = False
        self.stated = self.confidence = self.confirmed_by = self.completion_source = self.cause = None
        self.ended_at = self.settled_at = None
        self.error = None if self.error is self.doubted else self.error
        self.rounds.clear()
        self.fruitless_looks = self.tier = self.denials = 0
        self.record_requested = False
        self.last_sign = at
        self.stated_at = None
        self.record_owed = self.confirming = False
        self.candidates.clear()

    def forget_run(self) -> None:
        """After an adopt command: what its former server told of its run says nothing of the run here."""
        self.null_received = self.unbroken = self.has_timestamp = self.statusless = False
        self.phase = self.paused = 0
        self.moved_at = None

    def active_after(self, at: float) -> bool:
        """Its last sign of life is younger; that a command made its silence begin anew is none."""
        commanded = any(told.at == self.last_sign and told.signal == "command" for told in self.signals)
        return self.last_sign > at and not commanded

    def result(self) -> Result:
        return Result(
            prompt_id=self.prompt_id,
            window=self.window,
            server=self.server,
            state=self.state,
            outputs=self.outputs,
            error=self.error,
            texts=self.texts,
            left_out=self.left_out,
            missed=self.missed,
            confidence=self.confidence,
            concluded=self.concluded,
            accepted=self.accepted,
            tag=tag_value(self.tag),
        )


def tag_value(tag: bytes) -> object:
    """The value of a tag; None where there is none, or where it is not read."""
    return codec.body(Raw(tag), object) if tag else None
