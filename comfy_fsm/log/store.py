"""The contract of a store of entries, whatever keeps them: a SQLite file, memory, or what comes next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Protocol

from comfy_fsm.log.reader import LogRow

__all__ = ["Store"]


class Store(Protocol):
    """An append-only sequence of lines with one writer. `tests/support/log_contract.py` is its test suite.

    A position is comparable and opaque: it grows, and nobody but the store computes with it.
    """

    path: str
    """What error messages call it."""

    @property
    def position(self) -> int:
        """Position of the last committed line; 0 while there is none."""

    async def append(self, *lines: bytes) -> int:
        """Commit all of these lines or none, and return the position of the last.

        Raises LogWriteFailed where the disk refused them, LogClosed after `close`, LogError for a line too long.
        """

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        """Yield the committed lines after a position, in order."""

    def follow(self, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the committed lines after a position, then each new one; ends when the store is closed."""

    async def close(self) -> None:
        """Commit what was accepted, then let the store go. Closing twice does nothing."""
