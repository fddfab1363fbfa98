"""What is remembered of a server, its sockets, and what was asked of it: plain records, which the ledger holds."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from math import inf

from msgspec import Struct, field

from comfy_fsm.core.findings import Finding
from comfy_fsm.core.observations import Binary, Message
from comfy_fsm.core.registry.counters import ServerCounters
from comfy_fsm.core.registry.pauses import Pauses
from comfy_fsm.core.registry.task import Cause, CauseKind, Task

MAX_WHAT = 80
"""Characters kept of what a recorder calls a failed request."""
INTERRUPTS_BY_ID, NAMES_CANCELLED = (0, 3, 57), (0, 9, 0)
"""The versions since which this is so (P31, P37)."""
COUNTING = 32
"""Sockets of one server whose counts of what waits or runs are compared."""
ANY_PROMPT, OTHER_PROMPT = "naming no prompt", "naming another prompt"
"""What an act was aimed at, if not at the prompt that it hit (P31)."""


class Act(Struct, eq=False):
    """A window interrupted or removed: `ids` None means whatever was there (P30, P31)."""

    kind: CauseKind
    window: str | None
    ids: frozenset[str] | None
    order: int
    position: int
    at: float
    used: bool = False
    exact: bool = False
    """It can hit no prompt but the named, whatever the version (P42)."""

    def hits(self, prompt_id: str | None) -> bool:
        return self.ids is None or prompt_id in self.ids

    def cause(self, prompt_id: str | None) -> Cause:
        """The act, as what happened to this prompt."""
        what = ANY_PROMPT if self.ids is None else "" if self.hits(prompt_id) else OTHER_PROMPT
        return Cause(self.kind, self.position, self.at, self.window, what)


class Question(Struct, eq=False):
    """A request whose answer is still to come."""

    kind: str
    server: Server
    window: str | None
    order: int
    at: float
    prompt_id: str | None = None
    task: Task | None = None
    acts: tuple[Act, ...] = ()
    answered: bool = False
    partial: bool = False
    """It asks for a part of a list: what the answer lacks is not absent."""
    what: str = ""
    """Method and path, where it is of no kind that is known."""


class QueueSnapshot(Struct):
    asked_at: float
    rows: int
    asked: int
    answered: int
    ids: frozenset[str]
    running: frozenset[str]
    position: int
    at: float


class Socket(Struct, eq=False):
    """The ear of one window at one server."""

    server: Server
    window: str | None
    open: int = 0
    seen: bool = False
    opened_order: int = 0
    down_position: int | None = None
    down_at: float = 0.0
    gone_at: float | None = None
    """When it ended, until it is opened again; whether or not a task was in flight."""
    close_reason: str = ""
    read_to: float = 0.0
    conn: int | None = None
    counts: deque[tuple[float, int | None]] = field(default_factory=lambda: deque(maxlen=64))
    """What its `status` frames said of how many prompts wait or run, and when; None from its end on."""
    counted_at: float = 0.0
    """When it last told so of itself, and not to greet whoever connected."""
    greeted_at: float = 0.0
    """When it was last greeted: what a deaf one is told, too (P3), and one that tells nothing at all is not."""
    end_told: bool = False
    """A frame told the end of a task since the last of these: it explains why there are fewer now (P21)."""
    looked_at: float = 0.0
    """Until when no further look is asked for because there are fewer."""
    running: Task | None = None
    overheard: dict[str, Finding] = field(default_factory=dict)
    """What it heard about tasks of other windows, noted once for each."""
    loose: dict[int, Task] = field(default_factory=dict)
    """Settled or moved over HTTP: whether this ear heard of it is judged when it closes."""
    loose_due: list[tuple[float, int]] = field(default_factory=list)
    """When the time of the first of them is over, be the socket open or not: a heap."""

    def leave(self, at: float, reason: str) -> None:
        self.gone_at, self.close_reason = at, reason

    def loosen(self, task: Task, due: float) -> None:
        self.loose[task.number] = task
        heapq.heappush(self.loose_due, (due, task.number))


class WindowTasks(Struct, eq=False):
    """The open tasks of one window at one server; and, so that a sweep costs what changed since the last one, those of
    them that are news to each kind of sweep."""

    open: dict[int, Task] = field(default_factory=dict)
    ungapped: dict[int, Task] = field(default_factory=dict)
    """Told of since the last gap of the window's socket."""
    uncounted: dict[int, Task] = field(default_factory=dict)
    """Told of since a look at all was last asked for, because the server counted fewer."""
    unlooked: dict[int, Task] = field(default_factory=dict)
    """Told of, or handed over to be looked at, since a look at all was last asked for."""
    unresumed: dict[int, Task] = field(default_factory=dict)
    """The same, since a process last took the window up."""

    def note(self, task: Task) -> None:
        self.ungapped[task.number] = self.uncounted[task.number] = task
        self.unlooked[task.number] = self.unresumed[task.number] = task


