"""Copy of a body that passes, bounded, and unpacked for the log: what passes stays packed."""

from __future__ import annotations

import zlib

__all__ = ["MAX_COPY", "Copy"]

MAX_COPY = 64 * 1024 * 1024
"""Bytes of one body that are kept for the log, as it passes and unpacked."""
_AUTO = 47  # window bits: gzip or zlib, as the head says


class Copy:
    """Bytes of one body."""

    def __init__(self, encoding: bytes = b"", most: int = MAX_COPY) -> None:
        self._encoding = encoding.strip().lower()
        self._most = most
        self._parts: list[bytes] = []
        self.size = 0

    def take(self, data: bytes) -> None:
        self.size += len(data)
        if self.size <= self._most:
            self._parts.append(bytes(data))
        else:
            self._parts.clear()

    @property
    def trouble(self) -> str | None:
        """Reason why it cannot be read, by the name that a client of ours gives to that; None if it can."""
        if self.size > self._most:
            return "TooLarge"
        return None if self._encoding in (b"", b"identity", b"gzip", b"deflate") else "Encoded"

    def content(self) -> bytes | None:
        """Return the body, unpacked; None if it cannot be read."""
        if self.trouble is not None:
            return None
        whole = b"".join(self._parts)
        if self._encoding in (b"", b"identity") or not whole:
            return whole
        unpacker = zlib.decompressobj(_AUTO)
        try:
            unpacked = unpacker.decompress(whole, self._most)
        except zlib.error:
            return None
        return unpacked if unpacker.eof else None
