"""Contract of a store of entries: a SQLite file, memory, or another database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import Protocol

from comfy_fsm.log.chain import LogRow

__all__ = ["Store"]


class Store(Protocol):
    """Append-only sequence of lines with one writer; `tests/support/log_contract.py` is its test suite.

    Positions grow and can be compared; only the store computes with them.
    """

    path: str
    """What error messages call it."""

    @property
    def position(self) -> int:
        """Position of the last committed line; 0 while there is none."""

    async def append(self, *lines: bytes) -> int:
        """Commit all of these lines or none, and return the position of the last.

        Raises LogWriteFailed if the disk or the database refused them, LogUnreachable or LogInDoubt if the database
        went away, LogClosed after `close`, LogError for a line that is too long.
        """

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        """Yield the committed lines after a position, in order."""

    def follow(self, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the committed lines after a position, then each new one; ends when the store is closed."""

    async def close(self) -> None:
        """Commit what was accepted, then close the store; closing it again does nothing."""
