"""Callbacks of the application for one task, which must neither block, nest nor recurse.

Coroutines are awaited, functions run in a thread: neither ever delays a socket. A callback that raises is logged; one
that hangs delays only its own task.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from comfy_fsm.core.updates import Update
from comfy_fsm.errors import ClientClosed
from comfy_fsm.live.client.image_spool import KeptImage
from comfy_fsm.live.client.update_queue import UpdateQueue
from comfy_fsm.live.engine.closing import finish
from comfy_fsm.live.engine.runner import Undelivered

__all__ = ["Callbacks", "Raised", "call"]

_logger = logging.getLogger(__name__)
_INSIDE: contextvars.ContextVar[frozenset[int]] = contextvars.ContextVar("inside", default=frozenset())
Raised = Callable[[Callable[..., Any]], None]
_PATIENCE = 5.0  # seconds that a completion waits for a progress callback to return; then it goes ahead of it


class Callbacks:
    """Progress and completion callback of one task."""

    def __init__(self, on_progress: Callable[[Update], Any] | None, on_complete: Callable[..., Any] | None) -> None:
        self._on_progress = on_progress
        self._on_complete = on_complete
        self._silent = False
        self._raised = 0  # how often `on_progress` did: of many alike, one is told whole
        self._queue = UpdateQueue()
        self._running: asyncio.Task[None] | None = None
        self._calling = asyncio.Lock()
        self._showing = False  # an image that is a result
        self._returned = asyncio.Event()
        self._resuming: asyncio.Task[None] | None = None

    @property
    def listens(self) -> bool:
        return self._on_progress is not None and not self._silent

    def put(self, update: Update, kept: KeptImage | None = None) -> None:
        """Call `on_progress` with the update, after the calls before it have returned."""
        if not self.listens:
            return
        if self._running is None:
            self._running = asyncio.create_task(self._progress())
        self._queue.put(update, kept)

    def expect(self, on_complete: Callable[..., Any]) -> None:
        """Call this at the end, in place of any other completion callback."""
        self._on_complete = on_complete

    def follow(self, on_progress: Callable[[Update], Any]) -> None:
        """Call this for progress from now on, in place of any other."""
        self._on_progress = on_progress

    def resume(self, on_resume: Callable[..., Any], argument: object) -> None:
        """Call this besides all others; the result counts as delivered only when it has returned."""
        if self._resuming is None:
            self._resuming = asyncio.create_task(call(on_resume, argument, _left))
            self._resuming.add_done_callback(_seen)

    def recurses(self) -> bool:
        """Return whether the caller is, directly or indirectly, the progress callback itself; if so, it is not called
        any more, and who asks again is not told so.
        """
        if self._on_progress is None or id(self) not in _INSIDE.get():
            return False
        self._on_progress = None
        self._queue.empty()
        return True

    async def _progress(self) -> None:
        async for update in self._queue:
            function = self._on_progress
            if function is not None and not self._silent:
                self._showing = update.name == "image"
                async with self._calling:
                    await self._call(function, update, self._stumbled)
                self._showing = False
                self._returned.set()

    def _stumbled(self, function: Callable[..., Any]) -> None:
        self._raised += 1
        if self._raised == 1:
            _logger.exception(
                "the progress callback %r raised; the task goes on, the callback is called with what comes next, and "
                "if it raises again that is counted, and told when the task is over", function,
            )  # fmt: skip

    async def complete(self, argument: object) -> None:
        """Call `on_complete`, once; progress is suppressed meanwhile, and resumes even if it raises."""
        if self._resuming is not None:
            await asyncio.shield(self._resuming)
        await self._images_told()
        function, self._on_complete = self._on_complete, None
        if function is None:
            return
        self._silent = True
        self._queue.empty()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._calling.acquire()
                self._calling.release()
            await self._call(function, argument, _once)
        finally:
            self._silent = False

    async def _images_told(self) -> None:
        """Wait until each image that is a result was reported, so that it comes before the end, unless the callback
        hangs.
        """
        while self.listens and (self._showing or self._queue.images):
            self._returned.clear()
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._returned.wait()
            except TimeoutError:
                left = self._queue.images
                _logger.warning("the callback %r hangs, so %d images wait for it in vain", self._on_progress, left)
                return

    async def _call(self, function: Callable[..., Any], argument: object, raised: Raised) -> None:
        token = _INSIDE.set(_INSIDE.get() | {id(self)})
        try:
            await call(function, argument, raised)
        finally:
            _INSIDE.reset(token)

    async def close(self) -> None:
        """Drop what waits; a function that still runs in its thread is abandoned."""
        self._queue.end()
        for running in filter(None, (self._running, self._resuming)):
            running.cancel()
            await finish(running)
        if self._raised > 1:
            _logger.error("the progress callback %r raised %d times", self._on_progress, self._raised)
        self._raised = 0


def _once(function: Callable[..., Any]) -> None:
    _logger.exception("the completion callback %r raised; the result stands, and it is not called again", function)


def _left(function: Callable[..., Any]) -> None:
    if not isinstance(sys.exception(), ClientClosed):  # it waited for a task that the closing of the client left open
        _logger.exception("the callback %r for a task that was left raised; the task goes on", function)


def _seen(resuming: asyncio.Task[None]) -> None:
    """Retrieve the exception of a resume callback: the delivery raises it, if there is one."""
    if not resuming.cancelled():
        resuming.exception()


def _again(function: Callable[..., Any]) -> None:
    _logger.exception(
        "the callback %r raised; what it was called for goes on, and it is called again for the next", function
    )


async def call(function: Callable[..., Any], argument: object, raised: Raised = _again) -> None:
    """Call a function or coroutine function of the application; an exception is logged, and goes no further."""
    try:
        answer = function(argument) if _is_coroutine(function) else await _in_thread(function, argument)
        if inspect.isawaitable(answer):
            await answer
    except Undelivered:
        raise
    except Exception:
        raised(function)


def _is_coroutine(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def _in_thread(function: Callable[..., Any], argument: object) -> object:
    """Run a function in a thread of its own, not of a pool: hung callbacks would fill the pool and block the exit."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    answered: asyncio.Future[object] = loop.create_future()

    def tell(outcome: object, error: BaseException | None) -> None:
        if answered.done():
            return
        if error is None:
            answered.set_result(outcome)
        else:
            answered.set_exception(error)

    def work() -> None:
        outcome, failure = None, None
        try:
            outcome = context.run(function, argument)
        except BaseException as error:
            failure = error if isinstance(error, Exception) else RuntimeError(f"the callback ended with {error!r}")
        with suppress(RuntimeError):  # the loop is gone, and with it everyone who waited
            loop.call_soon_threadsafe(tell, outcome, failure)

    threading.Thread(target=work, name="callback", daemon=True).start()
    return await answered
