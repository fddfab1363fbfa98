"""Task as the application holds it: awaited, followed, cancelled, its files fetched."""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from comfy_fsm.core.effects import Output, Result
from comfy_fsm.core.machine import State
from comfy_fsm.core.updates import Update
from comfy_fsm.errors import InvariantBroken, TaskCancelled, TaskError, TaskExpired, TaskFailed, TaskLost, TaskRejected
from comfy_fsm.live.client.callbacks import Callbacks
from comfy_fsm.live.client.image_spool import KeptImage
from comfy_fsm.live.client.outputs import OutputFile, TaskResult, at_hand, save_all
from comfy_fsm.live.client.progress import Progress, Track
from comfy_fsm.live.client.tags import NO_TAG, Tag
from comfy_fsm.live.client.update_queue import UpdateQueue
from comfy_fsm.live.saving.atomic_files import Names
from comfy_fsm.live.transport.arrivals import Answer
from comfy_fsm.live.transport.requests import Draft, HttpRequest

__all__ = ["ERRORS", "NOTHING", "Attached", "Dispatches", "Origin", "Posting", "Registry", "TaskHandle", "Voice"]

ERRORS: dict[str, type[TaskError]] = {
    State.FAILED: TaskFailed,
    State.CANCELLED: TaskCancelled,
    State.REJECTED: TaskRejected,
    State.LOST: TaskLost,
    State.EXPIRED: TaskExpired,
}


class Dispatches(Protocol):
    """Dispatcher, as far as a client needs it."""

    async def moves(self, result: Result) -> bool:
        """Return whether the job of a settled task goes on as another task; then this end is reported to nobody."""
        ...

    async def withdraw(self, handle: TaskHandle) -> bool:
        """Cancel a job that waits."""
        ...


