"""The same client for programs without an event loop: it runs in a thread of its own, and the calls wait.

The thread lives as long as the client is open. Each call ends: by its answer, or by `ClientClosed`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError, wait
from contextlib import suppress
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

from comfy_fsm.core.explain.diagnosis import Diagnosis
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.catalogue import Reading
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.recovery.verdicts import Consistency, Fetched, Recovery
from comfy_fsm.errors import ClientClosed, ClientError
from comfy_fsm.live.blocking.tasks import BlockingResult, BlockingTask, adapted
from comfy_fsm.live.blocking.windows import BlockingWindow, Submission
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.companion import Companion

__all__ = ["BlockingClient", "Settings", "Upload"]

_T = TypeVar("_T")
_Companion = TypeVar("_Companion", bound=Companion)


class Upload(TypedDict, total=False):
    """What `Client.upload` takes beside the file and its name."""

    server: str | None
    subfolder: str
    overwrite: bool


class Settings(TypedDict, total=False):
    """What `Client` takes beside its servers."""

    log: str | os.PathLike[str] | None
    policy: Policy
    headers: Mapping[str, str] | None
    socket_query: Mapping[str, str] | None
    extra_data: Mapping[str, Any] | None
    ca: str | os.PathLike[str] | None
    ssl_context: ssl.SSLContext | None
    trust_env: bool
    secrets: Sequence[str]
    keep_inputs: bool
    sockets: Literal["prefer", "require"]
    on_resume: Callable[[BlockingTask], Any] | None


class BlockingClient:
    """`with BlockingClient("http://127.0.0.1:8188", log="tasks.log") as client:`; takes what `Client` takes.

    What is a coroutine there is a plain call here, under the same name. Callbacks are plain functions.
    """

    def __init__(self, servers: str | Iterable[str], **settings: Unpack[Settings]) -> None:
        self._servers = servers
        self._settings: Any = dict(settings)
        if self._settings.get("on_resume") is not None:
            self._settings["on_resume"] = adapted(self, self._settings["on_resume"])
        self._thread: threading.Thread | None = None
        self._taking = threading.Lock()  # a call is taken before the loop ends, or not at all: then it cannot hang
        self._loop: asyncio.AbstractEventLoop | None = None  # for as long as calls are taken
        self._ready = threading.Event()  # it is open, or never will be
        self._left: Future[None] = Future()
        self._life: Future[None] = Future()  # of the thread
        self._opened: tuple[Client, BlockingWindow] | None = None

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it in the client's loop, and wait for it here; raises ClientClosed where that has ended, or ends."""
        if threading.current_thread() is self._thread:
            work.close()
            raise ClientError(
                "a coroutine in the client's own loop would wait here for itself, so nothing was done; "
                "give a plain function as callback, which gets a thread of its own"
            )
        with self._taking:
            if self._loop is None:
                work.close()
                raise ClientClosed("the client is not open, so nothing was done; use it within its `with` block")
            called = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return called.result()
        except CancelledError:
            raise ClientClosed("the client was closed meanwhile; what was submitted goes on at its server") from None
        finally:
            called.cancel()  # changes nothing, unless Ctrl-C ended the wait

    def __enter__(self) -> Self:
        with self._taking:
            if self._thread is not None:
                raise ClientError("a client is entered once, and this one was already; make another")
            self._thread = threading.Thread(target=self._live, name="comfy-fsm", daemon=True)
        try:  # all of it, since Ctrl-C may come at any line, and nobody else leaves what was not entered
            self._thread.start()
            self._ready.wait()
            if not self._life.done():
                return self
        except BaseException:
            self.__exit__()
            raise
        self.__exit__()  # which raises what kept it from opening
        return self

    @property
    def inner(self) -> Client:
        """The client in the loop, for what is made there; raises ClientClosed before it is open."""
        if self._opened is None:
            raise ClientClosed("the client is not open, so nothing was done; use it within its `with` block")
        return self._opened[0]

    @property
    def _window(self) -> BlockingWindow:
        if self._opened is None:
            raise ClientClosed("the client is not open, so nothing was done; use it within its `with` block")
        return self._opened[1]

    # what a client is asked for

    @property
    def servers(self) -> list[str]:
        return self._asked(lambda client: client.servers)

    @property
    def board(self) -> Board:
        """All that is known; it changes while it is looked at, by the client's own thread."""
        return self.inner.board

    @property
    def policy(self) -> Policy:
        return self.inner.policy

    @property
    def tasks(self) -> list[BlockingTask]:
        """The tasks that are not delivered yet; right after opening, those that an earlier process left."""
        return [BlockingTask(self, handle) for handle in self._asked(lambda client: client.tasks)]

    def readings(self) -> list[Reading]:
        """Every metric as it is now."""
        return self._asked(lambda client: client.readings())

    def window(self) -> BlockingWindow:
        """A window of its own, with an id of its own."""
        return BlockingWindow(self, self._asked(lambda client: client.window()))

    def submit(self, workflow: Mapping[str, Any], **options: Unpack[Submission]) -> BlockingTask:
        """Queue a workflow by a window that the client keeps for that."""
        return self._window.submit(workflow, **options)

    def follow(self, prompt_id: str, *, server: str | None = None, tag: Any = None) -> BlockingTask:
        """Somebody else's prompt, by the same window."""
        return self._window.follow(prompt_id, server=server, tag=tag)

    def run(self, workflow: Mapping[str, Any], **options: Unpack[Submission]) -> BlockingResult:
        """Submit, and wait for the end."""
        return self.submit(workflow, **options).result()

    def upload(self, file: str | os.PathLike[str] | bytes, name: str | None = None, **options: Unpack[Upload]) -> str:
        """Put an input image on a server, and return what a LoadImage there must be given; raises UploadFailed."""
        return self.call(self.inner.upload(file, name, **options))

    def accompany(self, make: Callable[[Client], _Companion]) -> _Companion:
        """Have something run beside the client, made where that lives: `lambda its: Endpoint(its.readings, 9464)`."""

        client = self.inner

        async def made() -> _Companion:
            companion = make(client)
            client.accompany(companion)
            return companion

        return self.call(made())

    def diagnose(self, prompt_id: str | None = None) -> list[Diagnosis]:
        """What `Client.diagnose` tells."""
        return self._asked(lambda client: client.diagnose(prompt_id))

    def recover(self, prompt_id: str | None = None, *, act: bool = False) -> Recovery:
        """What `Client.recover` tells, and does."""
        return self.call(self.inner.recover(prompt_id, act=act))

    def consistency(self, prompt_id: str) -> Consistency:
        """Which server has this task, and which should."""
        return self.call(self.inner.consistency(prompt_id))

    def history(self, prompt_id: str, *, attempts: int = 3) -> Fetched:
        """The record of this prompt, fetched until it validates, and what it lacks."""
        return self.call(self.inner.history(prompt_id, attempts=attempts))

    def scrub(self, text: str) -> str:
        """The text without the credentials that this client has or was shown: fit to be printed or logged."""
        return self._asked(lambda client: client.scrub(text))

    def _asked(self, ask: Callable[[Client], _T]) -> _T:
        """In the loop, where what it looks at does not change meanwhile."""
        client = self.inner

        async def asked() -> _T:
            return ask(client)

        return self.call(asked())

    def close(self) -> None:
        """End in order; what is open goes on at its server, and is taken up by the next client on the same log."""
        self.__exit__()

    def __exit__(self, *_: object) -> None:
        try:
            self._leave()
            if self._thread is not None and self._thread.ident is not None:  # else Ctrl-C came before it began
                wait([self._life])  # if Ctrl-C ends this, the client is closed all the same
                self._thread.join()  # not at once: of a join that was interrupted Python believes that the thread ended
                self._life.result()
        finally:
            self._leave()

    def _leave(self) -> None:
        with suppress(InvalidStateError):  # it was left already, perhaps by another thread in this moment
            self._left.set_result(None)

    # in the thread

    def _live(self) -> None:
        try:
            self._life.set_result(asyncio.run(self._serve()))
        except BaseException as error:
            self._life.set_exception(error)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        """From opening to closing; `asyncio.run` then cancels the calls that nothing else has ended."""
        async with Client(self._servers, **self._settings) as client:
            self._opened = client, BlockingWindow(self, client.window())
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await asyncio.wrap_future(self._left)
            with self._taking:
                self._loop = None
