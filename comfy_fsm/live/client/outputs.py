"""Outputs of a task: read, or saved below a folder under safe names. A name from a server never decides a path.

Knows how a file gets onto this disk whole or not at all, but not how it is fetched from a server: a `Fetch` does that,
and records the request.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from comfy_fsm.core.effects import Output, Result, Text
from comfy_fsm.errors import ClientError, DownloadFailed, MissingExtra
from comfy_fsm.live.saving.atomic_files import Folder, Names, Unfinished, descend
from comfy_fsm.live.saving.safe_names import as_named, safe_folders, safe_name

__all__ = [
    "MAX_READ",
    "Fetch",
    "Names",
    "OutputFile",
    "Picture",
    "Saved",
    "Source",
    "TaskResult",
    "at_hand",
    "output_text",
    "save_all",
]

if TYPE_CHECKING:
    from typing import TypeAlias

    import PIL.Image

    Picture: TypeAlias = PIL.Image.Image

Fetch = Callable[[Output], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the stored file; raises DownloadFailed, at once or at any piece of it."""

MAX_READ = 256 * 1024 * 1024
"""Bytes that `read` takes into memory unless told otherwise; a longer file is better saved."""
_AT_ONCE = 4  # files of one task that are fetched at a time


class Source(NamedTuple):
    """Source of one task's files; `names` are the names taken where it saves them."""

    server: str
    fetch: Fetch
    names: Names


def output_text(output: Output) -> str:
    """Return what stands for a file where it is printed."""
    return f"<output {output.path!r:.300} of node {output.node}: {output.mime_type}>"


class OutputFile(Output, frozen=True, dict=True, gc=True):
    """Output that can be read and saved: a file at its server, or an image that came over the socket."""

    @classmethod
    def at(cls, output: Output, source: Source) -> Self:
        """Return the output together with its source."""
        file = cls(*msgspec.structs.astuple(output))
        file.__dict__["_source"] = source  # beside its fields: a copy in another process has the fields alone
        return file

    def __repr__(self) -> str:
        return output_text(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Output) and msgspec.structs.astuple(self) == msgspec.structs.astuple(other)

    def __hash__(self) -> int:
        return hash(Output(*msgspec.structs.astuple(self)))

    @property
    def source(self) -> Source:
        source = self.__dict__.get("_source")
        if not isinstance(source, Source):
            raise DownloadFailed(
                f"{self.filename!r:.200} left the process that has its client, so it cannot be fetched here; read or "
                "save it there",
                "",
            )
        return source

    @property
    def server(self) -> str:
        return self.source.server

    async def read(self, limit: int = MAX_READ) -> bytes:
        """Read the whole file into memory; raises DownloadFailed if it has more than `limit` bytes."""
        content = bytearray()
        async with self.source.fetch(self) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > limit:
                    raise DownloadFailed(
                        f"{self.filename!r:.200} on {self.server} is longer than {limit} bytes, so it was not "
                        "read; save it, or read it with a higher limit",
                        self.server,
                    )
        return bytes(content)

    async def image(self) -> Picture:
        """Return the decoded picture; needs the extra `images` (Pillow). Raises ClientError if it is not a picture."""
        try:
            from PIL import Image
        except ImportError:
            raise MissingExtra("images", "no picture was opened; read() gives its bytes") from None
        content = await self.read()

        def opened() -> PIL.Image.Image:
            picture = Image.open(io.BytesIO(content))
            picture.load()
            return picture

        try:
            return await asyncio.to_thread(opened)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            why = f"Pillow cannot open {self.filename!r:.200} ({error}), so there is no picture; read() gives its bytes"
            raise ClientError(why) from None

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the file under this name; raises FileExistsError rather than overwrite anything."""
        place = _vacant(Path(path))
        with Folder(place.parent) as folder, Unfinished(folder) as file:
            await self._fill(file)
            return file.publish([place])

    async def save_into(self, folder: str | os.PathLike[str]) -> Path:
        """Save the file below a folder, under the server's subfolder and name, both made safe and numbered if taken."""
        return await self.save_among(self.source.names, Path(folder))

    async def save_among(self, names: Names, root: Path, *, again: bool = False) -> Path:
        """Save the file into a folder that others save into as well."""
        made: list[Path] = []
        try:
            with descend(root, safe_folders(self.subfolder), made) as folder:
                free = names.free(folder, name := safe_name(self.filename))
                places = chain(() if again else [next(free)], free)  # the first that comes has the best name
                with Unfinished(folder) as file:
                    await self._fill(file)
                    there = await asyncio.to_thread(names.earlier, folder, name, file) if again else None
                    return there if there is not None else file.publish(places)
        except BaseException:
            for empty in reversed(made):
                with suppress(OSError):  # others saved into it meanwhile
                    empty.rmdir()
            raise

    async def _fill(self, file: Unfinished) -> None:
        """Write it to the disk whole or not at all: it gets its name when its last byte is there."""
        async with self.source.fetch(self) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(file.file.write, chunk)
        await asyncio.to_thread(file.flush)


