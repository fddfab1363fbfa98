"""A task as the application holds it: awaited, followed, cancelled, and its files fetched."""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from comfy_fsm.core.effects import Output, Result
from comfy_fsm.core.machine import State
from comfy_fsm.core.wire.updates import Update
from comfy_fsm.errors import InvariantBroken, TaskCancelled, TaskError, TaskExpired, TaskFailed, TaskLost, TaskRejected
from comfy_fsm.live.client.callbacks import Callbacks
from comfy_fsm.live.client.inbox import Mailbox
from comfy_fsm.live.client.outputs import OutputFile, TaskResult, at_hand, save_all
from comfy_fsm.live.client.progress import Progress, Track
from comfy_fsm.live.client.spool import KeptImage
from comfy_fsm.live.client.tags import NO_TAG, Tag
from comfy_fsm.live.saving.places import Names
from comfy_fsm.live.transport.arrivals import Answer
from comfy_fsm.live.transport.requests import Draft, HttpRequest

__all__ = ["ERRORS", "NOTHING", "Attached", "Dispatches", "Posting", "Registry", "TaskHandle", "Voice"]

ERRORS: dict[str, type[TaskError]] = {
    State.FAILED: TaskFailed,
    State.CANCELLED: TaskCancelled,
    State.REJECTED: TaskRejected,
    State.LOST: TaskLost,
    State.EXPIRED: TaskExpired,
}


