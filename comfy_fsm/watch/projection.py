"""Read model of `watch` and `serve`: the board, with progress of nodes, queue lengths, and observations a second.

Pure: opens nothing and reads no clock, so the same entries give the same view, in whatever portions they came.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import islice
from operator import attrgetter

import msgspec
from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import Code, Finding, Severity
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.metrics.alerts import Watch
from comfy_fsm.core.metrics.catalogue import Figures
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.registry import Server
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.updates import Update, prompt_of, update_of
from comfy_fsm.watch.rows import alert_row, finding_row, server_row, task_row, windows
from comfy_fsm.watch.snapshot import FAILURES, ServerRow, Snapshot, TaskRow

__all__ = [
    "FAILED",
    "FORGETTING",
    "GRAVE",
    "NOTES",
    "OPEN",
    "REMEMBERED",
    "SECONDS",
    "SERVERS",
    "SETTLED",
    "Projection",
]

SERVERS, OPEN, SETTLED = 40, 100, 50
"""Rows of a view. What is left out is counted: a person reads none of the rest, and a page must not grow with it."""
FAILED = 5
"""Failures that stand before what is open; older ones stand after it."""
_LOOKING, _APART = 30.0, 50
"""Seconds of the log, and observations, between two looks at what its alerts say."""
_STILL = 120.0
"""Seconds without a sign of anything after which a server that has tasks is said to be still."""
GRAVE, NOTES = 40, 10
"""Findings told: notes have room of their own, so that a flood of them hides no error."""
REMEMBERED, FORGETTING = 2_000, 20_000
"""Settled tasks that the board keeps, and after how many observations it lets go of the others."""
SECONDS = 60
"""How long back it is told how much was seen."""
_NEVER = 1e12
"""Seconds since the epoch at which nothing was seen: a time like that is a lie, or milliseconds."""
_LONGEST_LINE = 65_536
"""Bytes of a line that is kept for what it says; a `progress` has 300."""
_MOVING: frozenset[type] = frozenset({seen.Progress, seen.Executing})
_ORDER = (State.IN_PROGRESS, State.ENDING, State.UNCERTAIN, State.SUBMITTING, State.PENDING)
_RANK = {state: rank for rank, state in enumerate(_ORDER)}
_HEARD: frozenset[type] = frozenset({seen.Message, seen.Binary, seen.Response, seen.Opened})


class _Said(Struct):
    """Latest reports of a server, besides what the board knows."""

    at: float | None = None
    trouble: str | None = None
    status: bytes = b""


class _Moved(Struct, gc=False):
    """Latest progress of a task, not decoded yet: of a thousand, one is shown."""

    position: int
    observation: seen.Message
    line: bytes


class _ExecInfo(Struct, frozen=True):
    queue_remaining: int


class _Status(Struct, frozen=True):
    exec_info: _ExecInfo


class _StatusData(Struct, frozen=True):
    status: _Status


class _StatusFrame(Struct, frozen=True):
    data: _StatusData


class _StatusLine(Struct, frozen=True):
    data: _StatusFrame


_status = msgspec.json.Decoder(_StatusLine).decode


class _Rates:
    """Number of observations in each second of the log's own time; if that jumps about, in the newest seconds."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, at: float) -> None:
        if not -_NEVER < at < _NEVER:
            return
        counts, second = self._counts, int(at)
        if second in counts:
            counts[second] += 1
            return
        counts[second] = 1
        if len(counts) > 4 * SECONDS:  # forgets what no view can tell any more, whatever the order
            newest = sorted(counts)[-2 * SECONDS :]
            self._counts = {second: counts[second] for second in newest}

    def until(self, at: float | None) -> tuple[int, ...]:
        last = int(at) if at is not None and -_NEVER < at < _NEVER else 0
        return tuple(self._counts.get(second, 0) for second in range(last - SECONDS + 1, last + 1))


