"""The files of a result: read, or saved under a name that is safe. A name from a server never decides a path.

Must know how a file gets onto this disk whole or not at all; must not know how it gets off the server's: for that it
is given a `Fetch`, so that whoever asks the server can log the question.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from itertools import count
from pathlib import Path, PurePath

from comfy_fsm.core.effects import Output
from comfy_fsm.errors import DownloadFailed, UnsafeOutput

Fetch = Callable[[Output], AbstractAsyncContextManager[AsyncIterator[bytes]]]
"""Opens the stored file; raises DownloadFailed, then or on any piece."""

MAX_NAME = 200
"""Bytes of a file name: less than the 255 of any file system, since a suffix may be put into it."""
MAX_READ = 256 * 1024 * 1024
"""Bytes that `read` holds in memory; what is longer is saved instead."""
_MODE = 0o600  # for its owner alone, as the log is: whoever wants to share a picture knows it
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_FORBIDDEN = frozenset('/\\:*?"<>|')


class OutputFile:
    """One file that a task produced, still at its server."""

    def __init__(self, output: Output, server: str, fetch: Fetch) -> None:
        self.output = output
        self.server = server
        self._fetch = fetch

    async def read(self, limit: int = MAX_READ) -> bytes:
        """All of it; raises DownloadFailed if that is more than `limit` bytes."""
        content = bytearray()
        async with self._fetch(self.output) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > limit:
                    raise DownloadFailed(
                        f"{self.output.filename!r} on {self.server} is longer than {limit} bytes, so it was not read; "
                        "save it, or read it with a higher limit",
                        self.server,
                    )
        return bytes(content)

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Save it under a name of the caller's own; raises FileExistsError rather than overwrite anything."""
        place = Path(path)
        return await self._into(place.parent, lambda: iter([place]))

    async def save_into(self, folder: str | os.PathLike[str]) -> Path:
        """Save it under the server's name, with a number where that is taken; raises UnsafeOutput if it is no name."""
        name = _safe(self.output.filename, self.server)
        return await self._into(Path(folder), lambda: (Path(folder, n) for n in _numbered(name)))
