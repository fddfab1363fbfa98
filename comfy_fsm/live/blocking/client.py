"""Client for programs without an event loop: it runs in a thread of its own, and each call blocks until it is answered.

The thread lives as long as the client is open. Each call ends, by its result or by `ClientClosed`.
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
from comfy_fsm.live.blocking.outputs import BlockingResult
from comfy_fsm.live.blocking.task_handle import BlockingTask, adapted
from comfy_fsm.live.blocking.window import BlockingWindow, Submission
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.companion import Companion

__all__ = ["BlockingClient", "Settings", "Upload"]

_T = TypeVar("_T")
_Companion = TypeVar("_Companion", bound=Companion)


class Upload(TypedDict, total=False):
    """Options of `Client.upload`, besides the file and its name."""

    server: str | None
    subfolder: str
    overwrite: bool


class Settings(TypedDict, total=False):
    """Options of `Client`, besides its servers."""

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
    """Blocking form of `Client`: `with BlockingClient("http://127.0.0.1:8188", log="tasks.log") as client:`.

    Takes the same options. Each coroutine of `Client` is a blocking call here, under the same name. Callbacks are plain
    functions.
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
        """Run a coroutine in the client's loop and wait for it; raises ClientClosed if the loop has ended, or ends
        meanwhile.
        """
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
        """Client in the loop, for what is created there; raises ClientClosed before it is open."""
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
        """Return everything that is known; the client's thread changes it at any time."""
        return self.inner.board

    @property
    def policy(self) -> Policy:
        return self.inner.policy

    @property
    def tasks(self) -> list[BlockingTask]:
        """Tasks that are not delivered yet; right after opening, those that an earlier process left."""
        return [BlockingTask(self, handle) for handle in self._asked(lambda client: client.tasks)]

    def readings(self) -> list[Reading]:
        """Return every metric as it is now."""
        return self._asked(lambda client: client.readings())

    def window(self) -> BlockingWindow:
        """Return a new window, with an id of its own."""
        return BlockingWindow(self, self._asked(lambda client: client.window()))

    def submit(self, workflow: Mapping[str, Any], **options: Unpack[Submission]) -> BlockingTask:
        """Queue a workflow through a window that the client keeps for this."""
        return self._window.submit(workflow, **options)

    def follow(self, prompt_id: str, *, server: str | None = None, tag: Any = None) -> BlockingTask:
        """Follow a prompt of somebody else, through the same window."""
        return self._window.follow(prompt_id, server=server, tag=tag)

    def run(self, workflow: Mapping[str, Any], **options: Unpack[Submission]) -> BlockingResult:
        """Submit a workflow and wait for its end."""
        return self.submit(workflow, **options).result()

    def upload(self, file: str | os.PathLike[str] | bytes, name: str | None = None, **options: Unpack[Upload]) -> str:
        """Upload an input image and return the name to give to a LoadImage node; raises UploadFailed."""
        return self.call(self.inner.upload(file, name, **options))

    def accompany(self, make: Callable[[Client], _Companion]) -> _Companion:
        """Run a companion beside the client, created in its loop: `lambda its: Endpoint(its.readings, 9464)`."""

        client = self.inner

        async def made() -> _Companion:
            companion = make(client)
            client.accompany(companion)
            return companion

        return self.call(made())

    def diagnose(self, prompt_id: str | None = None) -> list[Diagnosis]:
        """Diagnose the tasks whose prompt id starts with this, or all; the most urgent first."""
        return self._asked(lambda client: client.diagnose(prompt_id))

    def recover(self, prompt_id: str | None = None, *, act: bool = False) -> Recovery:
        """Settle tasks on what the servers prove; changes something only if `act`."""
        return self.call(self.inner.recover(prompt_id, act=act))

    def consistency(self, prompt_id: str) -> Consistency:
        """Find out which server has this task, and which should."""
        return self.call(self.inner.consistency(prompt_id))

    def history(self, prompt_id: str, *, attempts: int = 3) -> Fetched:
        """Fetch the record of this prompt until it validates, and report what it lacks."""
        return self.call(self.inner.history(prompt_id, attempts=attempts))

    def scrub(self, text: str) -> str:
        """Return the text without the credentials that this client has or was shown, safe to print or log."""
        return self._asked(lambda client: client.scrub(text))

    def _asked(self, ask: Callable[[Client], _T]) -> _T:
        """Call a function with the client, in its loop, where nothing changes meanwhile."""
        client = self.inner

        async def asked() -> _T:
            return ask(client)

        return self.call(asked())

    def close(self) -> None:
        """Close in order; open tasks go on at their servers, and the next client on the same log takes them up."""
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
        """Run the client from opening to closing; `asyncio.run` then cancels calls that have not ended."""
        async with Client(self._servers, **self._settings) as client:
            self._opened = client, BlockingWindow(self, client.window())
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await asyncio.wrap_future(self._left)
            with self._taking:
                self._loop = None
