"""The same client for programs without an event loop: it runs in a thread of its own, and the calls wait."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from comfy_fsm.core.effects import Result
from comfy_fsm.live.client import Client, Window, Workflow
from comfy_fsm.live.tasks import TaskHandle

_T = TypeVar("_T")


class BlockingTask:
    """A task, from another thread than the client's."""

    def __init__(self, client: BlockingClient, handle: TaskHandle) -> None:
        self._client = client
        self._handle = handle

    @property
    def prompt_id(self) -> str:
        return self._handle.prompt_id

    @property
    def state(self) -> str:
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
        """Every file that it produced, under names that lead nowhere else."""

        async def saved() -> list[Path]:
            return [await output.save_into(folder) for output in self._handle.outputs]

        return self._client.call(saved())


class BlockingClient:
    """`with BlockingClient("http://127.0.0.1:8188", log="tasks.log") as client:`; takes what `Client` takes."""

    def __init__(self, servers: str | list[str], **settings: Any) -> None:
        self._servers = servers
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="comfy-fsm", daemon=True)
        self._client: Client
        self._window: Window

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run it in the client's loop, and wait for it here."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self.call(self._open())
        except BaseException:
            self._stop()
            raise
        return self

    async def _open(self) -> None:
        self._client = await Client(self._servers, **self._settings).__aenter__()
        self._window = self._client.window()

    def submit(self, workflow: Workflow, **options: Any) -> BlockingTask:
        """What `Window.submit` takes and raises."""
        return BlockingTask(self, self.call(self._window.submit(workflow, **options)))

    def run(self, workflow: Workflow, **options: Any) -> Result:
        """Submit, and wait for the end."""
        return self.submit(workflow, **options).result()

    def __exit__(self, *_: object) -> None:
        try:
            self.call(self._client.close())
        finally:
            self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
