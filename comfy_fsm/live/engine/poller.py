"""Poller of one server: sends the requests that the fold wants when they are due, and probes a server that is silent.

The queue is asked first and then the history, in this order (P29), or if the server has jobs, their list and then the
job (P38). One queue or list serves many prompts; a single job needs none. After a failure the fold asks again about a
single prompt, and this module about the queue, and then about all prompts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from math import inf
from typing import Any

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from comfy_fsm.live.engine import answers
from comfy_fsm.live.engine.exchange import Exchange
from comfy_fsm.live.transport import requests

__all__ = ["Poller"]

_AT_ONCE = 4  # requests to one server at a time: it answers them one after another anyway
_SHARE = 2.0  # a queue that takes long to be told is asked for a third of the time at most
_TOO_LONG = ("TooLarge", "Unreadable")
"""Why a record did not come that will not come soon, either."""


class Poller:
    """Scheduled requests to one server about its open tasks; `run` sends them."""

    def __init__(self, exchange: Exchange, board: Board, policy: Policy, clock: Callable[[], float]) -> None:
        self._exchange = exchange
        self._news = exchange.news
        self._url = exchange.server.url
        self._board = board
        self._policy = policy
        self._clock = clock
        self._scheduled: dict[tuple[str, bool], float] = {}  # by the loop's clock, as all waits are
        self._querying = False
        self._next_query = 0.0
        self._probe_at = inf
        self._fetching: set[str] = set()
        self._due: deque[str] = deque()  # prompts whose records are fetched next
        self._fetchers = 0
        self._running: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._failed = 0
        self._jobs_answer = True
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    def schedule(self, prompt_id: str, due: float, *, queue_first: bool) -> None:
        """Schedule the request for its record, of the queue first or alone; an earlier schedule of the same stands.

        From here on the loop's clock counts, so setting the system clock hastens and delays nothing.
        """
        at = asyncio.get_running_loop().time() + max(due - self._clock(), 0.0)
        self._scheduled[prompt_id, queue_first] = min(at, self._scheduled.get((prompt_id, queue_first), at))
        self._news.set()

    async def run(self) -> None:
        """Send the scheduled requests when they are due, until cancelled; a missing answer delays no other request."""
        try:
            while self._error is None:
                self._news.clear()
                self._note_unreachable()
                wait = self._start_due(asyncio.get_running_loop().time())
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):  # wait_for can swallow the cancel at the end
                        await self._news.wait()
            raise self._error
        finally:
            for work in self._running:
                work.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _note_unreachable(self) -> None:
        """Start polling a server that left a request about a task unanswered, until it is back (P33)."""
        away = self._board.server(self._url).unreachable is not None
        if self._probe_at == inf and away and self._board.open_at(self._url):
            pause = min(self._policy.pause(self._failed + 1), self._policy.return_seconds)
            self._probe_at = asyncio.get_running_loop().time() + pause

    def _start_due(self, now: float) -> float | None:
        """Start what is due, and return the time until the next; None to wait for a new request."""
        if now < self._exchange.not_before:
            return self._exchange.not_before - now
        asked, rest = list[str](), self._probe_at
        if rest <= now:
            self._probe_at = rest = inf
            self._start(self._probe())
        for (prompt_id, queue_first), at in list(self._scheduled.items()):
            if self._querying if queue_first else prompt_id in self._fetching:
                continue  # it is begun when that one has ended
            due = max(at, self._next_query) if queue_first else at
            if due > now:
                rest = min(rest, due)
                continue
            del self._scheduled[prompt_id, queue_first]
            if queue_first:
                asked.append(prompt_id)
            else:
                self._fetching.add(prompt_id)
                self._fetch_soon([prompt_id])
        if asked:
            self._querying = True
            self._start(self._query(asked))
        return None if rest == inf else rest - now

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        working = asyncio.create_task(work)
        self._running.add(working)
        working.add_done_callback(self._ended)

    def _ended(self, working: asyncio.Task[None]) -> None:
        self._running.discard(working)
        if not working.cancelled() and (error := working.exception()) is not None:
            self._error = error
        self._news.set()

    async def _query(self, prompt_ids: list[str]) -> None:
        """Query the queue once for all of these prompts, then the record of each that it does not list (P29)."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            listed = await self._list(prompt_ids)
        finally:
            self._querying = False
            self._next_query = loop.time() + min(_SHARE * (loop.time() - began), self._policy.look_limit_seconds)
            self._news.set()
        if listed is not None:
            self._fetch_soon(prompt_id for prompt_id in prompt_ids if prompt_id not in listed)

    async def _list(self, prompt_ids: Iterable[str]) -> frozenset[str] | None:
        """Return the ids that the queue lists now; None if there was no answer: then all are scheduled again."""
        open_ones = [prompt_id for prompt_id in prompt_ids if self._open(prompt_id) is not None]
        by_jobs = self._exchange.has_jobs and not any(map(self._exchange.may_be_renamed, map(self._open, open_ones)))
        if not open_ones or (by_jobs and self._is_told_by_job(open_ones)):
            return frozenset()
        listed = await self._listing(by_jobs)
        return await self._counted(listed, open_ones) if listed is not None else None

    async def _listing(self, by_jobs: bool) -> frozenset[str] | None:
        """Return the ids of all that wait or run; None if there was no answer: then the server is polled."""
        listed = answers.open_jobs(await self._exchange.send(requests.open_jobs())) if by_jobs else None
        if listed is None:
            listed = answers.queued(await self._exchange.send(requests.queue()))
        failed, self._failed = self._failed, 0 if listed is not None else self._failed + 1
        if failed and listed is not None:
            self._query_all()
        return listed

    async def _counted(self, listed: frozenset[str], open_ones: Iterable[str]) -> frozenset[str]:
        if not listed.issuperset(open_ones):  # a queue may hide what it counts
            await self._exchange.send(requests.remaining())
        return listed

    def _is_told_by_job(self, prompt_ids: list[str]) -> bool:
        """Return whether one job is enough: not after a denial or an unusable answer, as only a queue proves (P29,
        P38).
        """
        task = self._open(prompt_ids[0])
        return len(prompt_ids) == 1 and self._jobs_answer and task is not None and not task.inquiry.rounds

    def _fetch_soon(self, prompt_ids: Iterable[str]) -> None:
        """Let these be fetched after what is due already: by a few tasks, however many thousand prompts they are."""
        self._due.extend(prompt_ids)
        for _ in range(min(len(self._due), _AT_ONCE - self._fetchers)):
            self._fetchers += 1
            self._start(self._fetch_due())

    async def _fetch_due(self) -> None:
        try:
            while self._due:
                prompt_id = self._due.popleft()
                await self._fetch(prompt_id)
                self._fetching.discard(prompt_id)
                self._news.set()
        finally:
            self._fetchers -= 1

    async def _fetch(self, prompt_id: str) -> None:
        """Fetch the result of a prompt: from its job if that is conclusive (P38), otherwise from its record."""
        task = self._open(prompt_id)
        if task is None:
            return
        # A process that resumes has asked nobody yet what it can, and a job can be right where a record is wrong.
        await self._exchange.detect_features()
        async with self._at_once:
            if self._exchange.has_jobs and not self._exchange.may_be_renamed(task):
                job = await self._exchange.send(requests.job(prompt_id), task.window)
                self._jobs_answer = job is not None and (job.status == 200 or answers.is_conclusive(job))
                if answers.is_conclusive(job):
                    return
            if self._open(prompt_id) is task and task.prompt_id is not None:
                await self._exchange.send(self._exchange.record_of(task.prompt_id, task), task.window)

    async def _probe(self) -> None:
        """Send one query for all waiting tasks, each of which might wait long to be asked about again."""
        self._probe_at, failed = inf, self._failed
        listed = await self._listing(self._exchange.has_jobs)
        if listed is None or failed or self._exchange.last_failure in _TOO_LONG:
            return
        waiting = (task for task in self._board.open_at(self._url) if task.inquiry.requested)
        task = next(waiting, None)  # its queue answers: then it may be records that do not come, and one tells of all
        if task is not None and task.prompt_id is not None:
            await self._fetch(task.prompt_id)
            if self._board.server(self._url).unreachable is None:
                self._query_all()

    def _query_all(self) -> None:
        """Look for every open task, now that the server answers again: nothing that was missed is repeated (P4)."""
        self._exchange.server.wake()
        for task in self._board.open_at(self._url):
            if task.prompt_id is not None:
                self.schedule(task.prompt_id, self._clock(), queue_first=True)

    def _open(self, prompt_id: str) -> Task | None:
        task = self._board.task(prompt_id, self._url)
        return task if task is not None and (task.inquiry.owed or not task.settled) else None
