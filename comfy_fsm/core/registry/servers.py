"""Records of a server, its sockets and the requests to it: plain data, held by the registry."""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from math import inf

from comfy_fsm.core.findings import Finding
from comfy_fsm.core.observations import Binary, Message
from comfy_fsm.core.registry.counters import ServerCounters
from comfy_fsm.core.registry.ending import Cause, CauseKind
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.registry.unreachable_spans import UnreachableSpans
from comfy_fsm.core.wire import routes

__all__ = [
    "ANY_PROMPT", "COUNTING", "INTERRUPTS_BY_ID", "MAX_WHAT", "NAMES_CANCELLED", "OTHER_PROMPT", "Act", "Question",
    "QueueSnapshot", "Server", "Socket", "Window", "WindowTasks", "window_of",
]  # fmt: skip

MAX_WHAT = 80
"""Characters kept of a name or an error that a server or a recorder supplied."""
INTERRUPTS_BY_ID, NAMES_CANCELLED = (0, 3, 57), (0, 9, 0)
"""Versions since which an interrupt honours a prompt id, and since which a cancelled job is called so (P31, P37)."""
COUNTING = 32
"""Sockets of each server whose counts of pending and running prompts are compared."""
ANY_PROMPT, OTHER_PROMPT = "naming no prompt", "naming another prompt"
"""Target of an act, if not the prompt that it hit (P31)."""


@dataclass(slots=True, eq=False)
class Act:
    """Interrupt or removal by a window; `ids` None means whatever was there (P30, P31)."""

    kind: CauseKind
    window: str | None
    ids: frozenset[str] | None
    order: int
    position: int
    at: float
    used: bool = False
    exact: bool = False
    """It can hit only the prompts that it names, whatever the version (P42)."""

    def hits(self, prompt_id: str | None) -> bool:
        return self.ids is None or prompt_id in self.ids

    def cause(self, prompt_id: str | None) -> Cause:
        """Return the act as the cause of what happened to this prompt."""
        what = ANY_PROMPT if self.ids is None else "" if self.hits(prompt_id) else OTHER_PROMPT
        return Cause(self.kind, self.position, self.at, self.window, what)


@dataclass(slots=True, eq=False)
class Question:
    """Request whose answer is still to come."""

    kind: routes.Kind
    server: Server
    window: str | None
    order: int
    at: float
    prompt_id: str | None = None
    task: Task | None = None
    acts: tuple[Act, ...] = ()
    answered: bool = False
    partial: bool = False
    """It asks for part of a list: what the answer lacks is not absent."""
    what: str = ""
    """Method and path, if it is of an unknown kind."""


@dataclass(slots=True)
class QueueSnapshot:
    """Answer to a query of the queue: when it was asked and came, by time and in the log, and what it listed."""

    asked_at: float
    rows: int
    asked: int
    answered: int
    ids: frozenset[str]
    running: frozenset[str]
    position: int
    at: float


@dataclass(slots=True, eq=False)
class Socket:
    """Socket of one window at one server."""

    server: Server
    window: str | None
    open: int = 0
    seen: bool = False
    opened_order: int = 0
    down_position: int | None = None
    down_at: float = 0.0
    gone_at: float | None = None
    """When it closed, until it is opened again; whether or not a task was in flight."""
    close_reason: str = ""
    read_to: float = 0.0
    conn: int | None = None
    counts: deque[tuple[float, int | None]] = field(default_factory=lambda: deque(maxlen=64))
    """Times of its `status` frames, each with the number of pending and running prompts; None for its close."""
    counted_at: float = 0.0
    """When it last reported such a number of its own accord, and not to greet a new connection."""
    greeted_at: float = 0.0
    """When it was last greeted: a deaf socket is greeted, too (P3), while a dead one receives nothing at all."""
    end_reported: bool = False
    """A frame reported the end of a task since the last such number: that explains a lower one (P21)."""
    looked_at: float = 0.0
    """Until when a lower number causes no further query."""
    running: Task | None = None
    overheard: dict[str, Finding] = field(default_factory=dict)
    """Findings about what it received on tasks of other windows, one for each task."""
    loose: dict[int, Task] = field(default_factory=dict)
    """Tasks settled, or seen to progress, over HTTP: whether this socket received frames about them is checked when it
    closes."""
    loose_due: list[tuple[float, int]] = field(default_factory=list)
    """Heap of the times at which these checks are due, whether or not the socket is still open, with the task
    numbers."""

    def leave(self, at: float, reason: str) -> None:
        self.gone_at, self.close_reason = at, reason

    def loosen(self, task: Task, due: float) -> None:
        self.loose[task.number] = task
        heapq.heappush(self.loose_due, (due, task.number))


