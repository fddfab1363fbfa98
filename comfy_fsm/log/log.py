"""Append-only log in a SQLite file: one connection owns it, and each caller waits until its lines are committed.

A line is bytes, and the log never looks into it. What was acknowledged survives any crash, in the order of its
positions; what was refused is not in the log. `append_queue.py` queues what is appended, `writer.py` owns the file, and
`reader.py` reads it.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable, Generator
from typing import Self

import aiosqlite

from comfy_fsm.errors import LogMoved, LogWriteFailed
from comfy_fsm.log.append_queue import LIMIT, AppendQueue
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.reader import read
from comfy_fsm.log.writer import Chain

__all__ = ["Log"]


class Log(AppendQueue):
    """Log in a file, and its only writer: `async with await Log.open(path) as log`."""

    def __init__(self, db: aiosqlite.Connection, chain: Chain, limit: int) -> None:
        """Create the log; only `open` calls this."""
        self._db = db
        self._chain = chain
        super().__init__(chain.path, chain.position, limit)

    @classmethod
    async def open(cls, path: str | os.PathLike[str], *, limit: int = LIMIT) -> Self:
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
        if self._chain.commits == before:
            return False, failure
        self.position = self._chain.position - len(lines)  # the file may have had to give up some positions
        return True, failure

    async def _release(self) -> None:
        await self._db.close()

    def _refusal(self, failure: Exception | None) -> LogWriteFailed:
        if isinstance(failure, LogMoved):
            return LogMoved(*failure.args)  # to each caller one of its own
        refusal = LogWriteFailed(
            f"{self.path}: the commit failed ({failure}), so these lines are not in the log; "
            "make room or repair the disk, then append them again"
        )
        refusal.__cause__ = failure
        return refusal

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        """Yield the committed rows after a position, each with what is wrong with it; blocks, as `reader.read` does."""
        return read(self.path, after)

    async def close(self) -> None:
        """Accept no more, write what was accepted, and close the file; may be called repeatedly and concurrently."""
        self._chain.closing = True
        await super().close()
