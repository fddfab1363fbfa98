"""Spool of images that came over the socket: some in memory, the others on disk, as long as anybody holds them.

They cannot be fetched again. A file is removed when nobody can read it any more.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from contextlib import suppress

__all__ = ["KeptImage", "Spool"]

_MEMORY = 32 * 1024 * 1024
"""Bytes of all images together that stay in memory."""


class KeptImage:
    """Image that came over the socket; `lost` is the reason if it could not be kept."""

    def __init__(self, content: bytes | None, path: str = "", lost: str = "") -> None:
        self._content = content
        self._path = path
        self.lost = lost

    def read(self) -> bytes:
        """Read the image; raises OSError if it is gone from the disk."""
        if self._content is not None:
            return self._content
        with open(self._path, "rb") as file:
            return file.read()


class Spool:
    """Storage for the images of one client; its folder is created when needed, for its owner alone."""

    def __init__(self, memory: int = _MEMORY) -> None:
        self._room = memory
        self._folder = ""
        self._count = 0

    def keep(self, image: bytes) -> KeptImage:
        """Store an image; never raises: on a full disk the frames go on, and reading this image fails."""
        if len(image) <= self._room:
            self._room -= len(image)
            kept = KeptImage(image)
            weakref.finalize(kept, self._give_back, len(image)).atexit = False
            return kept
        try:
            return self._write(image)
        except OSError as error:
            return KeptImage(b"", lost=f"it could not be kept: {error.strerror or error}")

    def _write(self, image: bytes) -> KeptImage:
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="comfy-fsm-")
            weakref.finalize(self, shutil.rmtree, self._folder, True)
        self._count += 1
        path = os.path.join(self._folder, str(self._count))
        try:
            with open(path, "xb") as file:
                file.write(image)
        except OSError:
            _remove(path)
            raise
        kept = KeptImage(None, path)
        weakref.finalize(kept, self._forget, path)  # which keeps the folder for as long as there is an image in it
        return kept

    def _give_back(self, size: int) -> None:
        self._room += size

    def _forget(self, path: str) -> None:
        _remove(path)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