class Registry(Protocol):
    """Registry of handles, as far as a handle needs it: it knows the task, and acts on it."""

    def state_of(self, handle: TaskHandle) -> State:
        """Return the state of the task, as far as committed entries say."""
        ...

    async def cancel(self, handle: TaskHandle) -> bool:
        """Ask the server to drop or interrupt the task."""
        ...

    async def position_in_queue(self, handle: TaskHandle) -> int | None:
        """Ask the server how many prompts run or wait before the task."""
        ...

    def fetch(self, origin: Origin, output: Output) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open an output of the task for reading."""
        ...

    def note_cut(self, handle: TaskHandle) -> None:
        """Write down that the progress callback of the task caused its own call, and is not called any more."""
        ...


class Origin(NamedTuple):
    """Origin of the outputs of a task; its handle is not in it, since the result would hold it and be held by it: of a
    Struct with a dict no collector finds such a circle."""

    server: str
    window: str
    images: Mapping[str, tuple[Update, KeptImage]]
    """Results that came over the socket, by name."""

    def image(self, output: Output) -> KeptImage | None:
        """Return the stored image that came over the socket; None if it came to another process."""
        found = self.images.get(output.filename)
        return found[1] if found is not None else None


class Voice(Protocol):
    """Window, as far as a POST needs it."""

    def id_at(self, server: str) -> str:
        """Return the client id at this server."""
        ...


class Posting(NamedTuple):
    """Draft of a workflow, and the window that posts it, as often as need be."""

    window: Voice
    draft: Draft

    def new(self, server: str) -> tuple[str, str, HttpRequest]:
        """Return the client id of the window, a new prompt id, and the POST under both."""
        client_id, prompt_id = self.window.id_at(server), str(uuid.uuid4())
        return client_id, prompt_id, self.draft.request(client_id, prompt_id)


class Attached(NamedTuple):
    """Callbacks, tag and draft that the application gives with a task."""

    on_progress: Callable[[Update], Any] | None = None
    on_complete: Callable[[TaskHandle], Any] | None = None
    tag: Tag = NO_TAG
    posting: Posting | None = None


NOTHING = Attached()


class TaskHandle:
    """Handle of a task: `await task` returns its result, or raises a TaskError that describes its end.

    It behaves like a future: any number of callers can await it at any time, and cancelling one of them does not cancel
    the task. Where asyncio requires a coroutine, pass `task.wait()`.
    """

    def __init__(
        self,
        prompt_id: str,
        window: str,
        server: str,
        *,
        registry: Registry,
        track: Track,
        attached: Attached = NOTHING,
        resubmits: int = 0,
    ) -> None:
        self.prompt_id = prompt_id
        self.window = window
        self.server = server
        self._result: TaskResult | None = None
        self.tagged = attached.tag  # to be written down beside each POST
        self.posting = attached.posting  # none for a job, a prompt of somebody else, and once it is cancelled
        self.resubmits = resubmits  # how often it may still be posted again, if its server never had it
        self.job: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
        """Of a job, workflow and extra_data, where secrets in them are not in the log."""
        self.waited = 0.0  # seconds, for a server that refused it for now
        self.doubtful = False  # it was posted before, and that this came to nothing is only concluded
        self.posted: asyncio.Future[Answer | None] | None = None  # what its last POST was answered
        self.posted_at = 0.0  # when, by the loop's clock
        self._registry = registry
        self.track = track
        self._callbacks = Callbacks(attached.on_progress, attached.on_complete)
        self._loop = asyncio.get_running_loop()
        self._settled = asyncio.Event()
        self._error: Exception | None = None
        self._told: list[tuple[Callable[[TaskHandle], object], contextvars.Context]] = []
        self._queues: list[UpdateQueue] = []
        self._images: dict[str, tuple[Update, KeptImage]] = {}  # as in Origin

    def __repr__(self) -> str:
        return f"<task {self.prompt_id} at {self.server or 'no server yet'}: {self.state}>"

    @property
    def state(self) -> State:
        """State as far as committed entries say; a waiting job counts as `submitting`."""
        return self._result.state if self._result is not None else self._registry.state_of(self)

    @property
    def tag(self) -> Any:
        """Value given as `submit(tag=…)`, even by an earlier process."""
        return self.tagged.value

    @property
    def waits(self) -> bool:
        """Return whether it is a job that waits for a server."""
        return not self.server and self._result is None

    # as a future

    def __await__(self) -> Generator[Any, None, TaskResult]:
        return self.wait().__await__()

    async def wait(self) -> TaskResult:
        """Wait like `await task`, as a coroutine: for `create_task` and `TaskGroup`."""
        await self._settled.wait()
        return self.result()

    _wait = wait  # its name before 0.1.0, by which scripts know it

    def done(self) -> bool:
        """Return whether the task has settled, or the client was closed first."""
        return self._settled.is_set()

    def result(self) -> TaskResult:
        """Return the result, or raise the error that `await task` raises; InvalidStateError before the end."""
        if (error := self.exception()) is not None:
            raise error
        if self._result is None:
            raise InvariantBroken("a task settled with neither a result nor an error")
        return self._result

    def exception(self) -> Exception | None:
        """Return the error that `await task` raises; None if it completed. Raises InvalidStateError before the end."""
        if not self.done():
            raise asyncio.InvalidStateError(f"task {self.prompt_id} is {self.state}: await it, or ask once it is done")
        if self._result is None:
            return self._error
        error = ERRORS.get(self._result.state)
        return error(self._result) if error is not None else None

    def cancelled(self) -> bool:
        """Return whether the task was interrupted, or removed before it ran."""
        return self.done() and self._result is not None and self._result.state is State.CANCELLED

    def peek(self) -> TaskResult | None:
        """Return the result, however the task ended, without raising; None before its end."""
        return self._result

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(
        self, callback: Callable[[TaskHandle], object], *, context: contextvars.Context | None = None
    ) -> None:
        """Call this in the loop soon after the end; to take the result, use `when_complete`."""
        context = context or contextvars.copy_context()
        if self.done():
            self._loop.call_soon(callback, self, context=context)
        else:
            self._told.append((callback, context))

    def remove_done_callback(self, callback: Callable[[TaskHandle], object]) -> int:
        """Remove every such callback, and return their number."""
        before = len(self._told)
        self._told = [(told, context) for told, context in self._told if told != callback]
        return before - len(self._told)

    async def __aiter__(self) -> AsyncGenerator[Update, None]:
        """Yield updates until the task settles; for a slow reader, only the newest of each node.

        Each reader gets every image that is a result, even if it came before.
        """
        queue = UpdateQueue()
        for update, kept in self._images.values():
            queue.put(update, kept)
        if self._settled.is_set():
            queue.end()
        self._queues.append(queue)
        try:
            async for update in queue:
                yield update
        finally:
            self._queues.remove(queue)

    @property
    def progress(self) -> Progress:
        """Estimated progress: the share that is done, the running node, and the time that is left."""
        now = self.track.now(time.time())
        return now._replace(share=1.0) if self.state is State.COMPLETED else now

    async def queue_position(self) -> int | None:
        """Ask the server how many prompts run or wait before this one: 0 while it runs.

        None if its queue does not list it: it has ended, it is a waiting job, or the server does not answer.
        """
        return await self._registry.position_in_queue(self)

    async def cancel(self) -> bool:
        """Ask the server to remove or interrupt the task; False if there was nothing to cancel. Then await it.

        Before 0.3.57 a running prompt cannot be interrupted without the risk of hitting another one: it goes on (P31).
        """
        return await self._registry.cancel(self)

    @property
    def outputs(self) -> list[OutputFile]:
        """Files that the task produced, and images that came over the socket; each can be read or saved."""
        return list(self._result.outputs) if self._result is not None else []

    @property
    def texts(self) -> list[str]:
        """Texts that its nodes showed; `result.texts` also names the nodes."""
        return [text.text for text in (self._result.texts if self._result is not None else ())]

    async def save_outputs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Wait for the end and save every file into a folder, which is created if there is none.

        Files get the server's names, made safe, with a number if taken. A failed task may have produced files as well.
        Raises DownloadFailed or OSError for the first file that could not be saved.
        """
        with suppress(TaskError):
            await self
        saved = [one async for one in save_all(self.outputs, (), folder, Names())]
        for one in saved:
            if one.error is not None:
                raise one.error
        return [one.path for one in saved if one.path is not None]

    def report(self, text: str, value: float | None = None, max: float | None = None) -> None:
        """Send progress of the application's own to those who follow this task; may be called from any thread."""
        if self._callbacks.recurses():
            return self._registry.note_cut(self)
        update = Update(self.prompt_id, "report", time.time(), value=value, max=max, text=text)
        self._loop.call_soon_threadsafe(self.push, update)

    def when_complete(self, callback: Callable[[TaskHandle], Any]) -> None:
        """Call this once after the task has settled, before its delivery is recorded; replaces an earlier callback.

        If it raises Undelivered, the result is left to whoever opens the log next.
        """
        self._callbacks.expect(callback)

    def when_progress(self, callback: Callable[[Update], Any]) -> None:
        """Call this with each update from now on; replaces an earlier callback."""
        self._callbacks.follow(callback)

    # for the client alone

    def resume(self, callback: Callable[[TaskHandle], Any]) -> None:
        """Call this with a task that an earlier process left: its result counts as delivered when it has returned."""
        self._callbacks.resume(callback, self)

    @property
    def listens(self) -> bool:
        return bool(self._queues) or self._callbacks.listens

    def push(self, update: Update, kept: KeptImage | None = None) -> None:
        """Pass an update on to the readers and the progress callback."""
        if kept is not None:
            self._images[update.text] = update, kept
        for queue in self._queues:
            queue.put(update, kept)
        self._callbacks.put(update, kept)

    async def settle(self, result: Result) -> None:
        """Deliver the result, once in this process."""
        if self._settled.is_set():
            return
        origin = Origin(self.server, self.window, self._images)
        self._result = at_hand(result, self.server, partial(self._registry.fetch, origin))
        self.prompt_id = result.prompt_id or self.prompt_id
        self._end()
        await self._callbacks.complete(self)

    def abandon(self, error: Exception) -> None:
        """End the handle with this error: the client closes before the task settles."""
        if not self._settled.is_set():
            self._error = error
            self._end()

    def _end(self) -> None:
        self._settled.set()
        told, self._told = self._told, []
        for callback, context in told:
            self._loop.call_soon(callback, self, context=context)
        for queue in self._queues:
            queue.end()

    async def close(self) -> None:
        await self._callbacks.close()
