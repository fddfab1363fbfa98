"""Append-only log in a SQLite file: one connection owns it, and each caller waits until its lines are committed.

    append ─► queue ─┐
    append ─► queue ─┴─► one transaction, in the connection's thread ─► to each caller, the position of its last line

A line is bytes, and the log never looks into it. What was acknowledged survives any crash, in the order of its
positions; what was refused is not in the log. `reader.py` reads the file, `writer.py` owns it.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Generator
from contextlib import closing
from typing import NamedTuple, Self

import aiosqlite

from comfy_fsm.errors import LogClosed, LogDamaged, LogError, LogMoved, LogWriteFailed
from comfy_fsm.log.reader import MAX_LINE, LogRow, read
from comfy_fsm.log.writer import Chain

__all__ = ["Log", "weigh"]

_LIMIT = 16 * 1024 * 1024  # bytes that may wait: a second of a slow disk, and little beside an image
_ROW_COST = 128  # what a waiting line takes beside its bytes, so that a million empty ones are bounded too


class _Append(NamedTuple):
    """Lines of one `append` call, and the future that its caller waits for."""

    lines: tuple[bytes, ...]
    weight: int
    committed: asyncio.Future[int]


def weigh(lines: tuple[bytes, ...]) -> int:
    """Return how much of the limit these lines take; raises TypeError or LogError for a line that no log accepts."""
    if strange := set(map(type, lines)) - {bytes}:
        raise TypeError(f"a line of the log is bytes, not {strange.pop().__name__}; nothing was written")
    sizes = [*map(len, lines)]
    if sizes and max(sizes) > MAX_LINE:
        raise LogError(f"a line of {max(sizes)} bytes is longer than a log takes, {MAX_LINE}; nothing was written")
    return sum(sizes) + _ROW_COST * len(sizes)


class Log:
    """Log in a file, and its only writer: `async with await Log.open(path) as log`."""

    def __init__(self, db: aiosqlite.Connection, chain: Chain, limit: int) -> None:
        """Create the log; only `open` calls this."""
        self.path = chain.path
        self.position = chain.position  # of the last line that is committed
        self._db = db
        self._chain = chain
        self._limit = limit
        self._weight = 0  # of all that was accepted and is not yet committed
        self._waiting: deque[_Append] = deque()
        self._closing = False
        self._work = asyncio.Event()
        self._freed = asyncio.Event()
        self._news = asyncio.Event()
        self._door = asyncio.Lock()
        self._writer = asyncio.create_task(self._write(), name=f"log {chain.path}")

    @classmethod
    async def open(cls, path: str | os.PathLike[str], *, limit: int = _LIMIT) -> Self:
        """Open the log at `path` for writing, until it is closed; creates it, readable by its owner alone, if there is
        none.

        If more than `limit` bytes wait for the disk, `append` waits for room first. Raises LogLocked, NotALog,
        LogVersionError or LogDamaged, and LogError for whatever else keeps the file from being written safely.
        """
        chain = Chain(os.path.realpath(path))  # noqa: ASYNC240 (some lstats: one file, one lock)
        db = aiosqlite.connect(chain.path, factory=chain.open)
        try:
            await db
        except asyncio.CancelledError:
            back = threading.Thread(target=chain.outlast, name=f"close {chain.path}")  # which nobody can cancel
            back.start()
            await asyncio.to_thread(back.join)
            raise
        if chain.failure is not None:
            await db.close()
            raise chain.failure
        return cls(db, chain, limit)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def append(self, *lines: bytes) -> int:
        """Write the lines, all or none, and return the position of the last one once they are committed.

        Raises LogWriteFailed if the disk refused: none of them is in the log, and the log remains usable. Raises
        LogMoved if the file is no longer in its place: the log is then unusable. Cancelling a caller that waits for the
        commit withdraws nothing: its lines are written all the same.
        """
        weight = weigh(lines)
        if self._full(weight) or self._door.locked():
            async with self._door:  # first come, first served, else a long line would wait behind short ones for ever
                while self._full(weight):
                    self._freed.clear()
                    await self._freed.wait()
        if self._closing:
            raise LogClosed(f"{self.path} was closed before this append, so nothing was written; open it again")
        if not lines:
            return self.position
        committed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Append(lines, weight, committed))
        self._weight += weight
        self._work.set()
        return await committed

    def _full(self, weight: int) -> bool:
        return self._weight > 0 and self._weight + weight > self._limit and not self._closing

    async def _write(self) -> None:
        """Write what is queued; ends only after everything accepted is written or refused."""
        try:
            while self._waiting or not self._closing:
                if self._waiting:
                    await self._commit()
                    continue
                self._work.clear()
                try:
                    await self._work.wait()
                except asyncio.CancelledError:  # the loop is being shut down, and nobody closed us: that closes us
                    self._closing = True
        finally:
            self._closing = True
            try:
                await self._db.close()
            finally:
                self._freed.set()
                self._news.set()

    async def _commit(self) -> None:
        """Commit everything that is queued, in one transaction."""
        appends = list(self._waiting)
        self._waiting.clear()
        lines = [line for append in appends for line in append.lines]
        done, failure = await self._transact(lines)
        if done:
            self.position = self._chain.position
        position = self.position - len(lines)
        for append in appends:
            self._weight -= append.weight
            position += len(append.lines)
            if append.committed.done():
                continue  # its caller was cancelled
            if done:
                append.committed.set_result(position)
            else:
                append.committed.set_exception(self._refusal(failure))
        self._freed.set()
        self._news.set()

    def _refusal(self, failure: Exception | None) -> LogWriteFailed:
        if isinstance(failure, LogMoved):
            return LogMoved(*failure.args)  # to each caller one of its own
        refusal = LogWriteFailed(
            f"{self.path}: the commit failed ({failure}), so these lines are not in the log; "
            "make room or repair the disk, then append them again"
        )
        refusal.__cause__ = failure
        return refusal

    async def _transact(self, lines: list[bytes]) -> tuple[bool, Exception | None]:
        before = self._chain.commits
        call: Awaitable[object] = self._db.executemany("", lines)
        failure: Exception | None = None
        while True:
            try:
                await call
                break
            except asyncio.CancelledError:
                # The loop is being shut down, and the transaction goes on in its thread. This does nothing but wait its
                # turn behind it; when it is answered, the chain tells how it ended.
                self._closing = True
                call = self._db.commit()
            except Exception as error:
                failure = error
                break
        return self._chain.commits > before, failure

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        """Yield the committed rows after a position, each with what is wrong with it; blocks, as `reader.read` does."""
        return read(self.path, after)

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Yield the lines after a position, then each new one once it is committed, until the log is closed.

        Raises LogDamaged at the first row that differs from what was written.
        """
        while True:
            self._news.clear()
            while after < self.position:
                for record in await asyncio.to_thread(_some, self.path, after):
                    if record.line is None or record.damage is not None:
                        raise LogDamaged(f"{self.path}, position {record.position}: {record.damage}", record.position)
                    yield record.position, record.line
                    after = record.position
            if self._writer.done():
                return
            await self._news.wait()

    async def close(self) -> None:
        """Accept no more, write what was accepted, and close the file; may be called repeatedly and concurrently."""
        self._closing = self._chain.closing = True
        self._work.set()
        self._freed.set()
        if not self._writer.done():
            await asyncio.wait([self._writer])  # if this is cancelled, the writer goes on and closes all the same


def _some(path: str, after: int) -> list[LogRow]:
    """Return the next few rows: no snapshot is held while the caller works on them."""
    records: list[LogRow] = []
    size = 0
    with closing(read(path, after)) as reading:
        for record in reading:
            records.append(record)
            size += len(record.line or b"")
            if len(records) == 500 or size > 1024 * 1024:
                break
    return records or [LogRow(after + 1, None, "it was committed, and is gone")]
