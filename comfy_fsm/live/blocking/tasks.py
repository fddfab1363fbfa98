"""Tasks, their results and their files, as a thread without a loop holds them: each call waits for its answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import msgspec

from comfy_fsm.core.effects import Output, Result
from comfy_fsm.core.machine import State
from comfy_fsm.core.wire.updates import Update
from comfy_fsm.errors import ClientClosed
from comfy_fsm.live.client.outputs import MAX_READ, OutputFile, TaskResult
from comfy_fsm.live.client.progress import Progress
from comfy_fsm.live.client.task_handle import TaskHandle

if TYPE_CHECKING:
    from comfy_fsm.live.client.outputs import Picture

__all__ = ["BlockingOutput", "BlockingResult", "BlockingTask", "Calls", "adapted"]

_T = TypeVar("_T")
_DONE = Update("", "", 0.0)


class Calls(Protocol):
    """Who runs a coroutine in the client's loop, and waits for it here."""

    def call(self, work: Coroutine[Any, Any, _T]) -> _T: ...


class BlockingOutput(Output, frozen=True, dict=True, gc=True):
    """What `OutputFile` is, in plain calls."""

    @classmethod
    def of(cls, file: OutputFile, calls: Calls) -> Self:
        output = cls(*msgspec.structs.astuple(file))
        output.__dict__.update(_file=file, _calls=calls)
        return output

    @property
    def _here(self) -> tuple[OutputFile, Calls]:
        file, calls = self.__dict__.get("_file"), self.__dict__.get("_calls")
        if file is None or calls is None:  # a copy in another process, which cannot fetch it, and says so
            raise ClientClosed(f"{self.filename!r:.200} left the process that has its client; read or save it there")
        return file, calls

    def __repr__(self) -> str:
        return OutputFile.__repr__(self)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Output) and msgspec.structs.astuple(self) == msgspec.structs.astuple(other)

    def __hash__(self) -> int:
        return hash(Output(*msgspec.structs.astuple(self)))

    @property
    def server(self) -> str:
        return self._here[0].server

    def read(self, limit: int = MAX_READ) -> bytes:
        """All of it, in memory; raises DownloadFailed if that is more than `limit` bytes."""
        file, calls = self._here
        return calls.call(file.read(limit))

    def image(self) -> Picture:
        """The picture, decoded; needs the extra `images` (Pillow). Raises ClientError for what is no picture."""
        file, calls = self._here
        return calls.call(file.image())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save it under a name of the caller's own; raises FileExistsError rather than overwrite anything."""
        file, calls = self._here
        return calls.call(file.save(path))

    def save_into(self, folder: str | os.PathLike[str]) -> Path:
        """Save it below a folder as the server named it, with its subfolder, both made safe; a number where taken."""
        file, calls = self._here
        return calls.call(file.save_into(folder))


class BlockingResult(Result, frozen=True, gc=True):
    """What `TaskResult` is, with outputs that are read and saved in plain calls."""

    outputs: tuple[BlockingOutput, ...] = ()

    @classmethod
    def of(cls, result: TaskResult, calls: Calls) -> Self:
        outputs = tuple(BlockingOutput.of(output, calls) for output in result.outputs)
        return cls(**msgspec.structs.asdict(result) | {"outputs": outputs})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and msgspec.structs.astuple(self) == msgspec.structs.astuple(other)

    def __hash__(self) -> int:
        return hash(Result(*msgspec.structs.astuple(self)))


class BlockingTask:
    """What `TaskHandle` is, from another thread than the client's; `for update in task` tells its progress."""

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
        """How many prompts run or wait before it at its server; None where its queue does not show it."""
        return self._calls.call(self._handle.queue_position())

    def done(self) -> bool:
        return self._handle.done()

    def cancelled(self) -> bool:
        return self._handle.cancelled()

    def wait(self, timeout: float | None = None) -> BlockingResult:
        """What `result` does."""
        return self.result(timeout)

    def result(self, timeout: float | None = None) -> BlockingResult:
        """Wait for the end; raises a TaskError for any but success, and TimeoutError while the task goes on."""

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
        """Wait for the end, and return the error that `result` raises; None where it completed."""
        try:
            self.result(timeout)
        except TimeoutError:
            raise
        except Exception as error:
            return error
        return None

    def peek(self) -> BlockingResult | None:
        """Its result however it ended, without raising or waiting; None while it goes on."""
        result = self._handle.peek()
        return None if result is None else BlockingResult.of(result, self._calls)

    def __iter__(self) -> Iterator[Update]:
        """Signs of life until it settles; of what the reader was too slow for, the newest of each node."""
        updates = aiter(self._handle)

        async def after() -> Update:
            return await anext(updates, _DONE)

        async def leave() -> None:
            await updates.aclose()  # type: ignore[attr-defined]

        try:
            while (update := self._calls.call(after())) is not _DONE:
                yield update
        finally:
            with suppress(ClientClosed):
                self._calls.call(leave())

    def cancel(self) -> bool:
        """Ask the server to drop or interrupt it; False where it had nothing to cancel. Then wait for its result."""
        return self._calls.call(self._handle.cancel())

    @property
    def outputs(self) -> list[BlockingOutput]:
        """The files that it produced, to be read or saved; and the images that came over the socket."""
        return [BlockingOutput.of(output, self._calls) for output in self._handle.outputs]

    @property
    def texts(self) -> list[str]:
        return self._handle.texts

    def save_outputs(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Wait for its end, and save every file that it produced into a folder, made if there is none."""
        return self._calls.call(self._handle.save_outputs(folder))

    def report(self, text: str, value: float | None = None, max: float | None = None) -> None:
        """Tell those who follow this task of a stage of the application's own."""
        self._handle.report(text, value, max)

    def when_complete(self, callback: Callable[[BlockingTask], Any]) -> None:
        """Call this, once, when it has settled, in a thread of its own; in place of any other."""
        self._handle.when_complete(adapted(self._calls, callback))

    def when_progress(self, callback: Callable[[Update], Any]) -> None:
        """Call this with each sign of life from now on, in a thread of its own; in place of any other."""
        self._handle.when_progress(callback)


def adapted(calls: Calls, callback: Callable[[BlockingTask], Any]) -> Callable[[TaskHandle], Any]:
    """The callback, which is given the task as a thread can use it."""
    return partial(_tell, calls, callback)


def _tell(calls: Calls, callback: Callable[[BlockingTask], Any], handle: TaskHandle) -> Any:
    return callback(BlockingTask(calls, handle))
