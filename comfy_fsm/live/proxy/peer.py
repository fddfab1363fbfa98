"""Connection to a client or a server: HTTP by h11, over a transport that says when it is gone. The only door of h11."""

from __future__ import annotations

import asyncio
import socket as sockets
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import h11
from h11 import Data, EndOfMessage, InformationalResponse, RemoteProtocolError, Request, Response

__all__ = [
    "Data",
    "EndOfMessage",
    "Event",
    "Gone",
    "InformationalResponse",
    "Peer",
    "Request",
    "Response",
    "connect",
    "listen",
]

_READ = 64 * 1024
_HEAD = 128 * 1024
"""Bytes of the head of a message: cookies of a gateway are long, and more is no head."""
_BACKLOG = 1024  # connections that wait to be taken: fifty tabs may come at once

Event = Request | InformationalResponse | Response | Data | EndOfMessage


class Gone(Exception):
    """Error of the other side, which hung up or says what is no HTTP: the text says which, the status how to answer."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class _Protocol(asyncio.StreamReaderProtocol):
    """Transport of a stream, which closes when the other side does, as servers of HTTP have it."""

    def __init__(self, met: Callable[[Peer], Awaitable[None]] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.lost = False
        self.on_lost: Callable[[], None] | None = None
        self.reader = asyncio.StreamReader(limit=_READ, loop=loop)
        super().__init__(self.reader, self._meet if met else None, loop=loop)
        self._met = met

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._met is not None:
            await self._met(Peer(writer, self, h11.SERVER))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if connection is not None:  # asyncio does so for the sockets alone that it opened itself
            connection.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)

    def eof_received(self) -> bool:
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()


class Peer:
    """Side of a connection of HTTP/1.1."""

    def __init__(
        self, writer: asyncio.StreamWriter, protocol: _Protocol, role: type[h11.SERVER] | type[h11.CLIENT]
    ) -> None:
        self._reader = protocol.reader
        self._writer = writer
        self._protocol = protocol
        self._http = h11.Connection(role, max_incomplete_event_size=_HEAD)

    @property
    def gone(self) -> bool:
        return self._protocol.lost or self._reader.at_eof()

    @property
    def host(self) -> str:
        """Address of the other side, without its port."""
        name = self._writer.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) and name else ""

    def when_gone(self, call: Callable[[], None] | None) -> None:
        """Call this once the connection is lost."""
        self._protocol.on_lost = call

    # messages

    async def receive(self) -> Event | None:
        """Return the next part of a message, or None once nothing more comes; raises Gone."""
        while True:
            try:
                event = self._http.next_event()
            except RemoteProtocolError as error:
                raise Gone(str(error), error.error_status_hint) from None
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.read())
            elif isinstance(event, Request | InformationalResponse | Response | Data | EndOfMessage):
                return event
            else:  # closed, or paused
                return None

    async def send(self, *events: Event) -> None:
        """Send parts of a message; raises Gone."""
        try:
            self._writer.writelines([self._http.send(event) or b"" for event in events])
            await self._writer.drain()
        except (h11.LocalProtocolError, ConnectionError) as error:
            raise Gone(str(error)) from None

    def next_message(self) -> bool:
        """Prepare for the next exchange; returns whether there can be one."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False

    @property
    def waits_for_request(self) -> bool:
        return self._http.our_state is h11.IDLE

    # bytes, once the protocol was switched

    def rest(self) -> bytes:
        """Return what came after the last message of HTTP."""
        return self._http.trailing_data[0]

    async def read(self) -> bytes:
        """Return some bytes, none at the end; a connection that breaks off has ended."""
        try:
            return await self._reader.read(_READ)
        except (ConnectionError, ssl.SSLError, TimeoutError):
            return b""

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait until the other side has taken some of it; raises Gone."""
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise Gone(str(error)) from None

    def close(self) -> None:
        """Send what was written, and hang up."""
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def closed(self) -> None:
        with suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await self._writer.wait_closed()


async def connect(host: str, port: int, tls: ssl.SSLContext | None, patience: float) -> Peer:
    """Open a connection to a server; raises OSError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(patience):
        transport, protocol = await loop.create_connection(_Protocol, host, port, ssl=tls)
    writer = asyncio.StreamWriter(transport, protocol, protocol.reader, loop)
    return Peer(writer, protocol, h11.CLIENT)


async def listen(bound: sockets.socket, met: Callable[[Peer], Coroutine[Any, Any, None]]) -> asyncio.Server:
    """Take connections of clients at a bound socket; each is handed over."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Protocol(met), sock=bound, backlog=_BACKLOG)
