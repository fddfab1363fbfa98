"""Health checks of a dispatcher: queries the queue of each server from time to time, takes it out and tries it again.

Each query is logged like any other, so the fold learns from it, too.
"""

from __future__ import annotations

import asyncio
import logging

from msgspec import Raw

from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.scheduling.breaker import Standing
from comfy_fsm.core.scheduling.scheduler import Scheduler, ServerLoad
from comfy_fsm.core.wire import queues
from comfy_fsm.display import Names
from comfy_fsm.live.engine.runner import Runner
from comfy_fsm.live.transport import requests

__all__ = ["HealthCheck"]

_logger = logging.getLogger(__name__)
_AWAY = frozenset({Standing.OUT, Standing.STILL})
_BREATH = 0.05  # seconds at least between two questions to one server


class HealthCheck:
    """Health checks of one server for a dispatcher; `news` is set after each of them."""

    def __init__(
        self, runner: Runner, load: ServerLoad, look_seconds: float, scheduler: Scheduler, news: asyncio.Event
    ) -> None:
        self.load = load
        self._runner = runner
        self._exchange = runner.exchanges[load.url]
        self._look = look_seconds
        self._scheduler = scheduler
        self._news = news
        self._warned: Standing | None = None
        self._removed: set[str] = set()
        self._wanted = asyncio.Event()

    @property
    def tasks(self) -> list[Task]:
        """Open tasks at this server that a dispatcher posted."""
        return [task for task in self._runner.board.open_at(self.load.url) if task.job is not None]

    def hurry(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """Run one check after another, until cancelled."""
        while True:
            if not (self._scheduler.is_idle(self.load) and self.load.breaker.standing is Standing.UP):
                await self.round()
            breaker, now = self.load.breaker, self._runner.clock()
            wait = breaker.again_at - now if breaker.standing in _AWAY else self._look
            self._wanted.clear()
            try:
                async with asyncio.timeout(max(wait, _BREATH)):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def round(self) -> None:
        """Query the queue, and judge the server by its answer, or by the lack of one."""
        load, clock = self.load, self._runner.clock
        answer = await self._exchange.send(requests.queue())
        parts = queues.queue(Raw(answer.body)) if answer is not None and answer.status == 200 else None
        if parts is None:
            load.breaker.fail(clock())
        else:
            listed, tasks = frozenset(parts[0] + parts[1]), self.tasks
            load.breaker.answer(clock())
            load.breaker.see(listed, sum(task.frames for task in tasks), clock(), frozenset(self._removed))
            self._removed &= listed
            load.others = len(listed - {task.prompt_id for task in tasks})
            if (load.drained or load.breaker.standing is Standing.STILL) and self._scheduler.has_other(load):
                await self._recall([task for task in tasks if task.state is State.PENDING])
        self._warn()
        self._news.set()

    async def _recall(self, tasks: list[Task]) -> None:
        """Remove from the queue what has not begun (P30), never what runs; later queries show the result."""
        for task in tasks:
            if task.prompt_id is None:
                continue
            if not task.recalled:
                await self._runner.command("recall", task.prompt_id, task.window, task.server)
            self._removed.add(task.prompt_id)
            await self._exchange.send(requests.delete([task.prompt_id]), task.window)
            self._runner.pollers[self.load.url].schedule(task.prompt_id, self._runner.clock(), queue_first=True)

    def _warn(self) -> None:
        """Log once for each time that the server is taken out: jobs may wait for it alone, and running tasks are bound
        to it.
        """
        standing = self.load.breaker.standing
        if standing is self._warned:
            return
        self._warned = standing
        if standing not in _AWAY:
            return
        tasks = self.tasks
        why = "refuses or does not answer" if standing is Standing.OUT else "answers, and nothing moves there"  # P34
        names = Names((task.prompt_id for task in tasks), ())
        ids = ", ".join(names.task(task.prompt_id) for task in tasks[:5])
        if not tasks:
            _logger.warning("%s %s: it gets no jobs until that changes", self.load.url, why)
        else:
            _logger.warning(
                "%s %s: it gets no further jobs, and %d of ours stay bound to it (%s), since they may have run; "
                "they go on when it does",
                self.load.url, why, len(tasks), ids,
            )  # fmt: skip
