"""A task as the application holds it: awaited, followed, cancelled, and its files fetched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from typing import Any, NamedTuple, Protocol

from comfy_fsm.core.effects import Output, Result
from comfy_fsm.core.machine import State
from comfy_fsm.errors import TaskCancelled, TaskError, TaskExpired, TaskFailed, TaskLost, TaskRejected
from comfy_fsm.live.arrivals import Answer
from comfy_fsm.live.asks import Ask
from comfy_fsm.live.callbacks import Callbacks
from comfy_fsm.live.inbox import Mailbox
from comfy_fsm.live.outputs import Fetch, Names, OutputFile
from comfy_fsm.live.spool import KeptImage
from comfy_fsm.live.tags import NO_TAG, Tag
from comfy_fsm.live.updates import Update

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


class Attached(NamedTuple):
    """What the application gives with a task: its callbacks, and what it wants to know of it again."""

    on_progress: Callable[[Update], Any] | None = None
    on_complete: Callable[[TaskHandle], Any] | None = None
    tag: Tag = NO_TAG


NOTHING = Attached()


class TaskHandle:
    """`await task` gives its Result, or raises the TaskError that says what became of it."""

    def __init__(
        self,
        prompt_id: str,
        window: str,
        server: str,
        *,
        state: Callable[[TaskHandle], State],
        cancel: Callable[[TaskHandle], Awaitable[bool]],
        fetch: Fetch,
        cut: Callable[[TaskHandle], None],
        attached: Attached = NOTHING,
    ) -> None:
        self.prompt_id = prompt_id
        self.window = window
        self.server = server
        self.result: Result | None = None
        self.tagged = attached.tag  # to be written down beside each POST
        self.spare: list[Callable[[], tuple[str, str, Ask]]] = []  # to post it again, as often as the policy allows
        self.job: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None
        """Of a job, workflow and extra_data, where secrets in them are not in the log."""
        self.draw: Callable[[], tuple[str, str, Ask]] | None = None  # the same workflow anew, under another id
        self.waited = 0.0  # seconds, for a server that refused it for now
        self.posted: asyncio.Future[Answer | None] | None = None  # what its last POST was answered
        self._state = state
        self._cancel = cancel
        self._fetch = fetch
        self._callbacks = Callbacks(attached.on_progress, attached.on_complete, lambda: cut(self))
        self._loop = asyncio.get_running_loop()
        self._settled = asyncio.Event()
        self._error: Exception | None = None
        self._mailboxes: list[Mailbox] = []
        self._images: dict[str, tuple[Update, KeptImage]] = {}  # results that came over the socket, by name

    def __repr__(self) -> str:
        return f"<task {self.prompt_id} at {self.server or 'no server yet'}: {self.state}>"

    @property
    def state(self) -> State:
        """Where it stands now, as far as committed entries say; a job that waits counts as `submitting`."""
        return self.result.state if self.result is not None else self._state(self)

    @property
    def tag(self) -> Any:
        """What was given with it as `submit(tag=…)`, by an earlier process too."""
        return self.tagged.value

    @property
    def waits(self) -> bool:
        """Whether it is a job that no server was given yet."""
        return not self.server and self.result is None

    def __await__(self) -> Generator[Any, None, Result]:
        return self._wait().__await__()

    async def _wait(self) -> Result:
        await self._settled.wait()
        if self._error is not None:
            raise self._error
        assert self.result is not None
        if (error := ERRORS.get(self.result.state)) is not None:
            raise error(self.result)
        return self.result

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

    async def cancel(self) -> bool:
        """Ask the server to drop or interrupt it; False where it had nothing to cancel. Then await it.

        Before 0.3.57 what runs cannot be interrupted without hitting somebody else's, perhaps: it goes on (P31).
        """
        return await self._cancel(self)

    @property
    def outputs(self) -> list[OutputFile]:
        """The files that it produced, to be read or saved; and the images that came over the socket."""
        names = Names()
        told = self.result.outputs if self.result is not None else ()
        return [OutputFile(output, self.server, self._fetch, names) for output in told]

    @property
    def texts(self) -> list[str]:
        """The texts that its nodes showed; `result.texts` says which node each is of."""
        return [text.text for text in (self.result.texts if self.result is not None else ())]

    def report(self, text: str, value: float | None = None, max: float | None = None) -> None:
        """Tell those who follow this task of a stage of the application's own; may be called from any thread."""
        if self._callbacks.recurses():
            return
        update = Update(self.prompt_id, "report", time.time(), value=value, max=max, text=text)
        self._loop.call_soon_threadsafe(self.hear, update)

    def when_complete(self, callback: Callable[[TaskHandle], Any]) -> None:
        """Call this, once, when it has settled, before that is written down as delivered; in place of any other.

        A callback that raises Undelivered leaves the result to whoever opens the log next.
        """
        self._callbacks.expect(callback)

    # for the client alone

    @property
    def listens(self) -> bool:
        return bool(self._mailboxes) or self._callbacks.listens

    def hear(self, update: Update, kept: KeptImage | None = None) -> None:
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
        self.result = result
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
        for mailbox in self._mailboxes:
            mailbox.end()

    async def close(self) -> None:
        await self._callbacks.close()