class Window(Struct, eq=False):
    """One client id over all servers: what a process that takes it up has to look after."""

    seen: bool = False
    """It asked or heard something; else a POST only named it."""
    resumed_at: float = 0.0
    stirred: dict[str, Server] = field(default_factory=dict)
    """Servers at which anything changed for it since the last time, by address."""
    pending: dict[str, Question] = field(default_factory=dict)
    """What it asked, and was not answered, by request id."""
    undelivered: dict[int, Task] = field(default_factory=dict)
    """Its settled tasks whose result was not handed over, nor is asked to be."""


def window_of(windows: dict[str | None, Window], name: str | None) -> Window:
    window = windows.get(name)
    if window is None:
        window = windows[name] = Window()
    return window


class Server(Struct, eq=False):
    """One ComfyUI, as the windows know it."""

    url: str
    twins: list[Server] = field(default_factory=list)
    """Itself, and those whose address may be another one of its own."""
    joined: set[str] = field(default_factory=set)
    """Those of them that were taken for it."""
    tasks: dict[str, Task] = field(default_factory=dict)
    prefixes: set[str] = field(default_factory=set)
    """Paths of a proxy under which a prompt was posted or asked about."""
    chosen: dict[str, Task] = field(default_factory=dict)
    """Ids that a client chose and the server did not take (P10), with the task they were meant for."""
    open_tasks: dict[int, Task] = field(default_factory=dict)
    own: dict[str | None, WindowTasks] = field(default_factory=dict)
    """The same by window, and by the client id of their POST."""
    unanswered: dict[int, Task] = field(default_factory=dict)
    """Those of them of which it is not known whether the server took them."""
    counting: OrderedDict[str | None, Socket] = field(default_factory=OrderedDict)
    """The sockets that last told how many prompts wait or run; all tell the same, so a few are enough."""
    unfound: dict[int, Task] = field(default_factory=dict)
    """Those that were called lost, and may turn up under another id (P10)."""
    sockets: dict[str | None, Socket] = field(default_factory=dict)
    waiting: OrderedDict[str, list[tuple[int, Message | Binary]]] = field(default_factory=OrderedDict)
    acts: deque[Act] = field(default_factory=deque)
    queues: deque[QueueSnapshot] = field(default_factory=lambda: deque(maxlen=8))
    running: dict[str, tuple[QueueSnapshot, QueueSnapshot]] = field(default_factory=dict)
    """What the last look showed as running, with the first and the last of the looks that all did."""
    counts: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=64))
    """What `GET /prompt` answered: when it was asked and answered, and how many prompts wait or run."""
    absent: dict[int, Task] = field(default_factory=dict)
    """Open tasks that a round of queue and history did not show."""
    turn: list[Task] = field(default_factory=list)
    """Those of them that are still to be judged in this turn, the next one last."""
    turn_due: float = float("inf")
    """When the absence of the first of those that were judged in it may be judged again."""
    absent_due: float = float("inf")
    """When the absence of the first of them may be judged, whatever its socket still holds."""
    shown_order: int = 0
    """The last answer that showed a task of ours: it is a server that knows us."""
    mixed: bool = False
    """Its answers contradicted each other, as of several servers behind one address: no absence is concluded here."""
    honours_ids: bool | None = None
    """Whether a prompt id chosen by the client is taken (since 0.3.45, P10); None while nothing showed it."""
    gives_status: bool = False
    """A record of this server had a status (since January 2024)."""
    version: tuple[int, ...] | None = None
    """Of its ComfyUI, where it was asked and told."""
    has_jobs: bool = False
    """It showed a job, or said of one that there is none (since 0.6.0, P43)."""
    cancelled_jobs: bool | None = None
    """Whether its jobs are ever `cancelled`, as far as they showed (since 0.9.0, P37)."""
    outage_order: int = 0
    outages: deque[tuple[int, Cause]] = field(default_factory=lambda: deque(maxlen=16))
    """The last times that it went down or nobody watched it, and when each was told."""
    counters: ServerCounters = field(default_factory=ServerCounters)
    outage: Cause | None = None
    unreachable: Cause | None = None
    """The first of the questions about tasks that it left without a usable answer, one after the other (P33)."""
    failures: int = 0
    """How many those are."""
    missed_at: float | None = None
    """When the first of them went unanswered, until one is answered."""
    pauses: Pauses = field(default_factory=Pauses)
    """The times in which they went unanswered, until one was."""
    windows: dict[str | None, Window] = field(default_factory=dict)
    """All that there are, at whichever server."""

    def add_open(self, task: Task) -> None:
        """The task is open here from now on."""
        self.open_tasks[task.number] = task
        self.unfound.pop(task.number, None)
        if task.unanswered:
            self.unanswered[task.number] = task
        self.index(task)

    def remove_open(self, task: Task) -> None:
        """The task is not open here any more."""
        self.unindex(task)
        for each in (self.open_tasks, self.absent, self.unanswered):
            each.pop(task.number, None)
        if task.may_have_another_id:
            self.unfound[task.number] = task

    def index(self, task: Task) -> None:
        for window in task.windows if task.number in self.open_tasks else ():
            own = self.own.setdefault(window, WindowTasks())
            own.open[task.number] = task
            own.note(task)
            self.stir(window)

    def unindex(self, task: Task) -> None:
        """Before its window changes, or it is open no more."""
        for window in task.windows if task.number in self.open_tasks else ():
            own = self.own[window]
            for each in (own.open, own.ungapped, own.uncounted, own.unlooked, own.unresumed):
                each.pop(task.number, None)
            if not own.open:
                del self.own[window]

    def note(self, task: Task) -> None:
        """Something was told of it: each sweep takes it up again."""
        if task.number in self.open_tasks:
            for window in task.windows:
                self.own[window].note(task)
                self.stir(window)

    def stir(self, window: str | None) -> None:
        """Something changed for this window."""
        window_of(self.windows, window).stirred[self.url] = self

    def quiet_since(self, task: Task) -> float:
        """When the silence of a task of this server began, without what is nobody's silence."""
        window = self.windows.get(task.window)
        resumed = window.resumed_at if window is not None else 0.0
        return self.pauses.skip(max(task.last_sign, task.quiet_from, resumed), task.paused)

    @property
    def names_cancelled(self) -> bool | None:
        """Whether its jobs are ever `cancelled` (since 0.9.0); before, what was interrupted is `failed` (P37)."""
        if self.cancelled_jobs is None and self.version is not None:
            return self.version >= NAMES_CANCELLED
        return self.cancelled_jobs

    @property
    def interrupts_by_id(self) -> bool:
        """An interrupt that names a prompt hits no other (since 0.3.57, P31)."""
        return self.has_jobs or (self.version is not None and self.version >= INTERRUPTS_BY_ID)

    @property
    def is_mixed(self) -> bool:
        """Under any of its names, its answers contradicted each other, as of several servers behind one address."""
        return any(name.mixed for name in self.names())

    def names(self) -> list[Server]:
        """This server under each of its addresses, unless two of them were seen to be of different versions."""
        return [twin for twin in self.twins if not self._differs(twin)] or [self]

    def _differs(self, other: Server) -> bool:
        by_age = {self.honours_ids, other.honours_ids} == {True, False}  # one is older than 0.3.45
        return by_age or (self.version != other.version and None not in (self.version, other.version))

    def note_outage(self, order: int, cause: Cause) -> None:
        """From here on, what it forgot may have run (P27)."""
        self.outage_order = order
        self.outages.append((order, cause))
        if self.outage is None or cause.at >= self.outage.at:  # of two sources, an older one may be told later
            self.outage = cause

    def add_snapshot(self, answer: QueueSnapshot) -> None:
        """Remember a look at the queue; a late one, of another window, does not interrupt what runs."""
        if not self.queues or answer.at >= self.queues[-1].at:
            self.running = {name: (self.running.get(name, (answer,))[0], answer) for name in answer.running}
        self.queues.append(answer)

    def look_at_one(self, name: str, answer: QueueSnapshot | None) -> None:
        """A job alone runs, or does not: nothing is told of others."""
        if answer is not None:
            self.running[name] = (self.running.get(name, (answer,))[0], answer)
        else:
            self.running.pop(name, None)

    def note_failure(self, position: int, at: float, what: str) -> None:
        self.failures += 1
        if self.unreachable is None:
            self.missed_at = at
            self.unreachable = Cause("unreachable", position, at, what=what[:MAX_WHAT])

    def note_answered(self) -> None:
        self.unreachable, self.failures = None, 0

    def outage_since(self, task: Task, until: float = inf) -> Cause | None:
        """Its last outage until then, unless it is older than the task, or the task was told of since: what was there
        before may be forgotten (P27)."""
        since = max(task.submitted_order, task.shown_order, task.known_order if task.accepted else 0)
        begun = task.submitted_at if task.submitted_at is not None else inf
        later = (cause for order, cause in self.outages if (order > since or cause.at > begun) and cause.at <= until)
        gone = max(later, key=lambda cause: cause.at, default=None)
        return gone if gone is not None and not task.active_after(gone.at) else None