class Projection:
    """Board with what is shown of it."""

    def __init__(self) -> None:
        self.board = Board()
        self._observations = 0
        self._first_at: float | None = None
        self._rates = _Rates()
        self._said: dict[str | None, _Said] = {}
        self._moved: dict[int, _Moved] = {}
        self._most_moved = 1_000
        self._figures = Figures(self.board)
        self._watch = Watch()
        self._looked_at, self._looked_after = 0.0, 0
        self._gone = dict.fromkeys(State, 0)
        self._counted = self._found = 0
        self._codes: dict[Code, int] = {}
        self._grave: deque[tuple[int, Finding]] = deque(maxlen=GRAVE)
        self._notes: deque[tuple[int, Finding]] = deque(maxlen=NOTES)

    def take(self, position: int, observation: AnyObservation, line: bytes = b"") -> None:
        """Fold one entry, and remember what it shows."""
        self.board.fold_observation(position, observation)
        kind = type(observation)
        if kind is seen.Damaged:
            return
        self._observations += 1
        self._figures.count(position, observation)
        if observation.at - self._looked_at >= _LOOKING and self._observations - self._looked_after >= _APART:
            self._look()
        if self._first_at is None:
            self._first_at = observation.at
        self._rates.add(observation.at)
        if kind in _HEARD:
            self._hear(observation, line)
        elif type(observation) is seen.NoAnswer:
            self._of(observation.server).trouble = observation.data.error
        if type(observation) is seen.Message and type(observation.data) in _MOVING:
            self._move(position, observation, line)
        if not self._observations % FORGETTING:  # by what came, not by when: the same entries give the same view
            self._forget()

    def _forget(self) -> None:
        """Count tasks that settled long ago, and drop them."""
        self.rest()
        for task in self.board.forget(REMEMBERED):
            self._gone[task.state] += 1
        self._counted = len(self.board.findings)

    def rest(self) -> None:
        """Drop the effects and count new findings, between two batches."""
        self.board.drain()
        findings = self.board.findings
        for finding in islice(findings, self._counted, None):
            self._codes[finding.code] = self._codes.get(finding.code, 0) + 1
            (self._notes if finding.severity is Severity.NOTE else self._grave).append((self._found, finding))
            self._found += 1
        self._counted = len(findings)

    def _of(self, server: str | None) -> _Said:
        said = self._said.get(server)
        if said is None:  # one server may be known under several spellings
            said = self._said[server] = self._said.setdefault(self.board.server(server).url, _Said())
        return said

    def _hear(self, observation: AnyObservation, line: bytes) -> None:
        said = self._of(observation.server)
        said.at, said.trouble = observation.at, None
        if type(observation) is seen.Message and type(observation.data) is seen.Status and len(line) < _LONGEST_LINE:
            said.status = line

    def _move(self, position: int, observation: seen.Message, line: bytes) -> None:
        """Note progress of the task that it belongs to, as the fold has it, never of another window's."""
        prompt_id = prompt_of(observation)
        place = self.board.server(observation.server)
        if prompt_id is not None:
            task = place.tasks.get(prompt_id)
        else:  # before January 2024 `progress` never names one; a server runs one prompt at a time
            socket = place.sockets.get(observation.window)
            task = None if socket is None else socket.running
        if task is None or task.settled or observation.window not in (task.window, task.client_id):
            return
        if len(line) < _LONGEST_LINE:
            self._moved[task.number] = _Moved(position, observation, line)
        if len(self._moved) > self._most_moved:
            still = {task.number for server in self.board.servers for task in server.open_tasks.values()}
            self._moved = {number: moved for number, moved in self._moved.items() if number in still}
            self._most_moved = 1_000 + 2 * len(self._moved)

    def _look(self) -> None:
        """Return what the alerts say by now, in the time of the log."""
        self._figures.servers = tuple(self.board.addresses[:SERVERS])  # a person looks: the log may name them
        self._looked_at, self._looked_after = self.board.now, self._observations
        if -_NEVER < self.board.now < _NEVER:
            self._watch.update(self.board.now, self._figures.read(self.board.now))

    # out

    def view(self) -> Snapshot:
        """Return what is shown now."""
        self.rest()
        jobs = self.board.backlog.waiting
        board, places = self.board, self.board.servers
        at = board.now if self._observations else None
        return Snapshot(
            position=board.position,
            observations=self._observations,
            first_at=self._first_at,
            at=at,
            rates=self._rates.until(at),
            states=_count(board.tasks, self._gone),
            codes=dict(sorted(self._codes.items())),
            unkept=board.unkept_findings,
            servers=tuple(self._server(place) for place in _liveliest(places)),
            windows=tuple(windows(places)),
            tasks=tuple(self._tasks(places)),
            findings=tuple(finding_row(*found) for found in self._newest()),
            all_servers=len(places),
            all_windows=sum(len(place.sockets) for place in places),
            all_open=sum(len(place.open_tasks) for place in places),
            waiting=len(jobs),
            waiting_since=min((job.at for job in jobs.values()), default=None),
            alerts=tuple(alert_row(*held) for held in self._watch.holding),
        )

    def task(self, number: int) -> Task | None:
        """Return the task of a row; None if the board has let go of it meanwhile."""
        return next((task for task in self.board.tasks if task.number == number), None)

    def _newest(self) -> list[tuple[int, Finding]]:
        return sorted([*self._grave, *self._notes], key=lambda found: -found[0])

    def _server(self, place: Server) -> ServerRow:
        said = self._of(place.url)
        queue = _queue(said.status)
        if queue is None and place.queues:
            queue = len(place.queues[-1].ids)
        return server_row(place, queue, said.at, said.trouble, self._standing(place))

    def _standing(self, place: Server) -> str:
        if place.url in self.board.backlog.drained:
            return "drained"
        since = self._figures.stalled_since(place)
        return "still" if since is not None and self.board.now - since >= _STILL else ""

    def _tasks(self, places: list[Server]) -> list[TaskRow]:
        each = (task for place in places for task in place.open_tasks.values())
        ahead = heapq.nsmallest(OPEN, each, key=lambda task: (_RANK[task.state], task.number))
        # A settled task that was reopened still says where it settled first.
        ended = [task for task in self.board.tasks if task.settled]
        newest = attrgetter("end.settled_position", "number")
        failed = heapq.nlargest(SETTLED, (task for task in ended if task.state in FAILURES), key=newest)
        others = heapq.nlargest(SETTLED, (task for task in ended if task.state not in FAILURES), key=newest)
        return [self._task(task) for task in (*failed[:FAILED], *ahead, *failed[FAILED:], *others)]

    def _task(self, task: Task) -> TaskRow:
        moved = None if task.settled else self._moved.get(task.number)
        update = Update("", "", 0.0)
        if moved is not None and moved.position > task.end.settled_position:
            update = update_of("", moved.observation, moved.line) or update
        return task_row(task, update)


def _count(tasks: list[Task], gone: dict[State, int]) -> dict[State, int]:
    counts = dict(gone)
    for task in tasks:
        counts[task.state] += 1
    return {state: count for state, count in counts.items() if count}


def _liveliest(places: list[Server]) -> list[Server]:
    """Return the servers in the order in which they were first seen, so that rows stay in place; of very many, those
    with tasks.
    """
    indices = heapq.nlargest(SERVERS, range(len(places)), key=lambda index: (len(places[index].open_tasks), -index))
    return [places[index] for index in sorted(indices)]


def _queue(line: bytes) -> int | None:
    try:
        return _status(line).data.data.status.exec_info.queue_remaining
    except (msgspec.DecodeError, UnicodeDecodeError):  # it says so in another way, or not at all
        return None
