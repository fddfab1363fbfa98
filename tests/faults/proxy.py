"""Proxy in front of one or several ComfyUI, real or fake: its rules decide what goes wrong with a request or a
frame.

A rule is called with an exchange, and with what does the rest: the next rule, at last the server. It may wait, change
what comes back, answer itself, or raise `Cut`, which resets the connection without an answer.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import socket as sockets
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from aiohttp import (
    ClientError,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    DummyCookieJar,
    WSMsgType,
    WSServerHandshakeError,
    web,
)

HOST = "127.0.0.1"
OWN = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "host", "expect"})
"""Headers of one connection, which do not go on."""
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no farewell
NARROW = 64 * 1024  # bytes that the kernel holds for us, so that a slow reader makes a slow link


class Answer(NamedTuple):
    """What goes back to the client; a `part` of the body, and then the connection is cut."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})
    part: float | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Cut(Exception):
    """The connection is reset, without an answer."""


@dataclass
class Exchange:
    """One request, and the way on to its server."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    backend: str
    left: Callable[[], bool]
    """Whether the client hung up."""
    spared: bool = False
    """A rule found nothing in the answer that it could lie about."""

    @property
    def route(self) -> str:
        """The method and the first part of the path."""
        return f"{self.method} /{self.path.removeprefix('/api').partition('?')[0].split('/')[1]}"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Go = Callable[[Exchange], Awaitable[Answer]]
Rule = Callable[[Exchange, Go], Awaitable[Answer]]
Payload = str | bytes
FrameRule = Callable[["Wire", Payload, float], Awaitable[Sequence[Payload]]]


def kind_of(frame: Payload) -> str:
    """The type of a message, or `binary`."""
    return str(json.loads(frame).get("type")) if isinstance(frame, str) else "binary"


def data_of(frame: Payload) -> dict[str, Any]:
    return json.loads(frame).get("data") or {} if isinstance(frame, str) else {}


@dataclass(eq=False)
class Wire:
    """One socket of a client, and its twin at the server."""

    client_id: str
    before: web.WebSocketResponse
    behind: ClientWebSocketResponse
    transport: asyncio.Transport | None
    frozen: bool = False
    arrived: asyncio.Queue[tuple[Payload, float]] = field(default_factory=asyncio.Queue)

    def cut(self) -> None:
        reset(self.transport)


class Proxy:
    """`async with Proxy([server.url]) as proxy:` the client is given `proxy.url`; all is well until rules are set."""

    def __init__(self, backends: Sequence[str], choose: Callable[[int, Exchange | None], int] | None = None) -> None:
        """`choose` names the backend of the nth request, or of a socket, for which it is given no exchange."""
        self.backends = [*backends]
        self.rules: list[Rule] = []
        self.frame_rules: list[FrameRule] = []
        self.refuse_socket: int | None = None  # the status by which a handshake is refused
        self.hang_socket = False  # a handshake is never answered
        self.slow_body: float | None = None  # bytes of a request's body that pass in a second
        self.wires: list[Wire] = []
        self.asked: list[tuple[float, str, str]] = []  # when, route, path
        self.posts = 0  # prompts that were handed on to a server
        self._choose = choose or (lambda _number, _exchange: 0)
        self._numbers = itertools.count()
        self._site: web.TCPSite | None = None
        self._port = 0
        self._working: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._session = ClientSession(
            auto_decompress=False, timeout=ClientTimeout(total=None), cookie_jar=DummyCookieJar()
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        await self.admit()
        return self

    async def __aexit__(self, *_: object) -> None:
        for working in [*self._working]:
            working.cancel()
        await self.refuse()
        await self._runner.cleanup()
        await self._session.close()

    # the way to it

    async def refuse(self) -> None:
        """Nobody listens here: connections are refused, and those that are open end without a farewell."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
        for connection in self._runner.server.connections if self._runner.server else ():
            reset(connection.transport)

    async def admit(self) -> None:
        """Listen, on the same port as before."""
        if self._site is None:
            self._site = web.TCPSite(self._runner, HOST, self._port, backlog=1024)
            await self._site.start()
            self._port = self._runner.addresses[0][1]

    def cut(self) -> None:
        """Break every socket that is open."""
        for wire in [*self.wires]:
            wire.cut()

    def freeze(self) -> None:
        """Every socket that is open is half open from here on: nothing passes either way, nobody is told."""
        for wire in self.wires:
            wire.frozen = True

    # requests

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        working = asyncio.current_task()
        assert working is not None
        self._working.add(working)
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._socket(request)
            return await self._request(request)
        finally:
            self._working.discard(working)

    async def _request(self, request: web.Request) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in OWN}
        exchange = Exchange(
            request.method, request.raw_path, b"", headers, "",
            lambda: request.transport is None or request.transport.is_closing(),
        )  # fmt: skip
        self.asked.append((loop.time(), exchange.route, exchange.path))
        try:
            exchange.body = await self._body(request)
            exchange.backend = self.backends[self._choose(next(self._numbers), exchange)]
            go: Go = self._forward
            for rule in reversed(self.rules):
                go = _then(rule, go)
            answer = await go(exchange)
        except (Cut, ConnectionError):
            reset(request.transport)
            return web.Response()
        if answer.part is not None:
            return await _in_part(request, answer)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def _body(self, request: web.Request) -> bytes:
        """What is sent, no faster than the link is."""
        if self.slow_body is None:
            return await request.read()
        if request.transport is not None:
            request.transport.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, NARROW)
        body = bytearray()
        while chunk := await request.content.read(16 * 1024):
            await asyncio.sleep(len(chunk) / self.slow_body)
            body += chunk
        return bytes(body)

    async def _forward(self, exchange: Exchange) -> Answer:
        sent = io.BytesIO(exchange.body) if exchange.body else None
        try:
            async with self._session.request(
                exchange.method, exchange.backend + exchange.path, headers=exchange.headers, data=sent,
                allow_redirects=False,
            ) as answer:  # fmt: skip
                body = await answer.read()
        except (ClientError, OSError):
            raise Cut from None
        self.posts += exchange.route == "POST /prompt" and answer.status == 200
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in OWN}
        return Answer(answer.status, body, kept)

    def later(self, seconds: float, exchange: Exchange, go: Go) -> None:
        """Hand it on after a while, whatever became of whoever asked."""

        async def forward() -> None:
            await asyncio.sleep(seconds)
            with suppress(Cut):
                await go(exchange)

        self._spawn(forward())

    def _spawn(self, work: Any) -> None:
        working = asyncio.create_task(work)
        self._working.add(working)
        working.add_done_callback(self._working.discard)

    # sockets

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((asyncio.get_running_loop().time(), "GET /ws", request.raw_path))
        if self.hang_socket:
            await asyncio.Event().wait()
        if self.refuse_socket is not None:
            return web.Response(status=self.refuse_socket, text="<h1>No sockets here</h1>", content_type="text/html")
        url = self.backends[self._choose(next(self._numbers), None)] + request.raw_path
        try:
            async with self._session.ws_connect(url, autoping=False, max_msg_size=0) as behind:
                before = web.WebSocketResponse(autoping=False, max_msg_size=0)
                await before.prepare(request)
                client_id = request.query.get("clientId", "")
                wire = Wire(client_id, before, behind, request.transport)
                self.wires.append(wire)
                try:
                    await self._couple(wire)
                finally:
                    self.wires.remove(wire)
                    wire.cut()
            return before
        except WSServerHandshakeError as refusal:
            return web.Response(status=refusal.status)
        except (ClientError, OSError):
            return web.Response(status=502, text="<h1>502 Bad Gateway</h1>", content_type="text/html")

    async def _couple(self, wire: Wire) -> None:
        carrying = [asyncio.create_task(way(wire)) for way in (self._up, self._down, self._tell)]
        try:
            await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in carrying:
                each.cancel()
            await asyncio.gather(*carrying, return_exceptions=True)

    async def _up(self, wire: Wire) -> None:
        """What the client sends."""
        async for message in wire.before:
            if wire.frozen:
                await asyncio.Event().wait()
            match message.type:
                case WSMsgType.TEXT:
                    await wire.behind.send_str(message.data)
                case WSMsgType.PING:
                    await wire.behind.ping(message.data)
                case WSMsgType.PONG:
                    await wire.behind.pong(message.data)

    async def _down(self, wire: Wire) -> None:
        """What the server sends; messages wait in line for the rules, with the time of their arrival."""
        loop = asyncio.get_running_loop()
        async for message in wire.behind:
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    wire.arrived.put_nowait((message.data, loop.time()))
                case WSMsgType.PING if not wire.frozen:
                    await wire.before.ping(message.data)
                case WSMsgType.PONG if not wire.frozen:
                    await wire.before.pong(message.data)

    async def _tell(self, wire: Wire) -> None:
        while True:
            frame, arrived = await wire.arrived.get()
            frames: Sequence[Payload] = [frame]
            for rule in self.frame_rules:
                frames = [each for one in frames for each in await rule(wire, one, arrived)]
            for each in [] if wire.frozen else frames:
                await (wire.before.send_str(each) if isinstance(each, str) else wire.before.send_bytes(each))


def _then(rule: Rule, go: Go) -> Go:
    return lambda exchange: rule(exchange, go)


def reset(transport: Any) -> None:
    if isinstance(transport, asyncio.Transport):
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, RESET)
        transport.abort()


async def _in_part(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Some of a body whose whole length was promised."""
    headers = answer.headers | {"Content-Length": str(len(answer.body))}
    told = web.StreamResponse(status=answer.status, headers=headers)
    await told.prepare(request)
    await told.write(answer.body[: int(len(answer.body) * (answer.part or 0.0))])
    if request.transport is not None:
        request.transport.close()
    return told
