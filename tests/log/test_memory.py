"""Tests of a log in memory: it keeps the contract of every log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from comfy_fsm.log.memory import MemoryLog
from tests.support.log_contract import LogContract


class TestMemory(LogContract):
    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[MemoryLog]:
        async with MemoryLog() as log:
            yield log