@dataclass(slots=True, eq=False)
class WindowTasks:
    """Open tasks of one window at one server, and those that are news to each kind of sweep since its last one."""

    window: str | None
    open: dict[int, Task] = field(default_factory=dict)
    reported: dict[int, Task] = field(default_factory=dict)
    """Tasks reported on since the last sweep of any kind: news to all of them, once one asks."""
    ungapped: dict[int, Task] = field(default_factory=dict)
    """Tasks reported on since the last gap of the window's socket."""
    uncounted: dict[int, Task] = field(default_factory=dict)
    """Tasks reported on since a lower number of prompts last caused a query about all of them."""
    unlooked: dict[int, Task] = field(default_factory=dict)
    """Tasks reported on, or handed over to be asked about, since a query about all of them was last requested."""
    unresumed: dict[int, Task] = field(default_factory=dict)
    """The same, since a process last took over the window."""

    def hand_over(self, task: Task) -> None:
        """Note that the task is about to be asked about: a query or a new process may have to ask again."""
        self._share()
        self.unlooked[task.number] = self.unresumed[task.number] = task

    def take_gapped(self) -> dict[int, Task]:
        """Take what was reported on since the last gap."""
        self._share()
        news, self.ungapped = self.ungapped, {}
        return news

    def take_counted(self) -> dict[int, Task]:
        """Take what was reported on since the number of prompts last fell, and what is not asked about."""
        self._share()
        news, self.uncounted, self.unlooked = self.uncounted | self.unlooked, {}, {}
        return news

    def take_unlooked(self) -> dict[int, Task]:
        self._share()
        news, self.unlooked = self.unlooked, {}
        return news

    def take_unresumed(self) -> dict[int, Task]:
        self._share()
        news, self.unresumed = self.unresumed, {}
        return news

    def forget(self, task: Task) -> None:
        for each in (self.reported, *self._sweeps()):
            each.pop(task.number, None)

    def _share(self) -> None:
        """Make what was reported on news to each kind of sweep: frames are many, and sweeps are few."""
        if self.reported:
            for each in self._sweeps():
                each.update(self.reported)
            self.reported.clear()

    def _sweeps(self) -> tuple[dict[int, Task], ...]:
        return self.ungapped, self.uncounted, self.unlooked, self.unresumed


@dataclass(slots=True, eq=False)
class Window:
    """Window: one client id at all servers, and what a process that takes it over must take care of."""

    seen: bool = False
    """It sent a request or received a frame; otherwise a POST only named it."""
    resumed_at: float = 0.0
    stirred: dict[str, Server] = field(default_factory=dict)
    """Servers, by address, at which anything changed for it since it was last taken over."""
    pending: dict[str, Question] = field(default_factory=dict)
    """Its unanswered requests, by request id."""
    undelivered: dict[int, Task] = field(default_factory=dict)
    """Its settled tasks whose result is neither delivered nor waiting to be."""


def window_of(windows: dict[str | None, Window], name: str | None) -> Window:
    window = windows.get(name)
    if window is None:
        window = windows[name] = Window()
    return window


