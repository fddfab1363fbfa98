"""Closing that finishes even if those who wait for it are cancelled, however often.

close() ─► one task closes ─► `finish` waits for each of its steps, which no cancellation cuts short
close() ─► waits for that task; cancelling ends the waiting alone
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

__all__ = ["Closing", "finish", "report"]

_logger = logging.getLogger(__name__)


async def finish(*steps: asyncio.Future[Any] | Coroutine[Any, Any, Any]) -> None:
    """Wait until all of these have ended, through cancellations and exceptions; they must end by themselves."""
    waiting = {asyncio.ensure_future(step) for step in steps}
    every = list(waiting)
    while waiting:
        with suppress(asyncio.CancelledError):
            await asyncio.wait(waiting)
        waiting = {step for step in waiting if not step.done()}
    for step in every:
        if not step.cancelled():
            step.exception()  # told by whoever waits for its result; here it must not keep the next step from its turn


class Closing:
    """Operation that runs once, in a task of its own; each caller waits for that task."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._running: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        if self._running is None:
            self._running = asyncio.create_task(self._work(), name="closing")
        elif self._running.done() and not self._running.cancelled():
            return self._running.result()
        await asyncio.shield(self._running)


def report(ended: asyncio.Task[None]) -> None:
    """Log the error that ended a task for which nobody waits."""
    if not ended.cancelled() and (error := ended.exception()) is not None:
        _logger.error("the client met an unexpected error: %s", error, exc_info=error)
