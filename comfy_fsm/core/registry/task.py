"""Record of one task: what was reported about it so far, and what each transition leaves behind.

Knows no other task, no socket and no request: an observation is attributed before it comes here. Its fields, and those
of its parts, are written here and in `parts` alone. What every frame touches stands in the task itself, for speed.
"""

from __future__ import annotations

from collections.abc import Collection, Set
from dataclasses import dataclass, field

from msgspec import Raw

from comfy_fsm.core.effects import Failure, Output, Result, Text
from comfy_fsm.core.machine import MOVES, RECOVERABLE, SETTLED, UNANSWERED, Signal, State
from comfy_fsm.core.registry import task_parts
from comfy_fsm.core.registry.ending import Cause, Confidence, Ending, Source
from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.wire import codec

__all__ = ["Task", "tag_value"]


@dataclass(slots=True, eq=False)
class Task:
    """Task: our record of one prompt, (server, prompt id), owned by the window that posted it."""

    server: str
    prompt_id: str | None = None
    window: str | None = None
    client_id: str | None = None
    """Client id to which the server addresses its frames; None: to nobody, or to everybody (P2)."""
    number: int = 0
    first_position: int = 0
    tag: bytes = b""
    """JSON that the application attached to it."""

    # what every frame touches
    state: State = State.SUBMITTING
    signals: list[task_parts.Transition] = field(default_factory=list)
    frames: int = 0
    """Number of frames about it that reached its own window."""
    last_sign: float = 0.0
    phase: int = 0
    concluded: bool = False
    """Settled on absence or time alone, so late evidence may reopen it."""
    remaining: Set[str] = task_parts.NO_NODES
    """Nodes of the accepted graph that are not cached: once all have finished, the run is over."""
    imaging: task_parts.SocketImages | None = None
    """Images sent over the socket; None if no node of the graph sends any."""

    # its parts
    submission: task_parts.Submission = field(default_factory=task_parts.Submission)
    answer: task_parts.PostAnswer = field(default_factory=task_parts.PostAnswer)
    run: task_parts.Run = field(default_factory=task_parts.Run)
    remains: task_parts.Remains = field(default_factory=task_parts.Remains)
    silence: task_parts.Silence = field(default_factory=task_parts.Silence)
    inquiry: task_parts.Inquiry = field(default_factory=task_parts.Inquiry)
    end: task_parts.KnownEnd = field(default_factory=task_parts.KnownEnd)

    # what is known of it at the server, in the order of the log
    posts: int = 0
    known_order: int = 0
    """Order at which its POST was over, or at which it was first shown; only a later query proves absence (P29)."""
    shown_order: int = 0
    """Order of the last query whose answer showed it: its server had not forgotten it by then."""
    started_at: float | None = None
    impaired: bool = False
    """Its socket was down, deaf, or silent about its end; the metrics count how many such tasks settle all the same."""

    # what came of it
    outputs: tuple[Output, ...] = ()
    texts: tuple[Text, ...] = ()
    error: Failure | None = None
    left_out: int = 0
    """Number of outputs and texts beyond the bounds of the policy."""
    missed: tuple[str, ...] = ()
    """Nodes whose images came over the socket, but not all of them."""
    unannounced: int = 0
    """Number of nodes whose outputs frames reported beyond the bound."""
    listed: bool = False
    """Settled by a list of jobs, which names no outputs: its outputs are those that frames reported."""
    delivered: bool = False
    handed_over: bool = False
    """Delivery of its result was requested; it is not requested again unless the application asks for it."""

    # its job
    job: Job | None = None
    """Job of the backlog for which this task was posted; None again once the job was moved to another task."""
    wanted: bool = True
    """False once the application cancelled it."""
    recalled: bool = False
    """It was to be withdrawn from its server, unless it ran already."""
    successor: str | None = None
    """Id under which its job went on, since it is proved that it never ran under this one."""

    @property
    def stated(self) -> State | None:
        return self.end.stated

    @property
    def confidence(self) -> Confidence | None:
        return self.end.confidence

    @property
    def completion_source(self) -> Source | None:
        return self.end.source

    @property
    def confirmed_by(self) -> Source | None:
        return self.end.confirmed_by

    @property
    def cause(self) -> Cause | None:
        return self.end.cause

    @property
    def submitted_at(self) -> float | None:
        return self.submission.at

    @property
    def ended_at(self) -> float | None:
        return self.end.at

    @property
    def settled_at(self) -> float | None:
        return self.end.settled_at

    @property
    def windows(self) -> tuple[str | None, ...]:
        """Windows that may receive its frames: its owner and, if different, the client id of its POST."""
        return (self.window,) if self.client_id == self.window else (self.window, self.client_id)

    @property
    def settled(self) -> bool:
        return self.state in SETTLED

    @property
    def unanswered(self) -> bool:
        """Return whether it is still open if the server accepted it."""
        return self.state in UNANSWERED

    @property
    def accepted(self) -> bool:
        """Return whether any server ever showed that it had it: if it vanished afterwards, it may have run."""
        return any(
            told.signalled is Signal.ADOPT or (told.after not in UNANSWERED and told.after not in SETTLED)
            for told in self.signals
        )

    @property
    def unsent(self) -> bool:
        """Return whether its POST never reached a server (P8), and none has it."""
        return self.answer.undelivered and not self.accepted

    @property
    def nameless(self) -> bool:
        """Return whether it is open if it was accepted, and under which id (P10); a reopened task has its id."""
        return self.state in UNANSWERED and not self.accepted

    @property
    def may_have_another_id(self) -> bool:
        """Return whether it was concluded lost under the id that we chose, and may have another (P10)."""
        lost = self.state is State.LOST and self.concluded and self.posts > 0
        return lost and not (self.answer.undelivered or self.accepted)

    @property
    def outcome(self) -> State | None:
        return self.state if self.state in SETTLED else self.end.stated

    @property
    def over(self) -> bool:
        """Return whether its end was reported or its record seen: further news of the run is late, whatever it says."""
        return self.end.stated is not None or self.run.null_received or self.run.statusless

    def register(self, number: int, position: int, at: float) -> None:
        """Take its place among all tasks, as it is seen for the first time."""
        self.number, self.first_position, self.last_sign = number, position, at

    def take_id(self, prompt_id: str) -> None:
        self.prompt_id = prompt_id

    def post(self, window: str | None, client_id: str | None, submission: task_parts.Submission) -> None:
        """Take the POST by which a window submits it."""
        self.window, self.client_id, self.submission = window, client_id, submission

    def count_post(self, job: Job | None, tag: bytes) -> None:
        self.posts += 1
        self.job = job or self.job
        self.tag = tag or (self.job.tag if self.job is not None else self.tag)

    def split(self) -> Task:
        """Return the task of the second POST under this id, which was given an id of its own."""
        self.posts = 1
        again = Task(server=self.server, window=self.window, client_id=self.client_id, posts=1, tag=self.tag)
        again.submission = self.submission
        return again

    def absorb(self, posted: Task) -> None:
        """Take over who posted it: its frames came before the answer to the POST named this id (P12)."""
        self.post(posted.window, posted.client_id, posted.submission)
        self.posts, self.tag = posted.posts, posted.tag
        self.job, self.recalled, self.wanted = posted.job, posted.recalled, posted.wanted
        if not self.settled:
            self.remaining, self.imaging = posted.remaining - self.remains.reached, posted.imaging
            self.remains.join(posted.remains.sinks)

    def move(self, server: str, order: int) -> None:
        """Bind it to another server: neither the run at the former one counts, nor what this one did not list."""
        self.server, self.known_order = server, order
        self.run, self.phase = task_parts.Run(end_received=self.run.end_received), 0
        self.silence.end()

    # what was heard and shown of it

    def plan(self, sinks: set[str] | None, remaining: Set[str], images: Collection[str]) -> None:
        """Take the graph that was posted: its sinks, the nodes that must run, and those that send images."""
        self.remains.plan(sinks)
        self.remaining = remaining
        if images:
            self.imaging = task_parts.SocketImages(frozenset(images))

    def drop(self, nodes: set[str]) -> None:
        """Expect nothing of these nodes, which the server dropped when it accepted the rest."""
        self.remaining = task_parts.NO_NODES
        self.remains.drop(nodes)
        if self.imaging is not None:
            self.imaging.drop(nodes)

    def skip(self, nodes: Collection[str]) -> None:
        """Expect no end of these nodes, whose results are cached."""
        self.remaining -= frozenset(nodes)

    def receive(self, at: float) -> None:
        """Count a frame about it that reached its own window."""
        self.frames += 1
        self.last_sign = at

    def note_sign(self, at: float) -> None:
        """Note a sign of life that is no frame."""
        self.last_sign = at

    def note_known(self, order: int) -> None:
        self.known_order = order

    def note_shown(self, order: int) -> None:
        self.shown_order = order

    def enter(self, phase: int) -> None:
        self.phase = phase

    def begin(self, at: float, *, has_timestamp: bool) -> None:
        """Note that its run started."""
        self.started_at = self.started_at or at
        self.run.begin(has_timestamp=has_timestamp)

    def announce(self, node: str, output: bytes, limit: int) -> None:
        """Keep what a frame says that a node produced."""
        announced = self.remains.announced
        if node in announced or len(announced) < limit:
            announced[node] = output
        else:
            self.unannounced += 1

    def impair(self) -> bool:
        """Note that its socket failed it; return True if it was whole until now."""
        first, self.impaired = not self.impaired, True
        return first

    # how it ends

    def apply(self, signal: Signal, name: str, position: int, at: float, limit: int) -> bool:
        """Apply a signal; return True if the state changed. Of the signals, the first and the last are kept."""
        before, signals = self.state, self.signals
        after = MOVES[before][signal]
        if len(signals) >= limit:
            del signals[limit // 2]
        signals.append(task_parts.Transition(name, position, at, before, signal, after))
        if after is before:
            return False
        self.state = after
        if after is State.IN_PROGRESS:
            self.started_at = self.started_at or at
            if self.end.stated is None:
                self.end.withdraw()
        return True

    def note_end_source(self, name: Source, at: float) -> None:
        """Note who reports the end; queries that failed while it ran are no reason to wait now."""
        if self.end.report(name, at):
            self.inquiry.start_over()

    def conclude(self) -> None:
        """Infer a success before July 2024, when null alone ends a run: all was received, each sink done or cached."""
        if self._silent_end() and self.remains.sinks is not None and not self.remains.sinks:
            self.end.infer(State.COMPLETED)

    def reached_every_sink(self) -> bool:
        """Apply the same rule with sinks that were at least begun, since some never send `executed` (P15)."""
        sinks = self.remains.sinks
        return self._silent_end() and sinks is not None and sinks <= self.remains.reached

    def _silent_end(self) -> bool:
        run = self.run
        return run.null_received and run.unbroken and not run.has_timestamp and self.end.stated is None

    def fail(self, failure: Failure | None) -> None:
        """Take the reason of a failure; the first stands unless a better one is given."""
        self.error = failure or self.error

    def produce(self, outputs: tuple[Output, ...], texts: tuple[Text, ...], left_out: int) -> None:
        self.outputs, self.texts, self.left_out = outputs, texts, left_out + self.unannounced

    def produce_images(self, imaging: task_parts.SocketImages) -> None:
        """Add the images that came over the socket."""
        self.outputs = (*(output for output in self.outputs if not output.by_socket), *imaging.images)
        self.left_out += imaging.left_out

    def miss(self, nodes: Collection[str]) -> None:
        """Note nodes whose images did not all come."""
        self.missed = tuple(sorted(nodes))

    def mark_settled(self, ending: Ending, position: int, at: float) -> None:
        """Record a settlement; the working notes of the run are dropped."""
        outcome = ending.outcome
        self.end.settle(ending, position, at)
        self.concluded = outcome in RECOVERABLE or (outcome is State.CANCELLED and ending.confidence == "inferred")
        if outcome in RECOVERABLE:
            self.error = self.error or self.answer.doubted
        else:
            self.end.close(at)
        self.remains.clear()
        self.run.statusless_outputs = None
        self.remaining = task_parts.NO_NODES

    def verify(self, ending: Ending, *, listed: bool) -> None:
        """Take the record of a task that was settled without one."""
        self.end.verify(ending)
        self.concluded, self.listed = False, listed

    def note_listed(self) -> None:
        self.listed = True

    def hand_over(self) -> None:
        self.handed_over = True

    def deliver(self) -> None:
        self.delivered = True

    def share_delivery(self, other: Task) -> None:
        """Count the result as delivered, if that of the same task under its former id was."""
        self.delivered, self.handed_over = other.delivered, other.handed_over

    def reopen(self, at: float, *, again: bool) -> None:
        """Forget what was concluded from silence or absence; `again`: its result is to be delivered once more."""
        self.concluded = False
        if again:
            self.delivered = self.handed_over = False
        self.error = None if self.error is self.answer.doubted else self.error
        self.end, self.inquiry = task_parts.KnownEnd(settled_position=self.end.settled_position), task_parts.Inquiry()
        self.silence.tier = 0
        self.last_sign = at

    def active_after(self, at: float) -> bool:
        """Return whether its last sign of life is later than `at`; a command that restarted its silence is none."""
        commanded = any(told.at == self.last_sign and told.signal == "command" for told in self.signals)
        return self.last_sign > at and not commanded

    def recall(self) -> None:
        """Note that it was to be withdrawn from its server, unless it is settled."""
        self.recalled = self.recalled or not self.settled

    def cancel(self) -> None:
        self.wanted = False

    def pass_on(self, successor: str) -> None:
        """Give its job to another task."""
        self.job, self.successor = None, successor

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
