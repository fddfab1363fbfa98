"""Facts about one task that a diagnosis asks for, each by a name.

Three kinds: words, which the sentences name as `{c.word}`; questions, which decide whether a rule applies; places,
which name the positions that show it. Nothing here changes anything: facts are read, never folded.
"""

from __future__ import annotations

from comfy_fsm.core.explain.context import Context, whose
from comfy_fsm.core.findings import Code
from comfy_fsm.core.machine import RECOVERABLE, Signal, State
from comfy_fsm.core.registry.ending import RECORDS, CauseKind
from comfy_fsm.core.registry.registry import ANY_PROMPT, OTHER_PROMPT
from comfy_fsm.display import cut, duration, plural

__all__ = ["MAX_NAME", "Facts", "Places"]

_MAX_TOLD = 200
"""Characters that a sentence repeats of a server's own words."""
MAX_NAME = 60
"""Characters of a name: of a node, a class, another prompt."""
_MAX_NODES = 5
"""Number of nodes that a sentence names."""
_STATEMENTS = {State.COMPLETED: "succeeded", State.FAILED: "failed", State.CANCELLED: "was interrupted"}

Places = tuple[int, ...]


class Facts(Context):
    """Facts that the rules of a diagnosis may ask for about one task."""

    # words

    @property
    def server(self) -> str:
        return self.task.server or "its server"

    @property
    def window(self) -> str:
        return f"window {self.task.window}" if self.task.window else "its window"

    @property
    def who(self) -> str:
        """Window that caused it."""
        return whose(self.task.cause)

    @property
    def threat(self) -> str:
        """Window that asked for what may have removed or stopped it."""
        return whose(self._threat())

    @property
    def how(self) -> str:
        """Return how it was caused, in a word of whoever noted it."""
        cause = self.task.cause
        return cause.what if cause is not None and cause.what else "no answer"

    @property
    def source(self) -> str:
        """Signal that says most about its end: the one that stated it, otherwise one that only reported it."""
        told = self._ended()
        return told.signal if told is not None else self.task.completion_source or "a signal"

    @property
    def basis(self) -> str:
        """Return how far that signal goes: `executing` null states no success, it only lets one be concluded (P22)."""
        if self.task.confidence == "inferred":
            return f"as far as {self.source} lets conclude"
        return f"as {self.source} {'stated' if self.task.state is State.ENDING else 'told'}"

    @property
    def successor(self) -> str:
        """Id under which its job went on."""
        return cut(self.task.successor or "", MAX_NAME)

    @property
    def statement(self) -> str:
        return _STATEMENTS.get(self.task.outcome or State.COMPLETED, "ended")

    @property
    def record(self) -> str:
        return "job record" if self.task.confirmed_by == "jobs" else "history"

    @property
    def dispute(self) -> str:
        return self._text(Code.CONTRADICTION)

    @property
    def flaw(self) -> str:
        return self._text(Code.HISTORY_INCOMPLETE)

    @property
    def node(self) -> str:
        error = self.task.error
        if error is None or error.node_id is None:
            return ""
        return f"node {cut(error.node_id, MAX_NAME)}" + (
            f" ({cut(error.node_type, MAX_NAME)})" if error.node_type else ""
        )

    @property
    def complaint(self) -> str:
        """Return the server's own words about a failure, on one line."""
        error = self.task.error
        parts = (error.type, error.message) if error is not None else ()
        words = ": ".join(cut(part, 4 * _MAX_TOLD) for part in parts if part)
        return cut(" ".join(words.split()), _MAX_TOLD) or "it gave no reason"

    @property
    def outage(self) -> str:
        return self._home.outage.what if self._home.outage is not None else ""

    @property
    def trouble(self) -> str:
        return self._home.unreachable.what if self._home.unreachable is not None else ""

    @property
    def failures(self) -> str:
        return "the last request" if self._home.failures == 1 else f"the last {plural(self._home.failures, 'request')}"

    @property
    def denials(self) -> str:
        return "once" if self.task.inquiry.denials == 1 else f"{self.task.inquiry.denials:,} times"

    @property
    def listing(self) -> str:
        look = self._last_snapshot()
        return "listed it" if look is not None and self.task.prompt_id in look.ids else "did not list it"

    @property
    def left(self) -> str:
        """Output nodes that were not reported as done."""
        found = sorted(self.task.remains.sinks or ())
        more = f" and {len(found) - _MAX_NODES:,} more" if len(found) > _MAX_NODES else ""
        return ", ".join(cut(node, MAX_NAME) for node in found[:_MAX_NODES]) + more

    @property
    def silence(self) -> str:
        return duration(self._now - self.task.last_sign)

    @property
    def patience(self) -> str:
        """Return how long it had been silent when it was given up."""
        return duration((self.task.settled_at or self._now) - self.task.last_sign)

    @property
    def blocker(self) -> str:
        return cut(self._stuck[0], MAX_NAME) if self._stuck is not None else ""

    @property
    def standstill(self) -> str:
        return duration(self._stuck[2].at - self._stuck[1].at) if self._stuck is not None else ""

    # questions

    def always(self) -> bool:
        return True

    def posted(self) -> bool:
        return self.task.submitted_at is not None

    def overheard(self) -> bool:
        """Return whether it is known from its frames alone: nobody here posted it, and nobody follows it."""
        return not self.posted() and not self.followed()

    def reopened(self) -> bool:
        return any(told.signalled is Signal.RECOVER and told.before in RECOVERABLE for told in self.task.signals)

    def inferred(self) -> bool:
        """Return whether it is a conclusion: nobody stated that it ended so."""
        return self.task.concluded

    def adopted(self) -> bool:
        """Return whether a recovery bound it to a server that showed it."""
        return self._told(Signal.ADOPT) is not None

    def moved_on(self) -> bool:
        """Return whether it is proved that it never ran, and its job went on under another id."""
        return self.task.successor is not None

    def unsent(self) -> bool:
        return self.task.unsent

    def nameless(self) -> bool:
        """Return whether it was posted without a known answer, accepted or not."""
        return self.posted() and self.task.nameless and not self.task.unsent

    def followed(self) -> bool:
        """Return whether it is somebody else's, and a follow command asked for it (F6)."""
        first = self.task.signals[0] if self.task.signals else None
        return first is not None and (first.signal, first.signalled) == ("command", Signal.DOUBT)

    def addressed_to_nobody(self) -> bool:
        return self.posted() and self.task.client_id is None

    def unheard(self) -> bool:
        """Return whether it is addressed to a window of which no socket was ever seen."""
        return self.task.client_id is not None and self._listener is None

    def down(self) -> bool:
        return self._listener is not None and not self._listener.open

    def dropped(self) -> bool:
        """Return whether its socket has been down since a moment when the task was running."""
        gone = self._listener.gone_at if self._listener is not None and not self._listener.open else None
        return gone is not None and gone >= (self.task.started_at or gone)

    def deaf(self) -> bool:
        return self.found(Code.DEAF_SOCKET) or (self.task.run.moved_at is not None and not self.task.frames)

    def out(self) -> bool:
        """Return whether its server was not there after it was posted (P8)."""
        return self._away() == "outage"

    def hung_up(self) -> bool:
        """Return whether a socket to its server broke off after it was posted: the server may have gone down, too."""
        return self._away() == "hang-up"

    def unwatched(self) -> bool:
        return self._away() == "unwatched"

    def unreachable(self) -> bool:
        return self._home.unreachable is not None

    def unread(self) -> bool:
        """Return whether a part of the trace could not be read, and may have reported on it."""
        return bool(self._unread)

    def queried(self) -> bool:
        return self._last_snapshot() is not None

    def queried_since(self) -> bool:
        """Return whether the queue was asked after its last sign of life."""
        look = self._last_snapshot()
        return look is not None and look.at > self.task.last_sign

    def vanished(self) -> bool:
        """Return whether the last snapshot of the queue, later than all else known of it, did not list it."""
        look = self._last_snapshot()
        return self.queried_since() and look is not None and self.task.prompt_id not in look.ids

    def unasked(self) -> bool:
        return not (self.task.inquiry.denials or self.task.run.statusless or self.invalid())

    def behind(self) -> bool:
        """Return whether another prompt has been listed as running for long: a long run, or a dead worker (P34)."""
        return self._stuck is not None and self._stuck[0] != self.task.prompt_id

    def standing(self) -> bool:
        return self._stuck is not None and self._stuck[0] == self.task.prompt_id

    def quiet(self) -> bool:
        return self._now - self.task.last_sign >= self._patience

    def healthy(self) -> bool:
        """Return whether it makes progress, reported on it recently, and has an open socket to report more."""
        if self.task.unanswered or self._listener is None or not self._listener.open or self.found(Code.UNRESOLVED):
            return False
        amiss = (
            self.quiet, self.deaf, self.out, self.hung_up, self.unreachable, self.denied, self.threatened, self.vanished
        )  # fmt: skip
        return self._stuck is None and not any(ask() for ask in amiss)

    def threatened(self) -> bool:
        """Return whether an act was requested that may have removed or stopped it, with unknown result."""
        return self._threat() is not None

    def stated(self) -> bool:
        return self.task.stated is not None and self.task.confidence == "stated"

    def concluded(self) -> bool:
        return self.task.stated is not None and self.task.confidence == "inferred"

    def ended(self) -> bool:
        return self.task.run.null_received or self._told(Signal.END) is not None

    def invalid(self) -> bool:
        return self.found(Code.HISTORY_INCOMPLETE) and not self.task.settled

    def complained(self) -> bool:
        return self.task.error is not None and bool(self.task.error.type or self.task.error.message)

    def starved(self) -> bool:
        words = self.complaint.lower()
        return "outofmemory" in words or "out of memory" in words

    def ran(self) -> bool:
        return self.task.started_at is not None or self.task.confirmed_by in RECORDS or self.ended()

    def begun(self) -> bool:
        return self.task.started_at is not None

    def accepted(self) -> bool:
        return self.task.accepted

    def aimed_at_all(self) -> bool:
        return self.task.cause is not None and self.task.cause.what == ANY_PROMPT

    def aimed_elsewhere(self) -> bool:
        return self.task.cause is not None and self.task.cause.what == OTHER_PROMPT

    def denied(self) -> bool:
        return self.task.inquiry.denials > 0

    def statusless(self) -> bool:
        return self.task.run.statusless

    def open_ended(self) -> bool:
        return self.task.stated is None

    def verified(self) -> bool:
        return self.task.confidence == "verified"

    def recorded(self) -> bool:
        """Return whether a record settled it, even one without a status."""
        return self.task.confirmed_by in RECORDS

    def placed(self) -> bool:
        return bool(self.node)

    def unfinished(self) -> bool:
        return bool(self.task.remains.sinks)

    def caused_by(self, kind: CauseKind, *, own: bool = False) -> bool:
        cause = self.task.cause
        return cause is not None and cause.kind == kind and not (own and cause.window != self.task.window)

    def found(self, code: Code) -> bool:
        return any(finding.code == code for finding in self.findings)

    # places

    def nowhere(self) -> Places:
        return ()

    def at_post(self) -> Places:
        return (self.task.submission.position,) if self.posted() else ()

    def at_cause(self) -> Places:
        return (self.task.cause.position,) if self.task.cause is not None else ()

    def at_doubt(self) -> Places:
        return self.at_post() + self.at_cause()

    def at_first(self) -> Places:
        return (self.task.first_position,)

    def at_last(self) -> Places:
        return (self.task.signals[-1].position,) if self.task.signals else self.at_first()

    def at_end(self) -> Places:
        told = self._ended()
        return (told.position,) if told is not None else ()

    def at_settling(self) -> Places:
        return (self.task.end.settled_position,) if self.task.end.settled_position else ()

    def at_outage(self) -> Places:
        return (self._home.outage.position,) if self._home.outage is not None else ()

    def at_trouble(self) -> Places:
        return (self._home.unreachable.position,) if self._home.unreachable is not None else ()

    def at_query(self) -> Places:
        look = self._last_snapshot()
        return (look.position,) if look is not None else ()

    def at_denial(self) -> Places:
        return (self.task.inquiry.denied_position,)

    def at_absence(self) -> Places:
        return tuple(look.position for look in self.task.inquiry.rounds[-1:])

    def at_closing(self) -> Places:
        """Return where its socket closed while it was needed."""
        down = self._listener.down_position if self._listener is not None else None
        return tuple(dict.fromkeys(self.at(Code.SOCKET_GAP) + ((down,) if down is not None else ())))

    def at(self, code: Code) -> Places:
        return tuple(position for finding in self.findings if finding.code == code for position in finding.positions)

    def at_threat(self) -> Places:
        act = self._threat()
        return (act.position,) if act is not None else ()

    def at_standstill(self) -> Places:
        return (self._stuck[1].position, self._stuck[2].position) if self._stuck is not None else ()

    def at_gaps(self) -> Places:
        return tuple(position for finding in self._unread for position in finding.positions)
