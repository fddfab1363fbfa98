"""The files of a result: read, or saved under a name that is safe. A name from a server never decides a path.

Must know how a file gets onto this disk whole or not at all; must not know how it gets off the server's: for that it
is given a `Fetch`, so that whoever asks the server can write the question down.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import BinaryIO

from comfy_fsm.core.effects import Output
from comfy_fsm.errors import DownloadFailed, UnsafeOutput

Fetch = Callable[[Output], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the stored file; raises DownloadFailed, at once or at any piece of it."""

MAX_NAME = 200
"""Bytes of a file name: fewer than the 255 that file systems take, since a number may be put into it."""
MAX_READ = 256 * 1024 * 1024
"""Bytes that `read` takes into memory unless told otherwise; a longer file is better saved."""
_NUMBERS = range(2, 10_000)
_MODE = 0o600  # for its owner alone, as the log is: what is in a picture is nobody else's business
_FORBIDDEN = frozenset('/\\:*?"<>|')  # of any system, since a folder may be another's
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)


class OutputFile:
    """One file that a task produced, still at its server."""

    def __init__(self, output: Output, server: str, fetch: Fetch) -> None:
        self.output = output
        self.server = server
        self._fetch = fetch

    async def read(self, limit: int = MAX_READ) -> bytes:
        """All of it, in memory; raises DownloadFailed if that is more than `limit` bytes."""
        content = bytearray()
        async with self._fetch(self.output) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > limit:
                    raise DownloadFailed(
                        f"{self.output.filename!r:.200} on {self.server} is longer than {limit} bytes, so it was not "
                        "read; save it, or read it with a higher limit",
                        self.server,
                    )
        return bytes(content)

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Save it under a name of the caller's own; raises FileExistsError rather than overwrite anything."""
        place = _vacant(Path(path))
        return await self._save(place.parent, [place])

    async def save_into(self, folder: str | os.PathLike[str]) -> Path:
        """Save it under the server's name, with a number where that is taken; raises UnsafeOutput if it is no name."""
        name = self.output.filename
        if flaw := _flaw(name):
            raise UnsafeOutput(
                f"{self.server} named a file {name!r:.200}, which {flaw}, so nothing was written; "
                "save it under a name of your own"
            )
        return await self._save(Path(folder), (Path(folder, numbered) for numbered in _numbered(name)))

    async def _save(self, folder: Path, places: Iterable[Path]) -> Path:
        """Onto the disk whole or not at all: it gets its name when its last byte is there."""
        part = folder / f".{secrets.token_hex(8)}.part"
        file = _private(part)
        try:
            with file:
                async with self._fetch(self.output) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_flush, file)
            return _publish(part, places)
        finally:
            _discard(part)


def _flaw(name: str) -> str:
    """What keeps a name from being a plain file name on any system; nothing, where it is one."""
    if not name.strip(". "):
        return "is no name"
    if _FORBIDDEN.intersection(name):
        return "is a path or a pattern"
    if not name.isprintable():
        return "holds characters that do not print"
    if name[0] == "." or name[0] == " " or name[-1] in ". ":
        return "is hidden, or begins or ends in a way that some systems change"
    if _DEVICE.fullmatch(name):
        return "is the name of a device on some systems"
    return "" if len(name.encode()) <= MAX_NAME else "is too long"


def _numbered(name: str) -> Iterator[str]:
    yield name
    stem, dot, suffix = name.rpartition(".")
    for number in _NUMBERS:
        yield f"{stem}-{number}.{suffix}" if dot else f"{name}-{number}"


def _vacant(place: Path) -> Path:
    """The place, if nothing is there yet: found out before the download, and again by `_publish`."""
    if os.path.lexists(place):
        raise FileExistsError(errno.EEXIST, "there already, so nothing was written; choose another name", str(place))
    return place


def _private(part: Path) -> BinaryIO:
    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), _MODE)

    return open(part, "xb", opener=opener)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(part: Path, places: Iterable[Path]) -> Path:
    """Give it the first name that is free; what has the name already, be it a dangling link, keeps it."""
    for place in places:
        with suppress(FileExistsError):
            try:
                os.link(part, place)
            except FileExistsError:
                raise
            except OSError:  # no hard links here: the name is taken first, and then what it stands for
                _private(place).close()
                os.replace(part, place)
            return place
    raise FileExistsError(errno.EEXIST, "taken by now, so nothing was written; choose another name", str(place))


def _discard(part: Path) -> None:
    with suppress(FileNotFoundError):
        part.unlink()
