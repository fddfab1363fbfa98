"""Results and output files for threads without an event loop: each call blocks until it is answered."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import msgspec

from comfy_fsm.core.effects import Output, Result
from comfy_fsm.errors import ClientClosed
from comfy_fsm.live.client.outputs import MAX_READ, OutputFile, TaskResult, output_text

if TYPE_CHECKING:
    from comfy_fsm.live.client.outputs import Picture

__all__ = ["BlockingOutput", "BlockingResult", "Calls"]

_T = TypeVar("_T")


class Calls(Protocol):
    """Runner of coroutines in the client's loop, for a thread that waits."""

    def call(self, work: Coroutine[Any, Any, _T]) -> _T: ...


class BlockingOutput(Output, frozen=True, dict=True, gc=True):
    """Blocking form of `OutputFile`."""

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
        return output_text(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Output) and msgspec.structs.astuple(self) == msgspec.structs.astuple(other)

    def __hash__(self) -> int:
        return hash(Output(*msgspec.structs.astuple(self)))

    @property
    def server(self) -> str:
        return self._here[0].server

    def read(self, limit: int = MAX_READ) -> bytes:
        """Read the whole file into memory; raises DownloadFailed if it has more than `limit` bytes."""
        file, calls = self._here
        return calls.call(file.read(limit))

    def image(self) -> Picture:
        """Return the decoded picture; needs the extra `images` (Pillow). Raises ClientError if it is not a picture."""
        file, calls = self._here
        return calls.call(file.image())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the file under this name; raises FileExistsError rather than overwrite anything."""
        file, calls = self._here
        return calls.call(file.save(path))

    def save_into(self, folder: str | os.PathLike[str]) -> Path:
        """Save the file below a folder, under the server's subfolder and name, both made safe and numbered if taken."""
        file, calls = self._here
        return calls.call(file.save_into(folder))


class BlockingResult(Result, frozen=True, gc=True):
    """Blocking form of `TaskResult`."""

    outputs: tuple[BlockingOutput, ...] = ()

    @classmethod
    def of(cls, result: TaskResult, calls: Calls) -> Self:
        outputs = tuple(BlockingOutput.of(output, calls) for output in result.outputs)
        return cls(**msgspec.structs.asdict(result) | {"outputs": outputs})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and msgspec.structs.astuple(self) == msgspec.structs.astuple(other)

    def __hash__(self) -> int:
        return hash(Result(*msgspec.structs.astuple(self)))