class TaskResult(Result, frozen=True, gc=True):
    """Result for the application, whose outputs can be read and saved."""

    outputs: tuple[OutputFile, ...] = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Result) and msgspec.structs.astuple(self) == msgspec.structs.astuple(other)

    def __hash__(self) -> int:
        return hash(Result(*msgspec.structs.astuple(self)))


def at_hand(result: Result, server: str, fetch: Fetch) -> TaskResult:
    """Return the result with outputs that can be read."""
    source = Source(server, fetch, Names())
    outputs = tuple(OutputFile.at(output, source) for output in result.outputs)
    return TaskResult(**msgspec.structs.asdict(result) | {"outputs": outputs})


class Saved(NamedTuple):
    """Result of saving one output: its path and what a user should know about it, or why it was not saved."""

    output: Output | Text
    path: Path | None
    renamed: str = ""
    """How its path differs from what the server named, and why; empty where it does not."""
    error: Exception | None = None


async def save_all(
    files: Sequence[OutputFile],
    texts: Iterable[Text],
    folder: str | os.PathLike[str],
    names: Names,
    *,
    again: bool = False,
) -> AsyncGenerator[Saved, None]:
    """Save the files and texts of one task, and yield each once it is on the disk; several tasks share `names`.

    A file that several nodes name is saved once. A failure does not keep the others from being saved.
    """
    once = {(file.type, file.subfolder, file.filename, file.by_socket): file for file in reversed(files)}
    wanted: deque[OutputFile | Text] = deque([*reversed(once.values()), *texts])
    under_way: deque[asyncio.Task[Saved]] = deque()
    try:
        while wanted or under_way:
            while wanted and len(under_way) < _AT_ONCE:
                under_way.append(asyncio.create_task(_save_one(wanted.popleft(), Path(folder), names, again)))
            yield await under_way.popleft()
    finally:
        for saving in under_way:
            saving.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def _text_file(text: Text) -> OutputFile:
    """Return a long text as a file of its own."""
    output = Output(text.node, text.kind, f"{text.node}_{text.kind or 'text'}.txt")
    return OutputFile.at(output, Source("", _content(text), Names()))


def _content(text: Text) -> Fetch:
    @asynccontextmanager
    async def fetch(_: Output) -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield text.text.encode("utf-8", "replace")

        yield pieces()

    return fetch


async def _save_one(output: OutputFile | Text, folder: Path, names: Names, again: bool) -> Saved:
    file = _text_file(output) if isinstance(output, Text) else output
    try:
        path = await file.save_among(names, folder, again=again)
    except (ClientError, OSError) as error:
        return Saved(output, None, error=error)
    return Saved(output, path, "" if isinstance(output, Text) else _renamed(output, path, folder))


def _renamed(output: Output, path: Path, folder: Path) -> str:
    got, told = path.relative_to(folder).as_posix(), as_named(output.subfolder, output.filename)
    if got == told or output.by_socket:
        return ""
    safe = "/".join((*safe_folders(output.subfolder), safe_name(output.filename)))
    why = "which is not safe on every system" if safe != told else "and that name was taken"
    return f"saved as {got!r:.300}: the server named it {told!r:.300}, {why}"


def _vacant(place: Path) -> Path:
    """Return the path if nothing exists there: checked before the download, and again by `_publish`."""
    if os.path.lexists(place):
        raise FileExistsError(errno.EEXIST, "there already, so nothing was written; choose another name", str(place))
    return place
