"""Record of one task: what was reported about it so far, and what each transition leaves behind.

Knows no other task, no socket and no request: an observation is attributed before it comes here.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Raw, Struct, field

from comfy_fsm.core.effects import Failure, Output, Result, Text
from comfy_fsm.core.machine import REASONS, RECOVERABLE, SETTLED, Signal, State, step
from comfy_fsm.core.registry.ending import Cause, Confidence, Ending, Source
from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.wire import codec

UNANSWERED = frozenset({State.SUBMITTING, State.UNCERTAIN})


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


class SocketImages(Struct):
    """Nodes of a graph that send their images over the socket, and the images that came."""

    nodes: frozenset[str]
    node: str | None = None
    """Node that executes now, whether or not it sends images."""
    images: list[Output] = field(default_factory=list)
    weight: int = 0
    named: bool = False
    """The images come with metadata, so a frame without any repeats one or is a preview."""
    left_out: int = 0


class Task(Struct, eq=False):
    """Our record of one prompt: (server, prompt id), owned by the window that posted it."""

    server: str
    prompt_id: str | None = None
    window: str | None = None
    client_id: str | None = None
    """Client id to which the server addresses its frames; None: to nobody, or to everybody (P2)."""
    state: State = State.SUBMITTING
    stated: State | None = None
    """Outcome reported so far; survives a second run of the same id, since completion is decided once."""
    confidence: Confidence | None = None
    completion_source: Source | None = None
    confirmed_by: Source | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    settled_at: float | None = None
    settled_position: int = 0
    outputs: tuple[Output, ...] = ()
    error: Failure | None = None
    texts: tuple[Text, ...] = ()
    left_out: int = 0
    """Number of outputs and texts beyond the bounds of the policy."""
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
    """Delivery of its result was requested; it is not requested again unless the application asks for it."""
    concluded: bool = False
    """Settled on absence or time alone, so late evidence may reopen it."""
    impaired: bool = False
    """Its socket was down, deaf, or silent about its end; the metrics count how many such tasks settle all the same."""
    job: Job | None = None
    """Job of the backlog for which this task was posted; None again once the job was moved to another task."""
    tag: bytes = b""
    """JSON that the application attached to it."""
    wanted: bool = True
    """False once the application cancelled it."""
    recalled: bool = False
    """It was to be withdrawn from its server, unless it ran already."""
    successor: str | None = None
    """Id under which its job went on, since it is proved that it never ran under this one."""

    # what the socket reported
    frames: int = 0
    """Number of frames about it that reached its own window."""
    end_received: bool = False
    """A frame that reported its end reached its own window."""
    null_received: bool = False
    unbroken: bool = False
    """Its start was received, and its socket was never down since."""
    has_timestamp: bool = False
    """Its start carried a timestamp: this server states a success by name (since July 2024)."""
    phase: int = 0
    last_sign: float = 0.0
    silent_since: float = 0.0
    """Last sign of life before the silence that was last examined; a later one starts a new silence."""
    tier: int = 0
    """Number of tiers that this silence has passed."""
    asked_from: float = 0.0
    tier_at: float = 0.0
    """When the question of the last of these tiers was asked; `asked_from`: that of the first."""
    quiet_from: float = 0.0
    """When its silence begins to count, if later than its last sign of life: until then nobody could be asked."""
    paused: int = 0
    """Number of pauses of its server that `quiet_from` takes into account."""
    confirms: int = 0
    """How often its record was fetched in this silence, to confirm its state."""
    confirming: bool = False
    """Its record alone was requested, without the queue: an answer without the record proves nothing."""
    stated_at: float | None = None
    """When its outcome was stated."""
    record_owed: bool = False
    """Settled as stated; its record is still being requested."""
    listed: bool = False
    """Settled by a list of jobs, which names no outputs: its outputs are those that frames reported."""

    # what remains to run
    remaining: set[str] = field(default_factory=set)
    """Nodes of the accepted graph that are not cached: once all have finished, the run is over."""
    sinks: set[str] | None = None
    reached: set[str] = field(default_factory=set)
    finished_early: set[str] = field(default_factory=set)
    """Nodes reported as done while the graph was not known yet (P12)."""
    announced: dict[str, bytes] = field(default_factory=dict)
    unannounced: int = 0
    """Number of nodes whose outputs were reported beyond the bound."""
    imaging: SocketImages | None = None
    """Images sent over the socket; None if no node of the graph sends any."""

    # what HTTP reported
    submitted_order: int = 0
    known_order: int = 0
    """Order at which its POST was over, or at which it was first shown; only a later query proves absence (P29)."""
    moved_at: float | None = None
    moved_position: int = 0
    over_at: float | None = None
    """When its POST was cut off without an answer; its server may take it up even after that."""
    rounds: list[AbsenceRound] = field(default_factory=list)
    """Rounds of absence since it was last shown; of many, the first and the last are kept."""
    denials: int = 0
    """How often its server answered that it has no record of it."""
    denied_position: int = 0
    fruitless_looks: int = 0
    record_requested: bool = False
    """Its record was requested, and no answer came yet: further signals of its end do not request it again."""
    shown_order: int = 0
    """Order of the last query whose answer showed it: its server had not forgotten it by then."""
    undelivered: bool = False
    """The connection for its POST was refused, so nothing was sent."""
    put_off: bool = False
    """The answer to its POST asked to try again later, so nothing of it is under way."""
    doubted: Failure | None = None
    """Answer to its POST, if it left open whether the prompt was accepted; reported if it never shows up again."""
    refused: int | None = None
    """HTTP status that refused its POST."""
    statusless: bool = False
    """Its record was seen without a status: it ended, and a later frame may state how."""
    statusless_outputs: object = None
    """Outputs of that record, which may be partial."""
    candidates: dict[str, bool] = field(default_factory=dict)
    """Servers to which it is not bound and that a recovery may ask for it; True if the server showed it."""

    @property
    def windows(self) -> tuple[str | None, ...]:
        """Windows that may receive its frames: its owner and, if different, the client id of its POST."""
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
        """It is not known yet whether the server accepted it."""
        return self.state in UNANSWERED

    @property
    def accepted(self) -> bool:
        """A server showed that it had it, however long ago: if it vanished afterwards, it may have run."""
        return any(
            told.signalled is Signal.ADOPT or (told.after not in UNANSWERED and told.after not in SETTLED)
            for told in self.signals
        )

    @property
    def unsent(self) -> bool:
        """Its POST never reached a server (P8), and none has it."""
        return self.undelivered and not self.accepted

    @property
    def nameless(self) -> bool:
        """It is not known whether it was accepted, and under which id (P10); a task that was reopened has its id."""
        return self.state in UNANSWERED and not self.accepted

    @property
    def may_have_another_id(self) -> bool:
        """It was concluded to be lost under the id that we chose, and may have been accepted under another (P10)."""
        lost = self.state is State.LOST and self.concluded and self.posts > 0
        return lost and not (self.undelivered or self.accepted)

    @property
    def outcome(self) -> State | None:
        return self.state if self.state in SETTLED else self.stated

    def apply(self, signal: Signal, name: str, position: int, at: float, limit: int) -> bool:
        """Apply a signal; return True if the state changed. Of the signals, the first and the last are kept."""
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
            if self.stated is None:  # the end was concluded too early: nothing reported it yet
                self.completion_source = self.ended_at = self.confidence = None
        return True

    def note_end_source(self, name: Source, at: float) -> None:
        """Note the first signal that reports the end as its source; later ones only confirm it."""
        if self.completion_source is None:
            self.completion_source = name
            self.ended_at = at
            # Queries that failed while it ran are no reason to wait now.
            self.record_requested, self.fruitless_looks = False, 0

    @property
    def over(self) -> bool:
        """Its end was reported or its record seen: further news of the run is late, whatever it says."""
        return self.stated is not None or self.null_received or self.statusless

    def conclude(self) -> None:
        """Infer a success before July 2024, when `executing` null alone ends a run: all of it was received, every sink
        was done or cached, and no error or interrupt was reported."""
        if self._silent_end() and self.sinks is not None and not self.sinks:
            self.stated, self.confidence = State.COMPLETED, "inferred"

    def reached_every_sink(self) -> bool:
        """Apply the same rule with sinks that were at least begun, since some never send `executed` (P15)."""
        return self._silent_end() and self.sinks is not None and self.sinks <= self.reached

    def _silent_end(self) -> bool:
        return self.null_received and self.unbroken and not self.has_timestamp and self.stated is None

    def finish_nodes(self, nodes: Iterable[str], limit: int) -> None:
        """Note nodes that will report nothing more; the remaining sinks are those that still may."""
        if self.sinks is not None:
            self.sinks.difference_update(nodes)
        elif len(self.finished_early) < limit:
            self.finished_early.update(nodes)

    def reach(self, nodes: Iterable[str], limit: int) -> None:
        """Note nodes that were begun, cached or done; while the graph is unknown, at most `limit` are remembered."""
        if self.sinks is not None:
            self.reached.update(self.sinks.intersection(nodes))
        elif len(self.reached) < limit:
            self.reached.update(nodes)

    def mark_settled(self, ending: Ending, position: int, at: float) -> None:
        """Record a settlement; the working notes of the run are dropped."""
        outcome, confidence = ending.outcome, ending.confidence
        self.stated = outcome
        self.confidence = confidence
        self.concluded = outcome in RECOVERABLE or (outcome is State.CANCELLED and confidence == "inferred")
        self.confirmed_by = ending.source
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
        """Forget what was concluded from silence or absence; `again`: its result is to be delivered once more."""
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
        """Forget the run at the former server, after an adopt command: it says nothing about the run here."""
        self.null_received = self.unbroken = self.has_timestamp = self.statusless = False
        self.phase = self.paused = 0
        self.moved_at = None

    def active_after(self, at: float) -> bool:
        """Whether its last sign of life is later than `at`; a command that restarted its silence is none."""
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
    """Decode a tag; None if there is none, or if it cannot be read."""
    return codec.body(Raw(tag), object) if tag else None
