"""Load balancer in front of several servers (P33). One of the modules that use aiohttp."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

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

from comfy_fsm.testing.profiles import MAX_BODY

__all__ = ["Balancer"]

_COOKIE = "backend"
_OWN = frozenset({"connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "host"})
"""Headers of one connection, which do not go on."""
_Side = web.WebSocketResponse | ClientWebSocketResponse


class Balancer:
    """Load balancer: `async with Balancer([one.url, two.url]) as balancer:` passes requests and sockets to each server
    in turn.

    With `sticky`, a cookie keeps a client at the server of its first request. A socket is closed after `idle_seconds`
    without a frame in either direction, ping and pong included (F21).
    """

    def __init__(
        self, backends: Sequence[str], *, sticky: bool = False, port: int = 0, idle_seconds: float | None = None
    ) -> None:
        self.backends = [*backends]
        self.served: Counter[str] = Counter()  # requests and handshakes by backend
        self._sticky = sticky
        self._port = port
        self._idle = idle_seconds
        self._turns = itertools.count()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._session = ClientSession(
            auto_decompress=False, timeout=ClientTimeout(total=None), cookie_jar=DummyCookieJar()
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def _choose(self, request: web.Request) -> int:
        kept = request.cookies.get(_COOKIE, "")
        if self._sticky and kept.isdigit() and int(kept) < len(self.backends):
            return int(kept)
        return next(self._turns) % len(self.backends)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        chosen = self._choose(request)
        backend = self.backends[chosen]
        self.served[backend] += 1
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        mark = {"Set-Cookie": f"{_COOKIE}={chosen}; Path=/"} if self._sticky else {}
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._pass_socket(request, backend, mark)
            async with self._session.request(
                request.method, backend + request.raw_path, headers=headers, data=await request.read(),
                allow_redirects=False,
            ) as answer:  # fmt: skip
                told = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
                return web.Response(status=answer.status, headers=told | mark, body=await answer.read())
        except WSServerHandshakeError as refusal:
            return web.Response(status=refusal.status)
        except (ClientError, OSError):
            return web.Response(status=502, text="<h1>502 Bad Gateway</h1>", content_type="text/html")

    async def _pass_socket(self, request: web.Request, backend: str, mark: dict[str, str]) -> web.StreamResponse:
        async with self._session.ws_connect(backend + request.raw_path, autoping=False, max_msg_size=0) as behind:
            before = web.WebSocketResponse(autoping=False, max_msg_size=0)
            before.headers.update(mark)
            await before.prepare(request)
            await self._couple(before, behind)
            if request.transport is not None:
                request.transport.abort()
        return before

    async def _couple(self, before: web.WebSocketResponse, behind: ClientWebSocketResponse) -> None:
        """Pass frames both ways until one side closes, or both are silent for too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._idle) as limit, asyncio.TaskGroup() as both:

                def heard() -> None:
                    if self._idle is not None:
                        limit.reschedule(asyncio.get_running_loop().time() + self._idle)

                ways: list[tuple[_Side, _Side]] = [(before, behind), (behind, before)]
                carrying = [both.create_task(_carry(source, sink, heard)) for source, sink in ways]
                await asyncio.wait(carrying, return_when=asyncio.FIRST_COMPLETED)
                for each in carrying:
                    each.cancel()


async def _carry(source: _Side, sink: _Side, heard: Callable[[], None]) -> None:
    """Pass every frame of one side to the other, and the code with which it closes."""
    with suppress(ConnectionError):
        async for message in source:
            heard()
            match message.type:
                case WSMsgType.TEXT:
                    await sink.send_str(message.data)
                case WSMsgType.BINARY:
                    await sink.send_bytes(message.data)
                case WSMsgType.PING:
                    await sink.ping(message.data)
                case WSMsgType.PONG:
                    await sink.pong(message.data)
        if source.close_code not in (None, 1006):
            await sink.close(code=source.close_code or 1000)
