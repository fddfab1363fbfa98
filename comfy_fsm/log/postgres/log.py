"""Append-only log in a database, with the contract of the one in a file: its writer runs in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

from comfy_fsm.errors import LogError, LogWriteFailed
from comfy_fsm.log.append_queue import LIMIT, AppendQueue
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.reader import Reader
from comfy_fsm.log.postgres.writer import PATIENCE, Writer

__all__ = ["PostgresLog"]

_T = TypeVar("_T")
_REST = 0.02
"""Seconds without an append after which followers are told of the last one."""


class PostgresLog(AppendQueue):
    """Log in a database, and its only writer: `async with await PostgresLog.open(address) as log`."""

    def __init__(self, writer: Writer, thread: ThreadPoolExecutor, limit: int) -> None:
        """Create the log; only `open` calls this."""
        self._database = writer
        self._thread = thread
        self._reader = Reader(writer.address, writer.patience)
        super().__init__(str(writer.address), writer.head.position, limit)

    @classmethod
    async def open(cls, address: str, *, limit: int = LIMIT, patience: float = PATIENCE) -> Self:
        """Open the log at `address` for writing, until it is closed; makes it, and its tables, if there is none.

        An append waits `patience` seconds for a database that is away. Raises LogLocked, LogUnreachable, LogReadOnly,
        LogVersionError, NotALog for an address without a log's name, and LogError for whatever else the database
        refuses.
        """
        writer = Writer(Address.of(address), patience)
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"log {writer.address}")
        opening = thread.submit(writer.open)
        try:
            if await _outlast(opening):
                writer.closing = True
                await _outlast(thread.submit(writer.close))
                raise asyncio.CancelledError
            opening.result()
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(writer, thread, limit)

    async def _transact(self, lines: list[bytes]) -> tuple[bool, Exception | None]:
        try:
            await self._run(lambda: self._database.commit(lines))
        except Exception as error:
            return False, error
        self.position = self._database.head.position - len(lines)  # a commit in doubt may have been there after all
        return True, None

    async def _idle(self) -> None:
        """Wait for work, and tell followers of the last commit if none comes."""
        if self._database.untold:
            try:
                async with asyncio.timeout(_REST):
                    return await super()._idle()
            except TimeoutError:
                await self._run(self._database.tell)
        await super()._idle()

    async def _run(self, action: Callable[[], _T]) -> _T:
        """Run it in the thread of the connection, also where the loop is being shut down: that closes us after it."""
        running = self._thread.submit(action)
        if await _outlast(running):
            self._closing = True
        return running.result()

    async def _release(self) -> None:
        try:
            await self._run(self._database.close)
        finally:
            self._thread.shutdown(wait=False)

    def _refusal(self, failure: Exception | None) -> LogError:
        if isinstance(failure, LogError):
            refusal = type(failure)(*failure.args)  # to each caller one of its own
            refusal.__cause__ = failure.__cause__
            return refusal
        refusal = LogWriteFailed(
            f"{self.path}: the commit failed ({failure}), so these lines are not in the log; please report it"
        )
        refusal.__cause__ = failure
        return refusal

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        """Yield the committed rows after a position, each with what is wrong with it; blocks."""
        return self._reader.read(after)

    async def close(self) -> None:
        """Accept no more, write what was accepted, and end the session; may be called repeatedly and concurrently."""
        self._database.closing = True
        await super().close()
        self._reader.close()


async def _outlast(running: Future[Any]) -> bool:
    """Wait for the end of what runs in a thread, and return whether we were cancelled meanwhile."""
    cancelled = False
    waiting = asyncio.wrap_future(running)
    while not waiting.done():
        try:
            await asyncio.wait([waiting])
        except asyncio.CancelledError:
            cancelled = True
    waiting.exception()  # which whoever asks `running` gets
    return cancelled
