"""Forwarding of one connection: each connection of a client has a twin at its server.

What one side does to its connection, the other sees: an answer that comes in pieces, a body that breaks off, a side
that hangs up. Nothing is asked twice, and no body is held, but the last part of one that is written down: the request
is in the log before the server can act on it, and the answer before the client can.

    client ─ head, body ─► server          the body goes on in a task of its own: a server may answer before its end
    client ◄─ head, body ─ server
    client ◄─ bytes ─► server              once both switched to a socket
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from contextlib import suppress
from typing import NamedTuple

from comfy_fsm.live.proxy.address_rewriting import Addressing, Headers
from comfy_fsm.live.proxy.entries import Entries, Visitor
from comfy_fsm.live.proxy.http_entries import Asked, PassingExchange, begin
from comfy_fsm.live.proxy.peer import (
    Data,
    EndOfMessage,
    Gone,
    InformationalResponse,
    Peer,
    Request,
    Response,
    connect,
)
from comfy_fsm.live.proxy.socket_entries import PassingSocket, client_id_of
from comfy_fsm.live.transport.redirects import shown_location

__all__ = ["Backend", "Forwarding", "Patience"]

_SWITCHED = 101
_Part = Data | EndOfMessage


class Patience(NamedTuple):
    """Seconds to wait for a connection, and for the beginning of an answer: without end if that is None."""

    connect: float
    answer: float | None = None


class Backend:
    """Server, as its clients reach it through us."""

    def __init__(
        self, addressing: Addressing, tls: ssl.SSLContext | None, patience: Patience, entries: Entries
    ) -> None:
        self.addressing = addressing
        self.entries = entries
        self._tls = tls if addressing.is_tls else None
        self.patience = patience
        self._away = ""

    @property
    def url(self) -> str:
        return self.addressing.url

    async def connect(self) -> Peer:
        """Open a connection; raises OSError, and says once that the server is away, and once that it is back."""
        try:
            peer = await connect(self.addressing.host, self.addressing.port, self._tls, self.patience.connect)
        except OSError as error:
            why = _reason(error)
            if why != self._away:
                self._away = why
                self.entries.say(f"{self.url} is away ({why}); clients are answered 502 until it is back")
            raise
        if self._away:
            self._away = ""
            self.entries.say(f"{self.url} is back")
        return peer


def _reason(error: OSError) -> str:
    """Return why nobody answers, in one word: ConnectError means refused, and nothing else (P8)."""
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
        return "ConnectError"
    if isinstance(error, TimeoutError):
        return "ConnectTimeout"
    told = str(error)  # of a name with several addresses, asyncio tells all in a text
    return "ConnectError" if f"[Errno {errno.ECONNREFUSED}]" in told else type(error).__name__


class Forwarding:
    """Connection of a client, until either side hangs up."""

    def __init__(self, client: Peer, backend: Backend) -> None:
        self._client = client
        self._backend = backend
        self._server: Peer | None = None
        self._socket: PassingSocket | None = None
        self._reading: set[asyncio.Task[None]] = set()
        self._ended_by_us = False

    async def run(self) -> None:
        """Pass exchanges on, one after another."""
        try:
            while isinstance(request := await self._client.receive(), Request):
                if not await self._pass_on(request):
                    return
        except Gone as gone:
            if gone.status is not None and self._client.waits_for_request and not self._client.gone:
                with suppress(Gone):
                    await self._say(gone.status, b"", f"this is no request: {gone}")
        finally:
            await self._end()

    def end(self) -> None:
        """Hang up on both sides, since the recording ends."""
        self._ended_by_us = True
        for peer in filter(None, (self._client, self._server)):
            peer.abort()

    async def _end(self) -> None:
        self._client.when_gone(None)
        for peer in filter(None, (self._client, self._server)):
            peer.close()
        if self._socket is not None:
            await self._socket.close(by_us=self._ended_by_us)
        if self._reading:
            await asyncio.wait(self._reading)

    # one exchange

    async def _pass_on(self, request: Request) -> bool:
        """Pass one exchange on; returns whether another may follow."""
        headers = request.headers.raw_items()
        agent = next((value for name, value in request.headers if name == b"user-agent"), b"").decode("latin-1")
        visitor = Visitor(self._client.host, agent)
        asked = Asked(request.method.decode(), request.target.decode("latin-1"), headers)
        passing = begin(self._backend.entries, self._backend.url, visitor, asked)
        server = await self._twin(passing)
        if server is None:
            return False
        is_socket = asked.kind == "socket" and asked.method == "GET"
        target = self._backend.addressing.target(request.target, is_socket)
        if passing is not None and passing.sent is None:
            passing.asks()
        await server.send(
            Request(method=request.method, target=target, headers=self._backend.addressing.asked(headers))
        )
        sending = await self._send_body(server, passing)
        try:
            switched = await self._answer(server, passing, headers)
        except TimeoutError:
            await self._give_up(server, passing)
            return False
        except Gone:
            if passing is not None:
                passing.failed("Cancelled" if self._client.gone else "RemoteProtocolError")
            raise
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])
        if switched is None:
            return server.next_message() and self._client.next_message()
        if is_socket:
            client_id, agreed = client_id_of(request.target), _extensions(switched)
            self._socket = PassingSocket(self._backend.entries, self._backend.url, visitor, client_id, agreed)
        await self._tunnel(server)
        return False

    async def _give_up(self, server: Peer, passing: PassingExchange | None) -> None:
        """Answer in place of a server that is silent."""
        if passing is not None:
            passing.failed("ReadTimeout")
        server.abort()
        silent = f"{self._backend.url} has said nothing for {self._backend.patience.answer or 0.0:g} s"
        await self._say(504, b"Gateway Timeout", silent)

    async def _twin(self, passing: PassingExchange | None) -> Peer | None:
        """Return the connection to the server; None, once the client was told, if nobody answers there."""
        if self._server is not None and not self._server.gone:
            return self._server
        try:
            self._server = await self._backend.connect()
        except OSError as error:
            await self._refuse(passing, _reason(error))
            return None
        self._client.when_gone(self._server.abort)
        return self._server

    async def _refuse(self, passing: PassingExchange | None, why: str) -> None:
        """Answer in place of a server that is away, once the request is read and written down."""
        while isinstance(part := await self._client.receive(), Data):
            if passing is not None and passing.sent is not None:
                passing.sent.take(part.data)
        if passing is not None:
            passing.asks()
            passing.failed(why)
        await self._say(502, b"Bad Gateway", f"{self._backend.url} does not answer ({why}); is ComfyUI running there?")

    async def _say(self, status: int, reason: bytes, why: str) -> None:
        """Answer in place of a server, and hang up."""
        text = f"comfy-fsm record: {why}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Connection", "close")]
        await self._client.send(
            Response(status_code=status, reason=reason, headers=[*headers, ("Content-Length", str(len(text)))]),
            Data(data=text), EndOfMessage(),
        )  # fmt: skip

    # the body of the request

    async def _send_body(self, server: Peer, passing: PassingExchange | None) -> asyncio.Task[None] | None:
        """Send the body; in a task of its own where more of it is to come than is there."""
        part = await self._client.receive()
        if isinstance(part, EndOfMessage):
            if passing is not None:
                passing.asks()
            await server.send(part)
            return None
        if not isinstance(part, Data):
            raise Gone("the client hung up")
        return asyncio.create_task(self._send_parts(server, passing, part), name="body of a request")

    async def _send_parts(self, server: Peer, passing: PassingExchange | None, part: Data) -> None:
        sent, held = 0, list[_Part]()
        copy = passing.sent if passing is not None else None
        try:
            while True:
                sent += len(part.data)
                if copy is None:
                    await server.send(part)
                else:
                    copy.take(part.data)
                    await server.send(*held)
                    held = [part]
                following = await self._client.receive()
                if isinstance(following, Data):
                    part = following
                    continue
                if not isinstance(following, EndOfMessage):
                    raise Gone("the client hung up")
                if passing is not None:
                    passing.asks()
                return await server.send(*held, following)
        except Gone:
            if self._client.gone and not server.gone:
                text = f"a client hung up after {sent:,} bytes of a request, the rest of which never came"
                self._backend.entries.say(f"{self._backend.url}: {text}")
            server.abort()

    # the answer

    async def _answer(self, server: Peer, passing: PassingExchange | None, asked: Headers) -> Headers | None:
        """Pass the answer on; returns the headers of one that switches to a socket."""
        while True:
            async with asyncio.timeout(self._backend.patience.answer):
                head = await server.receive()
            if not isinstance(head, InformationalResponse | Response):
                raise Gone("the server hung up without an answer")
            headers = head.headers.raw_items()
            told = self._backend.addressing.answered(headers, asked)
            if isinstance(head, InformationalResponse):
                await self._client.send(
                    InformationalResponse(status_code=head.status_code, headers=told, reason=head.reason)
                )
                if head.status_code == _SWITCHED:
                    return headers
                continue
            self._look_where_to(headers)
            if passing is not None:
                passing.answers(head.status_code, headers)
            await self._client.send(
                Response(status_code=head.status_code, headers=told, reason=head.reason, http_version=head.http_version)
            )
            await self._answer_body(server, passing)
            return None

    def _look_where_to(self, headers: Headers) -> None:
        place = next((value for name, value in headers if name.lower() == b"location"), b"")
        if self._backend.addressing.leads_away(place):
            to = shown_location(place.partition(b"?")[0].decode("utf-8", "replace"))
            self._backend.entries.say_once(
                f"{self._backend.url} redirects to {to}: clients that follow go past the recording; give that address "
                "as --server, if it is the ComfyUI"
            )

    async def _answer_body(self, server: Peer, passing: PassingExchange | None) -> None:
        copy, held = (passing.answer if passing is not None else None), list[_Part]()
        while True:
            part = await server.receive()
            if isinstance(part, Data):
                if copy is not None and passing is not None:
                    copy.take(part.data)
                    await self._client.send(*held)
                    held = [part] if passing.is_short else []
                    if held:
                        continue
                await self._client.send(part)
                continue
            if not isinstance(part, EndOfMessage):
                raise Gone("the server hung up within an answer")
            if passing is not None:
                self._written(passing)
            return await self._client.send(*held, part)

    def _written(self, passing: PassingExchange) -> None:
        if passing.answer is None or passing.is_short:
            return passing.answered()
        reading = asyncio.create_task(passing.answered_at_length(), name="long answer")
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    # a socket

    async def _tunnel(self, server: Peer) -> None:
        """Pass bytes both ways until either side hangs up, and then what the other still has."""
        self._client.when_gone(None)
        ways = [asyncio.create_task(way(server)) for way in (self._downwards, self._upwards)]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)

    async def _downwards(self, server: Peer) -> None:
        client, socket, data = self._client, self._socket, server.rest()
        with suppress(Gone):
            while data or (data := await server.read()):
                client.write(data)
                if socket is not None and not socket.came(data):
                    await socket.room()
                await client.drain()
                data = b""

    async def _upwards(self, server: Peer) -> None:
        client, socket, data = self._client, self._socket, self._client.rest()
        with suppress(Gone):
            while data or (data := await client.read()):
                server.write(data)
                if socket is not None:
                    socket.went(data)
                await server.drain()
                data = b""
        if socket is not None:
            socket.client_gone()


def _extensions(headers: Headers) -> str:
    told = [value for name, value in headers if name.lower() == b"sec-websocket-extensions"]
    return b", ".join(told).decode("latin-1")
