"""Registry of all that is known: servers, sockets, tasks by id, findings, effects, and the tasks to be reminded of.

Stores and looks up; decides nothing. Whatever a server or a trace can make grow is bounded here, by Policy.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from comfy_fsm.core.effects import AnyEffect, Deliver, LookAtQueue, OpenSocket, Output
from comfy_fsm.core.findings import CODES, Code, Finding, Severity
from comfy_fsm.core.machine import FINAL, SETTLED
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry import server_identity
from comfy_fsm.core.registry.counters import Counters
from comfy_fsm.core.registry.elapsed_time import ElapsedTime
from comfy_fsm.core.registry.ending import Cause, CauseKind
from comfy_fsm.core.registry.servers import (
    ANY_PROMPT,
    INTERRUPTS_BY_ID,
    MAX_WHAT,
    NAMES_CANCELLED,
    OTHER_PROMPT,
    Act,
    Question,
    QueueSnapshot,
    Server,
    Socket,
    Window,
    window_of,
)
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.scheduling.backlog import Backlog

__all__ = [
    "ANY_PROMPT",
    "INTERRUPTS_BY_ID",
    "MAX_WHAT",
    "NAMES_CANCELLED",
    "OTHER_PROMPT",
    "Act",
    "Question",
    "QueueSnapshot",
    "Registry",
    "Server",
    "Socket",
    "Subject",
    "Window",
]  # fmt: skip

_MOST_NAMES = 16
"""Number of addresses that may be one server; any more count as servers of their own, so that comparing them stays
cheap."""


class Subject(NamedTuple):
    """Subject of a finding that is about no task that is known."""

    window: str | None = None
    server: str | None = None
    prompt_id: str | None = None


@dataclass(slots=True, eq=False)
class Registry:
    """Mutable state of a board; used by one fold at a time."""

    policy: Policy
    fixed_policy: bool = False
    policy_is_stated: bool = False
    """A header stated the policy of whoever recorded this, and it was taken over."""
    clock: ElapsedTime = field(default_factory=ElapsedTime)
    counters: Counters = field(default_factory=Counters)
    servers: dict[str | None, Server] = field(default_factory=dict)
    _machines: dict[str, list[Server]] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)
    _numbers: int = 0
    homes: dict[str, str] = field(default_factory=dict)
    shared: dict[str, dict[str, None]] = field(default_factory=dict)
    """Ids under which more than one server has a task, with these servers."""
    chosen: set[str] = field(default_factory=set)
    """Ids that a client chose and a server did not take (P10)."""
    windows: dict[str | None, Window] = field(default_factory=dict)
    questions: OrderedDict[str, Question] = field(default_factory=OrderedDict)
    findings: dict[int, Finding] = field(default_factory=dict)
    unkept_findings: int = 0
    found: dict[tuple[str | None, ...], Finding] = field(default_factory=dict)
    """Findings by code, window, server and prompt id, and by name where one code has many things to name."""
    named: dict[tuple[str | None, ...], list[str]] = field(default_factory=dict)
    """Names of these findings, by the key without the name."""
    effects: dict[tuple[type[AnyEffect], str, str | None], AnyEffect] = field(default_factory=dict)
    position: int = 0
    """Position of the entry that is folded or was folded last; of an earlier one within `as_of`, as is its time."""
    now: float = 0.0
    looks_back: bool = False
    order: int = 0
    strangers: int = 0
    unposted: int = 0
    """Number of tasks first known from frames alone, whether or not a POST was seen since."""
    due: float = float("inf")
    _timers: list[tuple[float, int, Task]] = field(default_factory=list)
    overdue: dict[int, Task] = field(default_factory=dict)
    absent: dict[str, Server] = field(default_factory=dict)
    """Servers with a task that a round of queue and history did not show."""
    loose: dict[tuple[str, str | None], Socket] = field(default_factory=dict)
    """Sockets still to be checked for missed frames."""
    backlog: Backlog = field(init=False)
    imaged: tuple[Task, Output] | None = None
    """Task and output of the last binary frame, if that was an image that a task keeps."""

    def __post_init__(self) -> None:
        self.backlog = Backlog(self.policy.jobs, self.policy.acts)

    def cause(self, kind: CauseKind, what: str = "") -> Cause:
        """Return what was just seen as a cause."""
        return Cause(kind, self.position, self.now, what=what[:MAX_WHAT])

    @contextmanager
    def as_of(self, position: int, at: float) -> Iterator[None]:
        """Judge and report within this block as of an earlier moment than that of the entry that is folded."""
        before = self.position, self.now, self.looks_back
        self.position, self.now, self.looks_back = position, at, True
        try:
            yield
        finally:
            self.position, self.now, self.looks_back = before

    # servers, sockets, tasks

    def server(self, url: str | None) -> Server:
        server = self.servers.get(url)
        if server is None:
            name = server_identity.spelled(url or "")
            server = self.servers.get(name)
            if server is None:
                server = self.servers[name] = Server(name, windows=self.windows)
                twins = self._machines.setdefault(server_identity.machine(name), [])
                server.twins = twins if len(twins) < _MOST_NAMES else []
                server.twins.append(server)
            elif url is not None and server_identity.plain(url) != name:
                self.join(server, url)
            self.servers[url] = server
        return server

    def peek(self, url: str | None) -> Server:
        """Return the server for reading only: nothing is remembered or reported."""
        if (known := self.servers.get(url)) is not None:
            return known
        name = server_identity.spelled(url or "")
        return self.servers.get(name) or Server(name)

    def task_at(self, server: Server, prompt_id: str | None) -> Task | None:
        """Return the task with this id at this server, whichever of its addresses it was posted to."""
        task = server.tasks.get(prompt_id or "")
        if task is None and len(server.twins) > 1:
            found = (twin.tasks.get(prompt_id or "") for twin in server.names())
            task = next(
                (each for each in found if each is not None and server.url not in each.inquiry.candidates), None
            )
        return task

    def join(self, server: Server, other: str) -> None:
        """Report, once, that two addresses are taken for one server: what is reported under either counts for both."""
        if other != server.url and other not in server.joined:
            server.joined.add(other)
            text = f"{server.url} and {other} are taken for one server"
            self.report(Code.SAME_SERVER, text, Subject(server=server.url), name=other)

    def each_server(self) -> list[Server]:
        """Return each server once, though it may be known under several spellings."""
        return list({id(server): server for server in self.servers.values()}.values())

    def socket(self, url: str | None, window: str | None) -> Socket:
        server = self.server(url)
        socket = server.sockets.get(window)
        if socket is None:
            socket = server.sockets[window] = Socket(server, window)
            self.see(window)
        return socket

    def see(self, window: str | None) -> None:
        window_of(self.windows, window).seen = True

    def add(self, task: Task, server: Server) -> None:
        """Add a task that is seen for the first time; it has no id until the server gives it one."""
        self._numbers += 1
        task.register(self._numbers, self.position, self.now)
        self.tasks[task.number] = task
        server.add_open(task)
        if task.prompt_id is not None:
            self.bind(task, server, task.prompt_id)
        self.remind(task, self.now + min(self.policy.check_seconds, self.policy.confirm_seconds))

    def bind(self, task: Task, server: Server, prompt_id: str) -> None:
        task.take_id(prompt_id)
        server.tasks[prompt_id] = task
        home = self.homes.setdefault(prompt_id, server.url)
        if home != server.url:
            self.shared.setdefault(prompt_id, {home: None})[server.url] = None

    def forget(self, task: Task, server: Server) -> None:
        """Drop a task that turned out to be another one (P10)."""
        self.tasks.pop(task.number, None)
        self.relieve(task)
        server.remove_open(task)

    def owe(self, task: Task) -> None:
        """Remember that the result is still to be delivered, in case a process takes over the window before it is."""
        if task.settled and not task.delivered:
            window_of(self.windows, task.window).undelivered[task.number] = task
            server = self.servers[task.server]
            server.stir(task.window)

    def relieve(self, task: Task) -> None:
        window_of(self.windows, task.window).undelivered.pop(task.number, None)

    def drop_settled(self, keep: int, *, delivered: bool = False) -> list[Task]:
        """Drop the final tasks except the last `keep` to settle, and the findings about them; maybe `delivered` alone.

        Their ids stay in `homes` for a while, so that a late frame is not taken for one about an unknown prompt.
        """
        servers = self.each_server()
        sockets = [socket for server in servers for socket in server.sockets.values()]
        held = {id(task) for socket in sockets for task in (socket.running, *socket.loose.values())}
        final = [
            task
            for task in self.tasks.values()
            if task.state in FINAL and (task.delivered or not delivered) and id(task) not in held
        ]
        final.sort(key=lambda task: (task.end.settled_position, task.number))
        gone = final[: max(0, len(final) - keep)]
        for task in gone:
            del self.tasks[task.number]
            self.relieve(task)
            server = self.server(task.server)
            if task.prompt_id is not None and server.tasks.get(task.prompt_id) is task:
                del server.tasks[task.prompt_id]
        numbers = {task.number for task in gone}
        for question in self.questions.values():
            if question.answered and question.task is not None and question.task.number in numbers:
                question.task = None
        self.unposted = sum(not task.posts for task in self.tasks.values())
        self._timers = [timer for timer in self._timers if timer[1] not in numbers]
        heapq.heapify(self._timers)
        self.due = self._timers[0][0] if self._timers else float("inf")
        self.overdue = {number: task for number, task in self.overdue.items() if number not in numbers}
        self._let_findings_go()
        for server in servers:
            server.chosen = {name: task for name, task in server.chosen.items() if task.number not in numbers}
        for prompt_id in list(islice(self.homes, max(0, len(self.homes) - self.policy.homes))):
            if prompt_id not in self.server(self.homes[prompt_id]).tasks:
                del self.homes[prompt_id]
        self.chosen = {name for server in servers for name in server.chosen}
        self.shared = {name: where for name, where in self.shared.items() if name in self.homes}
        return gone

    def _let_findings_go(self) -> None:
        """Drop the findings about prompts whose tasks were dropped, at all servers."""
        known = {prompt_id for server in self.each_server() for prompt_id in server.tasks}
        gone = self.homes.keys() - known
        self.counters.strayed -= gone
        self.findings = {key: each for key, each in self.findings.items() if each.prompt_id not in gone}
        self.found = {key: each for key, each in self.found.items() if key[3] not in gone}
        self.named = {key: each for key, each in self.named.items() if key[3] not in gone}
        for server in self.each_server():
            for socket in server.sockets.values():
                socket.overheard = {name: note for name, note in socket.overheard.items() if name not in gone}

    def socket_of(self, task: Task) -> Socket | None:
        """Return the socket to which the server addresses this task; None if it addresses nobody (P2)."""
        if task.client_id is None:
            return None
        server = self.servers[task.server]
        socket = server.sockets.get(task.client_id)
        if socket is None or not socket.seen:
            others = (twin.sockets.get(task.client_id) for twin in server.names())
            socket = next((other for other in others if other is not None and other.seen), socket)
        if socket is None:
            socket = server.sockets[task.client_id] = Socket(server, task.client_id)
        return socket

    def tasks_of(self, prompt_id: str, url: str | None) -> list[Task]:
        """Return the tasks with this id, at one server or, if none is named, at any."""
        home = self.homes.get(prompt_id)
        urls = self.shared.get(prompt_id, () if home is None else (home,)) if url is None else (url,)
        servers = [self.server(each) for each in urls]
        return [s.tasks[prompt_id] for s in servers if prompt_id in s.tasks]

    def add_question(self, request_id: str, question: Question) -> None:
        self.questions[request_id] = window_of(self.windows, question.window).pending[request_id] = question
        if len(self.questions) > self.policy.questions:
            self.answer(next(iter(self.questions)))
            self.questions.popitem(last=False)  # a dict would look for its first item among all that are gone

    def answer(self, request_id: str) -> Question | None:
        """Return the question that this answers; None if nobody asked it, or if it was answered before."""
        question = self.questions.get(request_id)
        if question is None or question.answered:
            return None
        question.answered = True
        window_of(self.windows, question.window).pending.pop(request_id, None)
        return question

    def remember_act(self, server: Server, act: Act) -> None:
        server.acts.append(act)
        if len(server.acts) > self.policy.acts:
            server.acts.popleft()

    # findings and effects

    def report(self, code: Code, text: str, about: Task | Subject, *, name: str | None = None) -> Finding | None:
        """Report a finding; the same code about the same subject is counted, not repeated.

        With a `name`, each of the first names has a finding of its own, and all others share one.
        """
        window, server, prompt_id = about.window, about.server, about.prompt_id
        self.counters.count_finding(code, about if isinstance(about, Task) else None, prompt_id)
        key: tuple[str | None, ...] = (code, window, server, prompt_id)
        if name is not None:
            key, text = self._name(key, name, text)
        finding = self.found.get(key)
        if finding is None:
            severity = CODES[code].severity
            if severity is Severity.NOTE and len(self.findings) >= self.policy.findings:
                self.unkept_findings += 1
                return None
            finding = Finding(code, severity, self.now, window, server, prompt_id, text, [self.position])
            self.found[key] = finding
            self.findings[id(finding)] = finding
            return finding
        finding.count += 1
        if finding.count <= self.policy.lines:
            finding.positions.append(self.position)
        return finding

    def _name(self, key: tuple[str | None, ...], name: str, text: str) -> tuple[tuple[str | None, ...], str]:
        name = name[:MAX_WHAT]
        names = self.named.setdefault(key, [])
        if name in names:
            return (*key, name), text
        if len(names) <= self.policy.names:
            names.append(name if len(names) < self.policy.names else "")
        return (*key, names[-1]), text if names[-1] else f"{text}; and all others, after {len(names) - 1} of them"

    def emit(self, effect: AnyEffect, subject: str | None) -> None:
        """Ask for an effect; it replaces an earlier one about the same subject."""
        self.effects[type(effect), effect.server, subject] = effect

    def has_emitted(self, kind: type[AnyEffect], server: str, subject: str | None) -> bool:
        return (kind, server, subject) in self.effects

    def hand_over(self, effect: AnyEffect) -> None:
        """Note that an effect is being performed: a sweep over all tasks, or a process that takes over the window, may
        ask for it again."""
        server = self.server(effect.server)
        if isinstance(effect, LookAtQueue):
            task = server.tasks.get(effect.prompt_id)
            if task is not None and task.number in server.open_tasks:
                for own in server.owners[task.number]:
                    own.hand_over(task)
                    server.stir(own.window)
        elif isinstance(effect, OpenSocket):
            server.stir(effect.window)
        elif isinstance(effect, Deliver):
            for task in self.tasks_of(effect.result.prompt_id or "", effect.server):
                self.owe(task)

    def withdraw_finding(self, code: Code, task: Task) -> None:
        """Withdraw a finding about this task that turned out to be wrong."""
        finding = self.found.pop((code, task.window, task.server, task.prompt_id), None)
        if finding is not None:
            del self.findings[id(finding)]

    def retract(self, kind: type[AnyEffect], server: str, subject: str | None) -> None:
        self.effects.pop((kind, server, subject), None)

    # time

    def remind(self, task: Task, due: float) -> None:
        heapq.heappush(self._timers, (due, task.number, task))
        self.due = self._timers[0][0]

    def next_reminder(self, now: float) -> Task | None:
        """Return the next unsettled task whose reminder is due, or None."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            task = heapq.heappop(timers)[2]
            if task.state not in SETTLED:
                return task
        self.due = timers[0][0] if timers else float("inf")
        return None
