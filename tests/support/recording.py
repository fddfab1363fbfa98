"""A recording in the test's own loop: in front of servers, into a log, with what it says to the user."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from comfy_fsm.live.proxy.address_rewriting import Addressing
from comfy_fsm.live.proxy.forwarding import Patience
from comfy_fsm.live.proxy.recording import Front, Outside, Recording
from comfy_fsm.log.reader import read

__all__ = ["Recorded", "ending", "recorded_by", "rows", "run", "until"]

T = TypeVar("T")


class Recorded:
    """Where clients find the servers, and what the user was told."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.urls: list[str] = []
        self.said: list[str] = []
        self.recording: Recording

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def lines(self, kind: str = "") -> list[dict[str, Any]]:
        """What is in the log, of this kind or a beginning of it."""
        return [line for line in map(json.loads, rows(self.log)) if line["kind"].startswith(kind)]


PATIENCE = Patience(10.0)


@asynccontextmanager
async def recorded_by(
    log: Path,
    *servers: str,
    headers: dict[str, str] | None = None,
    socket_query: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
    patience: Patience = PATIENCE,
) -> AsyncIterator[Recorded]:
    """Record clients of these servers, each at an address of its own."""
    found = Recorded(log)
    fronts = [
        Front(socket.create_server(("127.0.0.1", 0)), Addressing(url, headers or {}, socket_query or {}))
        for url in servers
    ]
    found.urls = [f"http://127.0.0.1:{front.listening.getsockname()[1]}" for front in fronts]
    found.recording = await Recording.open(str(log), fronts, Outside(tls, patience, found.said.append))
    try:
        yield found
    finally:
        await found.recording.close()


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story that may not hang."""

    async def told() -> T:
        async with asyncio.timeout(60):
            return await story

    return asyncio.run(told())


async def until(found: Callable[[], object]) -> None:
    """Wait for what another task, or another process, brings about."""
    while not found():
        await asyncio.sleep(0.01)


async def ending(socket: ClientConnection) -> AsyncIterator[str | bytes]:
    """All that comes until the socket is closed, whoever closes it and however."""
    with suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


def rows(log: Path) -> list[bytes]:
    """The lines of a log."""
    return [row.line for row in read(str(log)) if row.line is not None]
