"""Log in memory: nothing is written, and nothing outlives the process."""

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Self

from comfy_fsm.errors import LogClosed
from comfy_fsm.log.append_queue import weigh
from comfy_fsm.log.chain import LogRow

__all__ = ["MemoryLog"]


class MemoryLog:
    """Store with the contract of `Log` but without a file, for tests and for what need not survive its process."""

    path = ":memory:"

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._closed = False
        self._news = asyncio.Event()

    @property
    def position(self) -> int:
        return len(self._lines)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def append(self, *lines: bytes) -> int:
        weigh(lines)
        if self._closed:
            raise LogClosed("this log was closed before this append, so nothing was written; make another")
        self._lines += lines
        self._news.set()
        return self.position

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        for position in range(max(after, 0) + 1, self.position + 1):
            yield LogRow(position, self._lines[position - 1], None)

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        while True:
            self._news.clear()
            while after < self.position:
                after += 1
                yield after, self._lines[after - 1]
            if self._closed:
                return
            await self._news.wait()

    async def close(self) -> None:
        self._closed = True
        self._news.set()
