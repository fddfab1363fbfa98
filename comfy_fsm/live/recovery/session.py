"""Sessions of a recovery: on the log of a client, on a log file, or as a dry run.

A dry run does the same on a board of its own, with a log that keeps nothing: what it reports is what would happen. The
real log is only read, which works while another process writes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.live.engine.closing import finish
from comfy_fsm.live.engine.exchange import Exchange
from comfy_fsm.live.engine.ingest import Appends, Ingest, refold
from comfy_fsm.live.engine.runner import Runner
from comfy_fsm.live.recovery.prober import Prober
from comfy_fsm.live.recovery.recovery import Recoverer
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.log import opening
from comfy_fsm.log.chain import LogRow

__all__ = ["of_client", "on_log", "run", "servers_of"]

_T = TypeVar("_T")


class _Scratch:
    """Store that keeps nothing; its positions follow the last one of the real log."""

    def __init__(self, position: int) -> None:
        self.position = position

    async def append(self, *lines: bytes) -> int:
        self.position += len(lines)
        return self.position


@asynccontextmanager
async def of_client(runner: Runner, redactor: Redactor, *, act: bool) -> AsyncGenerator[Recoverer]:
    """Open a session on the log and board of a client or, for a dry run, on a copy of what was committed."""
    if act:
        yield Recoverer(
            runner.board, runner.ingest, Prober(runner.exchanges, runner.policy), runner.policy, runner.clock
        )
        return
    servers = [exchange.server for exchange in runner.exchanges.values()]
    board = Board(runner.policy)
    position = await asyncio.to_thread(refold, runner.log.read(), board, runner.log.path)
    async with _at(_Scratch(position), board, servers, redactor, runner.policy) as recoverer:
        yield recoverer


@asynccontextmanager
async def on_log(
    path: str | None, servers: Iterable[Comfy], *, act: bool, policy: Policy = DEFAULT
) -> AsyncGenerator[Recoverer]:
    """Open a session without a client: as the writer of the log to act, otherwise as a reader; None for no log at
    all.
    """
    servers = list(servers)
    redactor = Redactor()
    redactor.keep(secret for server in servers for secret in server.secrets)
    board = Board(policy)
    try:
        if act and path is not None:
            log = await opening.open_log(path)
            try:
                await asyncio.to_thread(refold, log.read(), board, log.path)
                async with _at(log, board, servers, redactor, board.policy) as recoverer:
                    recoverer.abandoned = True
                    yield recoverer
            finally:
                await finish(log.close())
            return
        records: Iterable[LogRow] = opening.read(path) if path is not None else ()
        position = await asyncio.to_thread(refold, records, board, opening.shown(path or ""))
        async with _at(_Scratch(position), board, servers, redactor, board.policy) as recoverer:
            recoverer.abandoned = path is not None and opening.is_written(path) is False
            yield recoverer
    finally:
        await finish(*(server.close() for server in servers))


def run(
    path: str | None,
    servers: Callable[[], list[Comfy]],
    request: Callable[[Recoverer], Awaitable[_T]],
    *,
    act: bool = False,
) -> _T:
    """Run one request of a command, from opening to closing, in a loop of its own."""

    async def asked() -> _T:
        async with on_log(path, servers(), act=act) as recoverer:
            return await request(recoverer)

    return asyncio.run(asked())


def servers_of(path: str) -> list[str]:
    """Return the servers that a log names."""
    board = Board()
    refold(opening.read(path), board, opening.shown(path))
    return board.addresses


@asynccontextmanager
async def _at(
    log: Appends, board: Board, servers: Iterable[Comfy], redactor: Redactor, policy: Policy
) -> AsyncGenerator[Recoverer]:
    """Open a session on this log; effects are dropped, since delivery is left to whoever resumes."""

    def pass_over() -> None:
        board.drain()

    ingest = Ingest(log, board, redactor, lambda *_: None, pass_over)
    exchanges = {server.url: Exchange(server, ingest, board, redactor, policy, time.time) for server in servers}
    try:
        yield Recoverer(board, ingest, Prober(exchanges, policy), policy, time.time)
    finally:
        await finish(ingest.close())