@dataclass(slots=True, eq=False)
class Server:
    """Server: one ComfyUI, as the windows see it."""

    url: str
    twins: list[Server] = field(default_factory=list)
    """This server, and those whose address may be another one of its own."""
    joined: set[str] = field(default_factory=set)
    """Addresses that were reported as taken for this one."""
    tasks: dict[str, Task] = field(default_factory=dict)
    prefixes: set[str] = field(default_factory=set)
    """Paths of a proxy under which a prompt was posted or asked about."""
    chosen: dict[str, Task] = field(default_factory=dict)
    """Tasks by the id that a client chose and the server did not take (P10)."""
    open_tasks: dict[int, Task] = field(default_factory=dict)
    own: dict[str | None, WindowTasks] = field(default_factory=dict)
    """Open tasks by window, and by the client id of their POST."""
    owners: dict[int, tuple[WindowTasks, ...]] = field(default_factory=dict)
    """Where in `own` each open task is listed: every signal is noted there."""
    unanswered: dict[int, Task] = field(default_factory=dict)
    """Open tasks of which it is not known whether the server accepted them."""
    counting: OrderedDict[str | None, Socket] = field(default_factory=OrderedDict)
    """Sockets that last reported how many prompts are pending or running; all receive the same, so a few are enough."""
    unfound: dict[int, Task] = field(default_factory=dict)
    """Tasks concluded to be lost that may turn up under another id (P10)."""
    sockets: dict[str | None, Socket] = field(default_factory=dict)
    waiting: OrderedDict[str, list[tuple[int, Message | Binary]]] = field(default_factory=OrderedDict)
    acts: deque[Act] = field(default_factory=deque)
    queues: deque[QueueSnapshot] = field(default_factory=lambda: deque(maxlen=8))
    running: dict[str, tuple[QueueSnapshot, QueueSnapshot]] = field(default_factory=dict)
    """Prompts that the last snapshot listed as running, with the first and last of the snapshots in a row that did."""
    counts: deque[tuple[float, float, int]] = field(default_factory=lambda: deque(maxlen=64))
    """Answers to `GET /prompt`: when each was asked and came, and how many prompts were pending or running."""
    absent: dict[int, Task] = field(default_factory=dict)
    """Open tasks that a round of queue and history did not show."""
    turn: list[Task] = field(default_factory=list)
    """Absent tasks that are still to be judged in this pass, the next one last."""
    turn_due: float = float("inf")
    """When the first of those judged in this pass may be judged again."""
    absent_due: float = float("inf")
    """When the first absent task may be judged, whatever its socket may still deliver."""
    shown_order: int = 0
    """Order of the last query whose answer showed a task of ours: the server knows us."""
    mixed: bool = False
    """Its answers contradicted each other, as if several servers shared one address: no absence is concluded here."""
    honours_ids: bool | None = None
    """Whether it takes a prompt id that the client chose (since 0.3.45, P10); None while unknown."""
    gives_status: bool = False
    """It sent a record with a status (since January 2024)."""
    version: tuple[int, ...] | None = None
    """Version of its ComfyUI, if it was asked and answered."""
    has_jobs: bool = False
    """It showed a job, or answered that there is none (since 0.6.0, P43)."""
    cancelled_jobs: bool | None = None
    """Whether it calls jobs `cancelled`, as far as they showed (since 0.9.0, P37)."""
    outage_order: int = 0
    outages: deque[tuple[int, Cause]] = field(default_factory=lambda: deque(maxlen=16))
    """Its last outages and the times in which nobody watched it, each with the order in which it was reported."""
    counters: ServerCounters = field(default_factory=ServerCounters)
    outage: Cause | None = None
    unreachable: Cause | None = None
    """First of the consecutive questions about tasks that it left without a usable answer (P33)."""
    failures: int = 0
    """Number of these questions."""
    listing: Question | None = None
    """Last question for its queue or its list of jobs, answered or not."""
    missed_at: float | None = None
    """When the first of them went unanswered, until one is answered."""
    unreachable_spans: UnreachableSpans = field(default_factory=UnreachableSpans)
    """Times in which they went unanswered, each until one was answered."""
    windows: dict[str | None, Window] = field(default_factory=dict)
    """All windows, at whichever server."""

    def add_open(self, task: Task) -> None:
        """Add the task to those that are open here: none begins, or begins again, as one that was accepted."""
        self.open_tasks[task.number] = self.unanswered[task.number] = task
        self.unfound.pop(task.number, None)
        self.index(task)

    def remove_open(self, task: Task) -> None:
        """Remove the task from those that are open here."""
        self.unindex(task)
        for each in (self.open_tasks, self.absent, self.unanswered):
            each.pop(task.number, None)
        if task.may_have_another_id:
            self.unfound[task.number] = task

    def index(self, task: Task) -> None:
        """List an open task under its windows."""
        if task.number in self.open_tasks:
            owners = [self.own.get(window) or WindowTasks(window) for window in task.windows]
            self.owners[task.number] = tuple(owners)
            for own in owners:
                self.own[own.window] = own
                own.open[task.number] = own.reported[task.number] = task
                self.stir(own.window)

    def unindex(self, task: Task) -> None:
        """Unlist the task, before its window changes or it ceases to be open."""
        for own in self.owners.pop(task.number, ()):
            del own.open[task.number]
            if own.open:
                own.forget(task)
            else:
                del self.own[own.window]

    def note(self, task: Task) -> None:
        """Note that something was reported about the task: each kind of sweep takes it up again."""
        for own in self.owners.get(task.number, ()):
            if not own.reported:  # otherwise the window was stirred when the first of them was noted
                self.stir(own.window)
            own.reported[task.number] = task

    def stir(self, window: str | None) -> None:
        """Note that something changed for this window."""
        window_of(self.windows, window).stirred[self.url] = self

    def quiet_since(self, task: Task) -> float:
        """Return when the silence of a task here began, leaving out the time in which nobody could be asked."""
        window = self.windows.get(task.window)
        resumed = window.resumed_at if window is not None else 0.0
        return self.unreachable_spans.skip(max(task.last_sign, task.silence.quiet_from, resumed), task.silence.paused)

    @property
    def names_cancelled(self) -> bool | None:
        """Return whether it calls jobs `cancelled` (since 0.9.0); before, what was interrupted is `failed` (P37)."""
        if self.cancelled_jobs is None and self.version is not None:
            return self.version >= NAMES_CANCELLED
        return self.cancelled_jobs

    @property
    def interrupts_by_id(self) -> bool:
        """Return whether an interrupt that names a prompt hits no other (since 0.3.57, P31)."""
        return self.has_jobs or (self.version is not None and self.version >= INTERRUPTS_BY_ID)

    @property
    def is_mixed(self) -> bool:
        """Return whether answers under any of its addresses contradict each other, as if several servers shared one."""
        return any(name.mixed for name in self.names())

    def names(self) -> list[Server]:
        """Return this server under each of its addresses, except those seen to be of another version."""
        if len(self.twins) == 1:
            return self.twins
        return [twin for twin in self.twins if not self._differs(twin)] or [self]

    def _differs(self, other: Server) -> bool:
        by_age = {self.honours_ids, other.honours_ids} == {True, False}  # one is older than 0.3.45
        return by_age or (self.version != other.version and None not in (self.version, other.version))

    def note_outage(self, order: int, cause: Cause) -> None:
        """Note an outage: what the server forgot may have run (P27)."""
        self.outage_order = order
        self.outages.append((order, cause))
        if self.outage is None or cause.at >= self.outage.at:  # of two sources, one may report an older outage later
            self.outage = cause

    def add_snapshot(self, answer: QueueSnapshot) -> None:
        """Store a snapshot of the queue; a late one, of another window, does not interrupt what runs."""
        if not self.queues or answer.at >= self.queues[-1].at:
            self.running = {name: (self.running.get(name, (answer,))[0], answer) for name in answer.running}
        self.queues.append(answer)

    def note_one_job(self, name: str, answer: QueueSnapshot | None) -> None:
        """Note whether one job runs; nothing is known of others."""
        if answer is not None:
            self.running[name] = (self.running.get(name, (answer,))[0], answer)
        else:
            self.running.pop(name, None)

    def note_failure(self, cause: Cause) -> None:
        self.failures += 1
        if self.unreachable is None:
            self.missed_at = cause.at
            self.unreachable = cause

    def note_answered(self) -> None:
        self.unreachable, self.failures = None, 0

    def outage_since(self, task: Task, until: float = inf) -> Cause | None:
        """Return its last outage until then, unless the task is younger or was reported on since: a server may forget
        what it had before an outage (P27)."""
        since = max(task.submission.order, task.shown_order, task.known_order if task.accepted else 0)
        begun = task.submitted_at if task.submitted_at is not None else inf
        later = (cause for order, cause in self.outages if (order > since or cause.at > begun) and cause.at <= until)
        gone = max(later, key=lambda cause: cause.at, default=None)
        return gone if gone is not None and not task.active_after(gone.at) else None
