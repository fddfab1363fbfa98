"""Prober: finds out which servers answer, which of them have a prompt, and what its record says. Decides nothing.

Sends everything through an `Exchange`, so its ingest determines whether requests and answers are logged.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count

from comfy_fsm.core.policy import Policy
from comfy_fsm.core.recovery.probes import ProbeResult, no_answer, read_greeting, read_job, read_queue, read_record
from comfy_fsm.core.recovery.verdicts import Consistency, Fetched, binding, compare
from comfy_fsm.core.registry.task import Task
from comfy_fsm.errors import InvariantBroken
from comfy_fsm.live.engine.exchange import Exchange
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.requests import HttpRequest

__all__ = ["Prober"]

_AT_ONCE = 4  # records asked of one server at a time
_Read = Callable[[int, bytes], ProbeResult | None]


class Prober:
    """Prober of the servers in `exchanges`, keyed by address."""

    def __init__(self, exchanges: Mapping[str, Exchange], policy: Policy) -> None:
        self.exchanges = exchanges
        self.silent: dict[str, ProbeResult] = {}
        """Servers that did not answer when they were called."""
        self._policy = policy

    async def call(self) -> None:
        """Find out who answers, by a request that names no prompt, since no seek was logged yet."""
        await asyncio.gather(*map(self._call_one, self.exchanges))

    async def _call_one(self, url: str) -> None:
        silent = await self._ask(url, requests.remaining(), None, partial(read_greeting, url))
        if silent is not None:
            self.silent[url] = silent

    async def probe(self, url: str, tasks: Sequence[Task]) -> list[ProbeResult]:
        """Run one round about these tasks at this server: one queue for all, then the record of each (P29)."""
        if url in self.silent or not tasks:
            return [self.silent[url] for _ in tasks]
        await self.exchanges[url].detect_features()
        answer = await self.exchanges[url].send(requests.queue())
        if answer is None:
            return [no_answer(url, self.exchanges[url].last_failure)] * len(tasks)
        await self.exchanges[url].send(requests.remaining())  # a queue may hide what it counts
        gate = asyncio.Semaphore(_AT_ONCE)

        async def probe_one(task: Task) -> ProbeResult:
            prompt_id = task.prompt_id or ""  # not before the queue was folded: it may have told another id (P10)
            listed = read_queue(url, prompt_id, answer.status, answer.body)
            if listed is not None:
                return listed
            async with gate:
                return await self._job(url, prompt_id, task) or await self._record(url, prompt_id, task)

        return await asyncio.gather(*map(probe_one, tasks))

    async def _job(self, url: str, prompt_id: str, task: Task) -> ProbeResult | None:
        """Return what the job shows, if the server has jobs (P32) and this one is conclusive."""
        if not self.exchanges[url].has_jobs:
            return None
        found = await self._ask(url, requests.job(prompt_id), task.window, partial(read_job, url, prompt_id))
        return found if found is not None and found.held else None

    async def _record(self, url: str, prompt_id: str, task: Task | None) -> ProbeResult:
        exchange, request, window, told = self.exchanges.get(url), requests.history(prompt_id), None, list[str]()
        if exchange is None:
            return no_answer(url, "it is not named as --server")
        if task is not None:
            request = exchange.record_of(prompt_id, task) if task.server == url else request
            window, told = task.window, [*task.remains.announced, *(output.node for output in task.outputs)]
        found = await self._ask(url, request, window, partial(read_record, url, prompt_id, told=dict.fromkeys(told)))
        return found or no_answer(url, "an answer that says nothing")

    async def _ask(self, url: str, request: HttpRequest, window: str | None, read: _Read) -> ProbeResult | None:
        answer = await self.exchanges[url].send(request, window)
        return no_answer(url, self.exchanges[url].last_failure) if answer is None else read(answer.status, answer.body)

    async def consistency(self, task: Task) -> Consistency:
        """Ask every server in the same way which of them has the task."""
        prompt_id, state, server, (reason, position) = task.prompt_id or "", task.state, task.server, binding(task)
        await self.call()  # what is answered may already move the task, on the board that hears it
        found = await asyncio.gather(*(self.probe(url, [task]) for url in self.exchanges))
        showings = tuple(showing for (showing,) in found)
        name = compare(state, server, showings)
        return Consistency(prompt_id, state, server, reason, position, showings, name)

    async def history(self, prompt_id: str, task: Task | None, attempts: int) -> Fetched:
        """Fetch the record from the bound server, or from any if none is known, waiting longer after each attempt."""
        urls = [task.server] if task is not None else list(self.exchanges)
        for attempt in count(1):
            best = min(await asyncio.gather(*(self._record(url, prompt_id, task) for url in urls)), key=_rank)
            if attempt >= attempts or not _rank(best):
                return Fetched(prompt_id, attempt, tuple(urls), best)
            pause = self._policy.pause(attempt + 2)
            await asyncio.sleep(pause * random.uniform(0.8, 1.0))
        raise InvariantBroken("attempts at a record ended without a last one")


def _rank(showing: ProbeResult) -> int:
    """Rank an answer: the lowest of several is worth most; 0 needs no further attempt."""
    if showing.has == "recorded":
        return 1 if showing.missing else 0
    return 2 if showing.has == "denied" else 3
