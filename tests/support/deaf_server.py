"""A server that accepts every socket, sends without end, and reads nothing."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Server:
    """It accepts every socket, then sends the same bytes again and again, and reads nothing."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob
        self.url = ""
        self.sent = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._send(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.transport.abort()  # else the garbage collector finds it open, in the middle of another test

    async def _send(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        keys = [line.split(b":", 1)[1].strip() for line in head.split(b"\r\n") if b"websocket-key" in line.lower()]
        if not keys:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            writer.close()
            await writer.wait_closed()
            return
        accept = base64.b64encode(hashlib.sha1(keys[0] + KEY).digest())
        writer.write(
            b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept + b"\r\n\r\n"
        )  # fmt: skip
        writer.transport.pause_reading()
        while True:
            writer.write(self.blob)
            await writer.drain()
            self.sent += len(self.blob)


@asynccontextmanager
async def serving(blob: bytes) -> AsyncIterator[Server]:
    made = Server(blob)
    server = await asyncio.start_server(made.talk, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
