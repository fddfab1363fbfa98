"""Group commit of a log: a bounded queue of appends, written by one task, each caller waiting for its own lines.

append ─► queue ─┐
append ─► queue ─┴─► one transaction of the store ─► to each caller, the position of its last line
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Generator
from contextlib import closing
from typing import Self

from comfy_fsm.errors import LogClosed, LogDamaged, LogError
from comfy_fsm.log.chain import MAX_LINE, LogRow

__all__ = ["LIMIT", "AppendQueue", "weigh"]

LIMIT = 16 * 1024 * 1024  # bytes that may wait: a second of a slow disk, and little beside an image
_ROW_COST = 128  # what a waiting line takes beside its bytes, so that a million empty ones are bounded too


_Caller = tuple[asyncio.Future[int], int]
"""What a caller of `append` waits for, and where among the waiting lines its last one is: plain, as there are many."""


def weigh(lines: tuple[bytes, ...]) -> int:
    """Return how much of the limit these lines take; raises TypeError or LogError for a line that no log accepts."""
    weight = 0
    for line in lines:
        if type(line) is not bytes:
            raise TypeError(f"a line of the log is bytes, not {type(line).__name__}; nothing was written")
        size = len(line)
        if size > MAX_LINE:
            raise LogError(f"a line of {size} bytes is longer than a log takes, {MAX_LINE}; nothing was written")
        weight += size + _ROW_COST
    return weight


class AppendQueue(ABC):
    """Store whose appends wait for one writer; a subclass says how lines are committed and the store is let go."""

    def __init__(self, path: str, position: int, limit: int) -> None:
        self.path = path
        self.position = position  # of the last line that is committed
        self._limit = limit
        self._weight = 0  # of all that was accepted and is not yet committed
        self._waiting: list[bytes] = []
        self._callers: list[_Caller] = []
        self._outside = 0  # callers that wait for room
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.Event()
        self._freed = asyncio.Event()
        self._news = asyncio.Event()
        self._door = asyncio.Lock()
        self._writer = asyncio.create_task(self._write(), name=f"log {path}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # what a store does by its own means

    @abstractmethod
    async def _transact(self, lines: list[bytes]) -> tuple[bool, Exception | None]:
        """Commit the lines, all or none; returns whether they are in the log, and what went wrong."""

    async def _idle(self) -> None:
        """Wait for work."""
        await self._work.wait()

    @abstractmethod
    async def _release(self) -> None:
        """Let go of the store, once everything accepted is written or refused."""

    @abstractmethod
    def _refusal(self, failure: Exception | None) -> LogError:
        """Return the error for one caller whose lines were refused."""

    @abstractmethod
    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        """Yield the committed rows after a position, each with what is wrong with it; blocks."""

    # what all do alike

    async def append(self, *lines: bytes) -> int:
        """Write the lines, all or none, and return the position of the last one once they are committed.

        Raises LogWriteFailed if the store refused: none of them is in the log, and the log remains usable. Its
        subclasses say where it does not. Cancelling a caller that waits for the commit withdraws nothing: its lines are
        written all the same.
        """
        weight = weigh(lines)
        if self._outside or self._weight + weight > self._limit:
            await self._wait_for_room(weight)
        if self._closing:
            raise LogClosed(f"{self.path} was closed before this append, so nothing was written; open it again")
        if not lines:
            return self.position
        committed: asyncio.Future[int] = self._loop.create_future()
        if not self._waiting:
            self._work.set()
        self._waiting += lines
        self._callers.append((committed, len(self._waiting)))
        self._weight += weight
        return await committed

    async def _wait_for_room(self, weight: int) -> None:
        """Wait in the order of coming, else a long line would wait behind short ones for ever."""
        self._outside += 1
        try:
            async with self._door:
                while self._weight > 0 and self._weight + weight > self._limit and not self._closing:
                    self._freed.clear()
                    await self._freed.wait()
        finally:
            self._outside -= 1

    async def _write(self) -> None:
        """Write what is queued; ends only after everything accepted is written or refused."""
        try:
            while self._waiting or not self._closing:
                if self._waiting:
                    await self._commit()
                    continue
                self._work.clear()
                try:
                    await self._idle()
                except asyncio.CancelledError:  # the loop is being shut down, and nobody closed us: that closes us
                    self._closing = True
        finally:
            self._closing = True
            try:
                await self._release()
            finally:
                self._freed.set()
                self._news.set()

    async def _commit(self) -> None:
        """Commit everything that is queued, in one transaction."""
        lines, callers, weight = self._waiting, self._callers, self._weight
        self._waiting, self._callers = [], []
        done, failure = await self._transact(lines)
        before = self.position
        if done:
            self.position += len(lines)
        self._weight -= weight
        for committed, last in callers:
            if committed.done():
                continue  # its caller was cancelled
            if done:
                committed.set_result(before + last)
            else:
                committed.set_exception(self._refusal(failure))
        self._freed.set()
        self._news.set()

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the lines after a position, then each new one once it is committed, until the log is closed.

        Raises LogDamaged at the first row that differs from what was written.
        """
        while True:
            self._news.clear()
            while after < self.position:
                for record in await asyncio.to_thread(self._some, after):
                    if record.line is None or record.damage is not None:
                        raise LogDamaged(f"{self.path}, position {record.position}: {record.damage}", record.position)
                    yield record.position, record.line
                    after = record.position
            if self._writer.done():
                return
            await self._news.wait()

    def _some(self, after: int) -> list[LogRow]:
        """Return the next few rows: no snapshot is held while the caller works on them."""
        records: list[LogRow] = []
        size = 0
        with closing(self.read(after)) as reading:
            for record in reading:
                records.append(record)
                size += len(record.line or b"")
                if len(records) == 500 or size > 1024 * 1024:
                    break
        return records or [LogRow(after + 1, None, "it was committed, and is gone")]

    async def close(self) -> None:
        """Accept no more, write what was accepted, and close the store; may be called repeatedly and concurrently."""
        self._closing = True
        self._work.set()
        self._freed.set()
        if not self._writer.done():
            await asyncio.wait([self._writer])  # if this is cancelled, the writer goes on and closes all the same
