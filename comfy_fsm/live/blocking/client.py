"""The same client for programs without an event loop: it runs in a thread of its own, and the calls wait.

The thread lives as long as the client is open. Each call ends: by its answer, or by `ClientClosed`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Any, Self, TypeVar

from comfy_fsm.core.effects import Result
from comfy_fsm.core.explain.diagnosis import Diagnosis
from comfy_fsm.core.machine import State
from comfy_fsm.core.recovery.verdicts import Consistency, Fetched, Recovery
from comfy_fsm.errors import ClientClosed, ClientError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.companion import Companion
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.live.client.window import Window

_T = TypeVar("_T")
_Companion = TypeVar("_Companion", bound=Companion)


class BlockingTask:
    """A task, from another thread than the client's."""

    def __init__(self, client: BlockingClient, handle: TaskHandle) -> None:
        self._client = client
        self._handle = handle

    @property
    def prompt_id(self) -> str:
        return self._handle.prompt_id

    @property
    def state(self) -> State:
        return self._handle.state

    def result(self, timeout: float | None = None) -> Result:
        """Wait for the end; raises a TaskError for any but success, and TimeoutError while the task goes on."""

        async def settled() -> Result:
            async with asyncio.timeout(timeout):
                return await self._handle

        return self._client.call(settled())

    def cancel(self) -> bool:
        return self._client.call(self._handle.cancel())

    def save_outputs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Every file that it produced, when it has ended, under names that lead nowhere else."""

        return self._client.call(self._handle.save_outputs(folder))


class BlockingClient:
    """`with BlockingClient("http://127.0.0.1:8188", log="tasks.log") as client:`; takes what `Client` takes."""

    def __init__(self, servers: str | list[str], **settings: Any) -> None:
        self._servers = servers
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._taking = threading.Lock()  # a call is taken before the loop ends, or not at all: then it cannot hang
        self._loop: asyncio.AbstractEventLoop | None = None  # for as long as calls are taken
        self._ready = threading.Event()  # it is open, or never will be
        self._left: Future[None] = Future()
        self._life: Future[None] = Future()  # of the thread
        self._client: Client
        self._window: Window

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
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:
            self.__exit__()
            raise
        if self._life.done():
            self.__exit__()  # which raises what kept it from opening
        return self

    def submit(self, workflow: Mapping[str, Any], **options: Any) -> BlockingTask:
        """What `Window.submit` takes and raises."""

        async def submitted() -> TaskHandle:
            return await self._window.submit(workflow, **options)

        return BlockingTask(self, self.call(submitted()))

    def run(self, workflow: Mapping[str, Any], **options: Any) -> Result:
        """Submit, and wait for the end."""
        return self.submit(workflow, **options).result()

    def accompany(self, make: Callable[[Client], _Companion]) -> _Companion:
        """Have something run beside the client, made where that lives: `lambda its: Endpoint(its.readings, 9464)`."""

        async def made() -> _Companion:
            companion = make(self._client)
            self._client.accompany(companion)
            return companion

        return self.call(made())

    def diagnose(self, prompt_id: str | None = None) -> list[Diagnosis]:
        """What `Client.diagnose` tells."""

        async def diagnosed() -> list[Diagnosis]:
            return self._client.diagnose(prompt_id)

        return self.call(diagnosed())

    def recover(self, prompt_id: str | None = None, *, act: bool = False) -> Recovery:
        """What `Client.recover` tells, and does."""
        return self._asked(lambda client: client.recover(prompt_id, act=act))

    def consistency(self, prompt_id: str) -> Consistency:
        return self._asked(lambda client: client.consistency(prompt_id))

    def history(self, prompt_id: str, *, attempts: int = 3) -> Fetched:
        return self._asked(lambda client: client.history(prompt_id, attempts=attempts))

    def _asked(self, ask: Callable[[Client], Coroutine[Any, Any, _T]]) -> _T:
        async def asked() -> _T:
            return await ask(self._client)

        return self.call(asked())

    def __exit__(self, *_: object) -> None:
        if not self._left.done():
            self._left.set_result(None)
        if self._thread is not None:
            wait([self._life])  # if Ctrl-C ends this, the client is closed all the same
            self._thread.join()  # not at once: of a join that was interrupted Python believes that the thread ended
            self._life.result()

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
            self._client, self._window = client, client.window()
            self._loop = asyncio.get_running_loop()
            self._ready.set()
            await asyncio.wrap_future(self._left)
            with self._taking:
                self._loop = None
