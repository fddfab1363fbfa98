"""Scheduler: which job goes next, and to which server, by list scheduling over observed durations.

    wait ─► turns by level and length ─► next: the head, and the server that would end it first ─► end: its duration
                                             └─► nothing: no server has room, or a full one will be faster

Knows no clock, no socket and no workflow. The longest job of a level goes first, since a long job that starts late is
the one that everybody waits for; a level is priority with age, so no job starves.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.scheduling.breaker import Breaker
from comfy_fsm.core.scheduling.durations import Durations
from comfy_fsm.core.scheduling.makespan import assign

__all__ = ["Scheduler", "ServerLoad"]

_FEW = 12  # number of jobs up to which the assignment of all is planned
_LANES = 32  # graphs with a heap of their own; further ones share one, so that a choice costs the same
_SHARED = ""
_WARM = 4  # last graphs of a server whose models may still be loaded there


@dataclass(slots=True, eq=False)
class ServerLoad:
    """Server, as far as scheduling needs to know it."""

    url: str
    capacity: int = 2
    weight: float = 1.0
    breaker: Breaker = field(default_factory=Breaker)
    drained: bool = False
    others: int = 0
    """Number of prompts in its queue that are not from our jobs."""
    jobs: dict[str, float] = field(default_factory=dict)
    """Our jobs there, in order, with the seconds that each should take."""
    work: float = 0.0
    since: float = 0.0
    warm: deque[str] = field(default_factory=lambda: deque(maxlen=_WARM))

    @property
    def usable(self) -> bool:
        return not self.drained and self.breaker.room(self.capacity) > 0

    @property
    def has_room(self) -> bool:
        return not self.drained and len(self.jobs) < self.breaker.room(self.capacity)

    def load(self, now: float) -> float:
        """Return the seconds until it has done our jobs; an overdue job counts as half done, so the result grows with
        time."""
        if not self.jobs:
            return 0.0
        first = next(iter(self.jobs.values()))
        passed = max(now - self.since, 0.0)
        return self.work - passed if passed <= first else self.work - 2 * first + passed

    def begin(self, prompt_id: str, seconds: float, graph: str, now: float) -> None:
        if not self.jobs:
            self.since, self.work = now, 0.0
        self.jobs[prompt_id] = seconds
        self.work += seconds
        if graph not in self.warm:
            self.warm.append(graph)

    def end(self, prompt_id: str, now: float) -> None:
        if prompt_id in self.jobs:
            self.work -= self.jobs.pop(prompt_id)
            self.since = now


class Scheduler:
    """Jobs in their turns, and servers with their loads."""

    def __init__(
        self,
        loads: Iterable[ServerLoad],
        *,
        ageing_seconds: float = 60.0,
        round_seconds: float = 10.0,
        affinity: float = 1.25,
    ) -> None:
        self.loads = {server.url: server for server in loads}
        self.durations = Durations()
        self._ageing = ageing_seconds
        self._round = round_seconds
        self._affinity = affinity
        self._lanes: dict[str, list[tuple[float, int, int, Job]]] = {}
        self._waiting: dict[str, tuple[str, int]] = {}
        self._numbers = 0
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, job: Job) -> None:
        """Add a job; one that was taken out before gets its old turn back."""
        lane = job.graph if job.graph in self._lanes or len(self._lanes) < _LANES else _SHARED
        self._numbers += 1  # it may have been here before, or have been moved: no two entries are alike
        heapq.heappush(self._lanes.setdefault(lane, []), (self.level(job), job.position, self._numbers, job))
        self._waiting[job.prompt_id] = lane, self._numbers
        self._counts[lane] = self._counts.get(lane, 0) + 1

    def withdraw(self, prompt_id: str) -> None:
        """Withdraw a job; its entry in the heap stays until its turn comes."""
        waits = self._waiting.pop(prompt_id, None)
        if waits is not None:
            self._counts[waits[0]] -= 1

    def level(self, job: Job) -> float:
        """Return the level of a job; the lower, the sooner: priority p counts as enqueued p × ageing seconds earlier.

        All age alike, so the order of two jobs never changes. No job is overtaken by one that was enqueued later by
        more than the difference of their priorities × ageing, plus one round.
        """
        due = job.at - job.priority * self._ageing
        return due // self._round if self._round else due

    def head(self) -> Job | None:
        """Return the job whose turn it is: the lowest level, there the longest, of those the first."""
        best, turn = None, (math.inf, 0.0, 0)
        for lane, heap in list(self._lanes.items()):
            while heap and self._waiting.get(heap[0][3].prompt_id) != (lane, heap[0][2]):
                heapq.heappop(heap)
            if not heap:
                del self._lanes[lane], self._counts[lane]
                continue
            level, position, _, job = heap[0]
            if best is None or level <= turn[0]:
                this = (level, -self.durations.size(job.graph), position)
                if this < turn:
                    best, turn = job, this
        return best

    def _turn(self, job: Job) -> tuple[float, float, int]:
        return self.level(job), -self.durations.size(job.graph), job.position

    def _left(self) -> list[Job]:
        """Return the waiting jobs in no order; called only when there are few."""
        entries = ((name, number, job) for name, lane in self._lanes.items() for _, _, number, job in lane)
        return [job for name, number, job in entries if self._waiting.get(job.prompt_id) == (name, number)]

    def next(self, now: float) -> tuple[Job, ServerLoad] | None:
        """Return the next job and its server, which counts it from now on; None if nothing should be placed."""
        if not any(server.has_room for server in self.loads.values()) or (head := self.head()) is None:
            return None
        chosen = self._planned(head, now) if len(self) <= _FEW else self._greedy(head, now)
        if chosen is None:
            return None
        job, server = chosen
        self.withdraw(job.prompt_id)
        server.begin(job.prompt_id, self.durations.expected(job.graph, server.url), job.graph, now)
        return job, server

    def end(self, prompt_id: str, url: str, now: float) -> None:
        """Note that the job is no longer there, whatever became of it."""
        if url in self.loads:
            self.loads[url].end(prompt_id, now)

    def is_idle(self, server: ServerLoad) -> bool:
        """Return whether the server has no job, and none waits."""
        return not server.jobs and not len(self)

    def has_other(self, server: ServerLoad) -> bool:
        """Return whether another server could take the jobs of this one."""
        return any(other.usable for other in self.loads.values() if other is not server)

    def _planned(self, head: Job, now: float) -> tuple[Job, ServerLoad] | None:
        """Plan the end of a batch: of the best plan for all waiting jobs, return the first that can begin now.

        A server that the plan gives to a job of a later level is given to the head instead, so that no earlier level
        waits for a later one.
        """
        jobs = sorted(self._left(), key=self._turn)
        usable = [server for server in self.loads.values() if server.usable]
        longest = sorted(jobs, key=lambda job: -self.durations.size(job.graph))
        seconds = [[self._takes(job, server) for server in usable] for job in longest]
        plan = assign(seconds, [self._waits(server, now) for server in usable])
        planned = {job.prompt_id: usable[server] for job, server in zip(longest, plan, strict=True)}
        for job in jobs:
            server = planned[job.prompt_id]
            if server.has_room:
                return (job if self.level(job) == self.level(head) else head), server
        return None

    def _greedy(self, head: Job, now: float) -> tuple[Job, ServerLoad] | None:
        """Return the free server that ends the head first, if that is before a full one would, or before all could be
        done at best.

        Otherwise a slow server would be the one that everybody waits for in the end. A full server that is late looks
        worse with each second, and one that is taken out does not count, so no job waits for ever.
        """
        usable = [server for server in self.loads.values() if server.usable]
        ends = {server.url: self._waits(server, now) + self._takes(head, server) for server in usable}
        server = min((server for server in usable if server.has_room), key=lambda server: ends[server.url])
        if ends[server.url] <= min(ends.values()) or ends[server.url] <= self._fluid(usable, now):
            return head, server
        return None

    def _fluid(self, usable: Iterable[ServerLoad], now: float) -> float:
        """Return the seconds until all waiting work would be done if it could be divided freely: no plan is faster."""
        speed = work = 0.0
        for server in usable:
            pace = self.durations.pace(server.url) / server.weight
            speed += 1 / pace
            work += self._waits(server, now) / pace
        work += sum(count * self.durations.size(lane) for lane, count in self._counts.items())
        return work / speed

    def _takes(self, job: Job, server: ServerLoad) -> float:
        """Return the seconds of a job there; a server that must first load its models, or has less weight, counts as
        slower."""
        cold = 1.0 if job.graph in server.warm else self._affinity
        return cold * self.durations.expected(job.graph, server.url) / server.weight

    def _waits(self, server: ServerLoad, now: float) -> float:
        """Return the seconds until it has done the work it has, ours and that of others."""
        others = server.others * self.durations.size(_SHARED) * self.durations.pace(server.url)
        return (server.load(now) + others) / server.weight
