"""All that is known: servers, sockets, tasks by id, findings, effects, and who is still to be asked.

Holds and finds; decides nothing. Whatever a server or a trace can make grow has its bound here, from Policy.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from itertools import islice

from msgspec import Struct, field

from comfy_fsm.core.backlog import Backlog
from comfy_fsm.core.effects import AnyEffect, Output
from comfy_fsm.core.findings import CODES, Finding, Severity
from comfy_fsm.core.machine import FINAL
from comfy_fsm.core.observations import Binary, Message
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.tally import ServerTally, Tally
from comfy_fsm.core.task import Cause, CauseKind, Task

MAX_WHAT = 80
"""Characters kept of what a recorder calls a failed request."""
INTERRUPTS_BY_ID, NAMES_CANCELLED = (0, 3, 57), (0, 9, 0)
"""The versions since which this is so (P31, P37)."""
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


class QueueAnswer(Struct):
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
    gone_by: str = ""
    read_to: float = 0.0
    conn: int | None = None
    running: Task | None = None
    overheard: dict[str, Finding] = field(default_factory=dict)
    """What it heard about tasks of other windows, noted once for each."""
    absent: list[Task] = field(default_factory=list)
    """Absence is proved; a frame that was sent before may still be on its way."""
    loose: list[Task] = field(default_factory=list)
    """Settled or moved over HTTP: whether this ear heard of it is judged when it closes."""

    def leave(self, at: float, reason: str) -> None:
        self.gone_at, self.gone_by = at, reason


class Server(Struct, eq=False):
    """One ComfyUI, as the windows know it."""

    url: str
    tasks: dict[str, Task] = field(default_factory=dict)
    prefixes: set[str] = field(default_factory=set)
    """Paths of a proxy under which a prompt was posted or asked about."""
    chosen: dict[str, Task] = field(default_factory=dict)
    """Ids that a client chose and the server did not take (P10), with the task they were meant for."""
    open_tasks: dict[int, Task] = field(default_factory=dict)
    sockets: dict[str | None, Socket] = field(default_factory=dict)
    waiting: OrderedDict[str, list[tuple[int, Message | Binary]]] = field(default_factory=OrderedDict)
    acts: deque[Act] = field(default_factory=deque)
    queues: deque[QueueAnswer] = field(default_factory=lambda: deque(maxlen=8))
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
    tally: ServerTally = field(default_factory=ServerTally)
    outage: Cause | None = None
    unreachable: Cause | None = None
    """The first of the questions about tasks that it left without a usable answer, one after the other (P33)."""
    failures: int = 0
    """How many those are."""

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

    def go_out(self, order: int, cause: Cause) -> None:
        """From here on, what it forgot may have run (P27)."""
        self.outage_order, self.outage = order, cause

    def miss(self, position: int, at: float, what: str) -> None:
        self.failures += 1
        if self.unreachable is None:
            self.unreachable = Cause("unreachable", position, at, what=what[:MAX_WHAT])

    def answer(self) -> None:
        self.unreachable, self.failures = None, 0

    def away(self, task: Task) -> Cause | None:
        """Its last outage, unless it is older than the task, or the task was told of since: what was there before may
        be forgotten (P27)."""
        since = max(task.submitted_order, task.shown_order, task.known_order if task.accepted else 0)
        gone = self.outage if self.outage_order > since else None
        return gone if gone is not None and not task.heard_after(gone.at) else None

    def standstill(self, seconds: float) -> tuple[str, QueueAnswer, QueueAnswer] | None:
        """What the last looks at the queue, one after the other and for longer than this, all showed as running."""
        looks = list(self.queues)
        for prompt_id in sorted(looks[-1].running) if looks and looks[-1].at - looks[0].at > seconds else ():
            first = looks[-1]
            for look in reversed(looks):
                if prompt_id not in look.running:
                    break
                first = look
            if looks[-1].at - first.at > seconds:
                return prompt_id, first, looks[-1]
        return None


class Ledger:
    """The mutable heart of a board; one fold at a time."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.tally = Tally()
        self.servers: dict[str | None, Server] = {}
        self.tasks: dict[int, Task] = {}
        self._numbers = 0
        self.homes: dict[str, str] = {}
        self.windows: dict[str | None, None] = {}
        self.questions: dict[str, Question] = {}
        self.findings: list[Finding] = []
        self.unkept = 0
        self.found: dict[tuple[str, str | None, str | None, str | None], Finding] = {}
        self.effects: dict[tuple[type[AnyEffect], str, str | None], AnyEffect] = {}
        self.position = 0
        self.now = 0.0
        self.order = 0
        self.strangers = 0
        self.unposted = 0
        """Tasks that were known by frames alone, at first or to this day."""
        self.due = float("inf")
        self._timers: list[tuple[float, int, Task]] = []
        self.overdue: list[Task] = []
        self.backlog = Backlog(policy.jobs, policy.acts)
        self.imaged: tuple[Task, Output] | None = None
        """What the last binary frame was, if it was an image that a task keeps."""

    # servers, sockets, tasks

    def server(self, url: str | None) -> Server:
        server = self.servers.get(url)
        if server is None:
            name = (url or "").rstrip("/")
            for socket_scheme, scheme in (("ws://", "http://"), ("wss://", "https://")):
                if name.startswith(socket_scheme):
                    name = scheme + name.removeprefix(socket_scheme)
            server = self.servers.setdefault(name, Server(name))
            self.servers[url] = server
        return server

    def each_server(self) -> list[Server]:
        """Each once, though it may be known under several spellings."""
        return list({id(server): server for server in self.servers.values()}.values())

    def socket(self, url: str | None, window: str | None) -> Socket:
        server = self.server(url)
        socket = server.sockets.get(window)
        if socket is None:
            socket = server.sockets[window] = Socket(server, window)
            self.windows.setdefault(window)
        return socket

    def add(self, task: Task, server: Server, position: int, at: float) -> None:
        """A task seen for the first time; without an id until the server gives it one."""
        self._numbers += 1
        task.number = self._numbers
        task.first_position = position
        task.last_sign = at
        self.tasks[task.number] = task
        server.open_tasks[task.number] = task
        if task.prompt_id is not None:
            self.bind(task, server, task.prompt_id)
        self.remind(task, at + self.policy.check_seconds)

    def bind(self, task: Task, server: Server, prompt_id: str) -> None:
        task.prompt_id = prompt_id
        server.tasks[prompt_id] = task
        self.homes.setdefault(prompt_id, server.url)

    def forget(self, task: Task, server: Server) -> None:
        """The task turned out to be another one (P10): it never was."""
        self.tasks.pop(task.number, None)
        server.open_tasks.pop(task.number, None)

    def let_go(self, keep: int) -> list[Task]:
        """Drop the final tasks but those that settled last, and what was found about them.

        Their ids stay in `homes`, for a while: a frame that comes late is then not taken for a prompt of somebody else.
        """
        servers = self.each_server()
        ears = [ear for server in servers for ear in server.sockets.values()]
        held = {id(task) for ear in ears for task in (ear.running, *ear.absent, *ear.loose)}
        final = [task for task in self.tasks.values() if task.state in FINAL and id(task) not in held]
        final.sort(key=lambda task: (task.settled_position, task.number))
        gone = final[: max(0, len(final) - keep)]
        for task in gone:
            del self.tasks[task.number]
            server = self.server(task.server)
            if task.prompt_id is not None and server.tasks.get(task.prompt_id) is task:
                del server.tasks[task.prompt_id]
        numbers = {task.number for task in gone}
        self.unposted = sum(not task.posts for task in self.tasks.values())
        self._timers = [timer for timer in self._timers if timer[1] not in numbers]
        heapq.heapify(self._timers)
        self.due = self._timers[0][0] if self._timers else float("inf")
        self.overdue = [task for task in self.overdue if task.number not in numbers]
        self._let_findings_go()
        for server in servers:
            server.chosen = {name: task for name, task in server.chosen.items() if task.number not in numbers}
        for prompt_id in list(islice(self.homes, max(0, len(self.homes) - self.policy.homes))):
            if prompt_id not in self.server(self.homes[prompt_id]).tasks:
                del self.homes[prompt_id]
        return gone

    def _let_findings_go(self) -> None:
        """What was found about a prompt that had a task, at whichever server, and has none any more."""
        known = {prompt_id for server in self.each_server() for prompt_id in server.tasks}
        gone = self.homes.keys() - known
        self.tally.strayed -= gone
        self.findings = [each for each in self.findings if each.prompt_id not in gone]
        self.found = {key: each for key, each in self.found.items() if key[3] not in gone}
        for server in self.each_server():
            for ear in server.sockets.values():
                ear.overheard = {name: note for name, note in ear.overheard.items() if name not in gone}

    def ear(self, task: Task) -> Socket | None:
        """The socket to which the server addresses this task; None where it addresses nobody (P2)."""
        if task.client_id is None:
            return None
        server = self.server(task.server)
        socket = server.sockets.get(task.client_id)
        if socket is None:
            socket = server.sockets[task.client_id] = Socket(server, task.client_id)
        return socket

    def tasks_of(self, prompt_id: str, url: str | None) -> list[Task]:
        """The tasks under this id, at one server or, where none is named, at any."""
        servers = [self.server(url)] if url is not None else self.each_server()
        return [s.tasks[prompt_id] for s in servers if prompt_id in s.tasks]

    def ask(self, request_id: str, question: Question) -> None:
        self.questions[request_id] = question
        if len(self.questions) > self.policy.questions:
            del self.questions[next(iter(self.questions))]

    def remember_act(self, server: Server, act: Act) -> None:
        server.acts.append(act)
        if len(server.acts) > self.policy.acts:
            server.acts.popleft()

    # findings and effects

    def find(
        self,
        code: str,
        position: int,
        at: float,
        text: str,
        *,
        task: Task | None = None,
        window: str | None = None,
        server: str | None = None,
        prompt_id: str | None = None,
    ) -> Finding | None:
        """Note a finding; the same code about the same subject again is counted, not repeated."""
        if task is not None:
            window, server, prompt_id = window or task.window, server or task.server, task.prompt_id
        self.tally.find(code, task, prompt_id)
        key = (code, window, server, prompt_id)
        finding = self.found.get(key)
        if finding is None:
            severity = CODES[code].severity
            if severity is Severity.NOTE and len(self.findings) >= self.policy.findings:
                self.unkept += 1
                return None
            finding = self.found[key] = Finding(code, severity, at, window, server, prompt_id, text, [position])
            self.findings.append(finding)
            return finding
        finding.count += 1
        if finding.count <= self.policy.lines:
            finding.positions.append(position)
        return finding

    def want(self, effect: AnyEffect, subject: str | None) -> None:
        """Ask something of the world; a newer wish about the same subject replaces the older."""
        self.effects[type(effect), effect.server, subject] = effect

    def unwant(self, kind: type[AnyEffect], server: str, subject: str | None) -> None:
        self.effects.pop((kind, server, subject), None)

    # time

    def remind(self, task: Task, due: float) -> None:
        heapq.heappush(self._timers, (due, task.number, task))
        self.due = self._timers[0][0]

    def next_reminder(self, now: float) -> Task | None:
        """The next unsettled task whose time has come, or None."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            task = heapq.heappop(timers)[2]
            if not task.settled:
                return task
        self.due = timers[0][0] if timers else float("inf")
        return None
