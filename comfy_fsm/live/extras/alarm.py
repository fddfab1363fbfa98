"""Alerts for programs without Prometheus: checks the rules of `core/metrics/alerts.py` from time to time.

client.accompany(Alarm(client.readings, on_alert))
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from comfy_fsm.core.metrics.alerts import ALERTS, Alert, Change, Watch
from comfy_fsm.core.metrics.catalogue import Reading
from comfy_fsm.live.client.callbacks import call
from comfy_fsm.live.client.companion import Companion

__all__ = ["Alarm"]

_logger = logging.getLogger(__name__)
_MOST = 1_000  # changes that wait for a callback that hangs
_PATIENCE = 1.0  # seconds that closing waits for it


class Alarm(Companion):
    """Companion that calls `on_alert`, a function or coroutine function, when an alert starts and when it ends, one at
    a time.
    """

    def __init__(
        self,
        readings: Callable[[], list[Reading]],
        on_alert: Callable[[Change], Any],
        *,
        alerts: Iterable[Alert] = tuple(ALERTS.values()),
        seconds: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._readings = readings
        self._on_alert = on_alert
        self._watch = Watch(alerts)
        self._seconds = seconds
        self._clock = clock
        self._waiting: asyncio.Queue[Change] = asyncio.Queue(_MOST)

    async def run(self) -> None:
        telling = asyncio.create_task(self._tell())
        try:
            while True:
                self._check()
                await asyncio.sleep(self._seconds)
        finally:  # what began while the client was closed, as by a log that failed, is told too
            self._check()
            await self._say_the_rest(telling)

    def _check(self) -> None:
        for change in self._watch.update(self._clock(), self._readings()):
            try:
                self._waiting.put_nowait(change)
            except asyncio.QueueFull:
                _logger.warning("the callback %r hangs, so it is not called for %s", self._on_alert, change.alert.name)

    async def _tell(self) -> None:
        while True:
            await call(self._on_alert, await self._waiting.get())
            self._waiting.task_done()

    async def _say_the_rest(self, telling: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._waiting.join()
        except TimeoutError:
            _logger.warning("the callback %r hangs, so it was not called for every alert", self._on_alert)
        telling.cancel()
        await asyncio.wait([telling])
