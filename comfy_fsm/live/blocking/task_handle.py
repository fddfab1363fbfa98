"""Task handle for threads without an event loop: each call blocks until it is answered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from comfy_fsm.core.machine import State
from comfy_fsm.core.updates import Update
from comfy_fsm.errors import ClientClosed
from comfy_fsm.live.blocking.outputs import BlockingOutput, BlockingResult, Calls
from comfy_fsm.live.client.outputs import TaskResult
from comfy_fsm.live.client.progress import Progress
from comfy_fsm.live.client.task_handle import TaskHandle

__all__ = ["BlockingTask", "adapted"]

_T = TypeVar("_T")
_DONE = Update("", "", 0.0)


class BlockingTask:
    """Blocking form of `TaskHandle`; `for update in task` yields its progress."""

    def __init__(self, calls: Calls, handle: TaskHandle) -> None:
        self._calls = calls
        self._handle = handle

    def __repr__(self) -> str:
        return repr(self._handle)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlockingTask) and other._handle is self._handle

    def __hash__(self) -> int:
        return hash(self._handle)

    @property
    def prompt_id(self) -> str:
        return self._handle.prompt_id

    @property
    def window(self) -> str:
        return self._handle.window

    @property
    def server(self) -> str:
        return self._handle.server

    @property
    def state(self) -> State:
        return self._handle.state

    @property
    def tag(self) -> Any:
        return self._handle.tag

    @property
    def waits(self) -> bool:
        return self._handle.waits

    @property
    def progress(self) -> Progress:
        return self._handle.progress

    def queue_position(self) -> int | None:
        """Ask the server how many prompts run or wait before this one; None if its queue does not list it."""
        return self._calls.call(self._handle.queue_position())

    def done(self) -> bool:
        return self._handle.done()

    def cancelled(self) -> bool:
        return self._handle.cancelled()

    def wait(self, timeout: float | None = None) -> BlockingResult:
        """Wait for the end and return the result, like `result`."""
        return self.result(timeout)

    def result(self, timeout: float | None = None) -> BlockingResult:
        """Wait for the end and return the result; raises a TaskError unless it completed, TimeoutError if it has not
        ended.
        """

        async def settled() -> TaskResult:
            try:
                async with asyncio.timeout(timeout):
                    return await self._handle
            except TimeoutError:
                raise TimeoutError(
                    f"task {self.prompt_id} is {self.state} after {timeout:g} s, and goes on; ask for its result again "
                    "to wait on, or cancel() it"
                ) from None

        return BlockingResult.of(self._calls.call(settled()), self._calls)

    def exception(self, timeout: float | None = None) -> Exception | None:
        """Wait for the end and return the error that `result` raises; None if it completed."""
        try:
            self.result(timeout)
        except TimeoutError:
            raise
        except Exception as error:
            return error
        return None

    def peek(self) -> BlockingResult | None:
        """Return the result, however the task ended, without waiting or raising; None before its end."""
        result = self._handle.peek()
        return None if result is None else BlockingResult.of(result, self._calls)

    def __iter__(self) -> Iterator[Update]:
        """Yield updates until the task settles; for a slow reader, only the newest of each node."""
        updates = aiter(self._handle)

        async def after() -> Update:
            return await anext(updates, _DONE)

        async def leave() -> None:
            await updates.aclose()

        try:
            while (update := self._calls.call(after())) is not _DONE:
                yield update
        finally:
            with suppress(ClientClosed):
                self._calls.call(leave())

    def cancel(self) -> bool:
        """Ask the server to remove or interrupt the task; False if there was nothing to cancel. Then wait for its
        result.
        """
        return self._calls.call(self._handle.cancel())

    @property
    def outputs(self) -> list[BlockingOutput]:
        """Files that the task produced, and images that came over the socket; each can be read or saved."""
        return [BlockingOutput.of(output, self._calls) for output in self._handle.outputs]

    @property
    def texts(self) -> list[str]:
        return self._handle.texts

    def save_outputs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Wait for the end and save every file into a folder, which is created if there is none."""
        return self._calls.call(self._handle.save_outputs(folder))

    def report(self, text: str, value: float | None = None, max: float | None = None) -> None:
        """Send progress of the application's own to those who follow this task."""
        self._handle.report(text, value, max)

    def when_complete(self, callback: Callable[[BlockingTask], Any]) -> None:
        """Call this once after the task has settled, in a thread of its own; replaces an earlier callback."""
        self._handle.when_complete(adapted(self._calls, callback))

    def when_progress(self, callback: Callable[[Update], Any]) -> None:
        """Call this with each update from now on, in a thread of its own; replaces an earlier callback."""
        self._handle.when_progress(callback)


def adapted(calls: Calls, callback: Callable[[BlockingTask], Any]) -> Callable[[TaskHandle], Any]:
    """Adapt a callback for `BlockingTask` to one that is called with a `TaskHandle`."""
    return partial(_tell, calls, callback)


def _tell(calls: Calls, callback: Callable[[BlockingTask], Any], handle: TaskHandle) -> Any:
    return callback(BlockingTask(calls, handle))