class Dispatches(Protocol):
    """What a client needs of a dispatcher, if it has one."""

    async def moves(self, result: Result) -> bool:
        """Whether the job of a task that settled goes on as another task: then nobody is told of this end."""
        ...

    async def withdraw(self, handle: TaskHandle) -> bool:
        """Cancel what waits, and is at no server yet."""
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

    def fetch(self, handle: TaskHandle, output: Output) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open an output of the task for reading."""
        ...

    def note_cut(self, handle: TaskHandle) -> None:
        """Write down that the progress callback of the task caused its own call, and is not called any more."""
        ...


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
    """What the application gives with a task: its callbacks, and what it wants to know of it again."""

    on_progress: Callable[[Update], Any] | None = None
    on_complete: Callable[[TaskHandle], Any] | None = None
    tag: Tag = NO_TAG
    posting: Posting | None = None


NOTHING = Attached()


class TaskHandle:
    """`await task` gives its result, or raises the TaskError that says what became of it.

    It can be awaited, waited for and asked as a future can, by any number of tasks and at any time; whoever is
    cancelled while waiting cancels nothing of it. Where asyncio wants a coroutine, give it `task.wait()`.
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
        self._callbacks = Callbacks(attached.on_progress, attached.on_complete, partial(registry.note_cut, self))
        self._loop = asyncio.get_running_loop()
        self._settled = asyncio.Event()
        self._error: Exception | None = None
        self._told: list[tuple[Callable[[TaskHandle], object], contextvars.Context]] = []
        self._mailboxes: list[Mailbox] = []
        self._images: dict[str, tuple[Update, KeptImage]] = {}  # results that came over the socket, by name

    def __repr__(self) -> str:
        return f"<task {self.prompt_id} at {self.server or 'no server yet'}: {self.state}>"

    @property
    def state(self) -> State:
        """Where it stands now, as far as committed entries say; a job that waits counts as `submitting`."""
        return self._result.state if self._result is not None else self._registry.state_of(self)

    @property
    def tag(self) -> Any:
        """What was given with it as `submit(tag=…)`, by an earlier process too."""
        return self.tagged.value

    @property
    def waits(self) -> bool:
        """Whether it is a job that no server was given yet."""
        return not self.server and self._result is None

    # as a future

    def __await__(self) -> Generator[Any, None, TaskResult]:
        return self.wait().__await__()

    async def wait(self) -> TaskResult:
        """What `await task` does, as a coroutine: for `create_task` and `TaskGroup`."""
        await self._settled.wait()
        return self.result()

    _wait = wait  # its name before 0.1.0, by which scripts know it

    def done(self) -> bool:
        """Whether it has settled, however, or the client was closed first."""
        return self._settled.is_set()

    def result(self) -> TaskResult:
        """Its result, or raise the error that `await task` raises; InvalidStateError while it goes on."""
        if (error := self.exception()) is not None:
            raise error
        if self._result is None:
            raise InvariantBroken("a task settled with neither a result nor an error")
        return self._result

    def exception(self) -> Exception | None:
        """The error that `await task` raises; None where it completed. Raises InvalidStateError while it goes on."""
        if not self.done():
            raise asyncio.InvalidStateError(f"task {self.prompt_id} is {self.state}: await it, or ask once it is done")
        if self._result is None:
            return self._error
        error = ERRORS.get(self._result.state)
        return error(self._result) if error is not None else None

    def cancelled(self) -> bool:
        """Whether it was interrupted, or removed before it ran."""
        return self.done() and self._result is not None and self._result.state is State.CANCELLED

    def peek(self) -> TaskResult | None:
        """Its result however it ended, without raising; None while it goes on."""
        return self._result

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(
        self, callback: Callable[[TaskHandle], object], *, context: contextvars.Context | None = None
    ) -> None:
        """Call this soon after it is done, in the loop; `when_complete` is for what takes the result."""
        context = context or contextvars.copy_context()
        if self.done():
            self._loop.call_soon(callback, self, context=context)
        else:
            self._told.append((callback, context))

    def remove_done_callback(self, callback: Callable[[TaskHandle], object]) -> int:
        """Take every such callback back; returns how many there were."""
        before = len(self._told)
        self._told = [(told, context) for told, context in self._told if told != callback]
        return before - len(self._told)

    async def __aiter__(self) -> AsyncIterator[Update]:
        """Signs of life until it settles; of what the reader was too slow for, the newest of each node.

        An image that is a result is told to each reader, however late that comes.
        """
        mailbox = Mailbox()
        for update, kept in self._images.values():
            mailbox.put(update, kept)
        if self._settled.is_set():
            mailbox.end()
        self._mailboxes.append(mailbox)
        try:
            async for update in mailbox:
                yield update
        finally:
            self._mailboxes.remove(mailbox)

    @property
    def progress(self) -> Progress:
        """How far it is now, as far as its frames tell: the share of the whole, the node that runs, and a guess."""
        now = self.track.now(time.time())
        return now._replace(share=1.0) if self.state is State.COMPLETED else now

    async def queue_position(self) -> int | None:
        """How many prompts run or wait before it at its server, which is asked for that: 0 while it runs itself.

        None where its queue does not show it: it ended, it is a job that waits here, or its server does not answer.
        """
        return await self._registry.position_in_queue(self)

    async def cancel(self) -> bool:
        """Ask the server to drop or interrupt it; False where it had nothing to cancel. Then await it.

        Before 0.3.57 what runs cannot be interrupted without hitting somebody else's, perhaps: it goes on (P31).
        """
        return await self._registry.cancel(self)

    @property
    def outputs(self) -> list[OutputFile]:
        """The files that it produced, to be read or saved; and the images that came over the socket."""
        return list(self._result.outputs) if self._result is not None else []

    @property
    def texts(self) -> list[str]:
        """The texts that its nodes showed; `result.texts` says which node each is of."""
        return [text.text for text in (self._result.texts if self._result is not None else ())]

    async def save_outputs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Wait for its end, and save every file that it produced into a folder, made if there is none.

        Under the names that the server gave, made safe, with a number where one is taken. Who failed may have
        produced some all the same. Raises DownloadFailed or OSError for the first that could not be saved.
        """
        with suppress(TaskError):
            await self
        saved = [one async for one in save_all(self.outputs, (), folder, Names())]
        for one in saved:
            if one.error is not None:
                raise one.error
        return [one.path for one in saved if one.path is not None]

    def report(self, text: str, value: float | None = None, max: float | None = None) -> None:
        """Tell those who follow this task of a stage of the application's own; may be called from any thread."""
        if self._callbacks.recurses():
            return
        update = Update(self.prompt_id, "report", time.time(), value=value, max=max, text=text)
        self._loop.call_soon_threadsafe(self.push, update)

    def when_complete(self, callback: Callable[[TaskHandle], Any]) -> None:
        """Call this, once, when it has settled, before that is written down as delivered; in place of any other.

        A callback that raises Undelivered leaves the result to whoever opens the log next.
        """
        self._callbacks.expect(callback)

    def when_progress(self, callback: Callable[[Update], Any]) -> None:
        """Call this with each sign of life from now on; in place of any other."""
        self._callbacks.follow(callback)

    # for the client alone

    def resume(self, callback: Callable[[TaskHandle], Any]) -> None:
        """Call this with a task that an earlier process left: its result is delivered when that has returned."""
        self._callbacks.resume(callback, self)

    @property
    def listens(self) -> bool:
        return bool(self._mailboxes) or self._callbacks.listens

    def push(self, update: Update, kept: KeptImage | None = None) -> None:
        if kept is not None:
            self._images[update.text] = update, kept
        for mailbox in self._mailboxes:
            mailbox.put(update, kept)
        self._callbacks.put(update, kept)

    def image(self, output: Output) -> KeptImage | None:
        """Where an image is kept that came over the socket; None where it came to another process."""
        found = self._images.get(output.filename)
        return found[1] if found is not None else None

    async def settle(self, result: Result) -> None:
        """Its one delivery in this process."""
        if self._settled.is_set():
            return
        self._result = at_hand(result, self.server, partial(self._registry.fetch, self))
        self.prompt_id = result.prompt_id or self.prompt_id
        self._end()
        await self._callbacks.complete(self)

    def abandon(self, error: Exception) -> None:
        """The client ends before the task does."""
        if not self._settled.is_set():
            self._error = error
            self._end()

    def _end(self) -> None:
        self._settled.set()
        told, self._told = self._told, []
        for callback, context in told:
            self._loop.call_soon(callback, self, context=context)
        for mailbox in self._mailboxes:
            mailbox.end()

    async def close(self) -> None:
        await self._callbacks.close()
