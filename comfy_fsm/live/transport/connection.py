"""A WebSocket of ours: it follows no redirect, reads little at a time, and does not answer whoever never reads."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection, connect

READ_SIZE = 16 * 1024
"""Bytes taken off the wire in one turn of the loop: asyncio's 256 KiB of tiny frames take 0.1 s to parse."""
UNREAD_SIZE = 1024 * 1024
"""Bytes of our answers to pings, and of whatever else we sent, that a server may leave unread."""


class Connection(ClientConnection):
    """One connection, whose buffers have a bound in both directions."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if hasattr(transport, "max_size"):  # asyncio's own; where there is none, it reads as it likes
            transport.max_size = READ_SIZE
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > UNREAD_SIZE:
            self.transport.abort()


class Connect(connect):
    """A handshake that follows no redirect: our credentials stay with the server they are for."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
