"""Capture, as its reader returns it: the lines of a trace, in the order of time, and what the capture cannot tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

__all__ = ["MAX_KEPT", "Capture", "Form", "Pieces"]

Form = Literal["har", "frames", "server-log"]

MAX_KEPT = 512 * 1024 * 1024
"""Bytes of lines that are kept of one capture: they are sorted by time in memory."""


class Capture(NamedTuple):
    """Capture as a trace. `notes` are sentences for the user; `damage` says where the file breaks off."""

    form: Form
    lines: list[bytes]
    notes: list[str]
    damage: str | None = None


class Pieces:
    """Unpacked blocks as a file that is read in pieces. A text among them says how it is damaged, and ends it."""

    def __init__(self, blocks: Iterable[bytes | str]) -> None:
        self._blocks: Iterator[bytes | str] = iter(blocks)
        self._rest = b""
        self._begun = False
        self.damage: str | None = None

    def read(self, size: int = -1) -> bytes:
        if not size:
            return b""
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            if isinstance(block, str):
                self.damage, self._blocks = block, iter(())
                return b""
            self._rest = block if self._begun else block.removeprefix(b"\xef\xbb\xbf")
            self._begun = True
        size = len(self._rest) if size < 0 else size
        part, self._rest = self._rest[:size], self._rest[size:]
        return part
