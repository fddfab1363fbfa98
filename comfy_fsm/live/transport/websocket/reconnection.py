"""Reconnection: a socket that falls is opened again, ever more slowly if it falls at once."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import quote, urlencode

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.http11 import Response

from comfy_fsm.core.policy import backoff
from comfy_fsm.core.wire.refusals import FOR_NOW
from comfy_fsm.errors import InvariantBroken
from comfy_fsm.live.transport import connection_errors
from comfy_fsm.live.transport.arrivals import Heard, Refused, SocketDown, SocketUp
from comfy_fsm.live.transport.cookies import BoundedJar
from comfy_fsm.live.transport.retry_after import retry_after
from comfy_fsm.live.transport.websocket.connection import Connect, Connection

__all__ = ["CLOSING", "Reconnection"]

CLOSING = 0.8
"""Seconds for the closing handshake and again for TCP: then the connection is aborted."""
_HELLO = '{"type":"feature_flags","data":{"supports_preview_metadata":true}}'
"""The first frame of a client: previews then tell their prompt (P7)."""
_OWN_HEADERS = frozenset({"host", "accept", "accept-encoding", "connection"})
"""What a handshake has itself, and a request brings too."""


@dataclass(kw_only=True, eq=False)
class Reconnection:
    """Settings and cookies that all sockets at one server share; `listen` opens that of one window."""

    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    """Sent with each handshake."""
    token: Mapping[str, str]
    """Sent too where a handshake without it was refused: Comfy Cloud takes the key as a header of requests,
    and as `token` of sockets."""
    jar: BoundedJar
    tls: ssl.SSLContext
    trust_env: bool
    connect_seconds: float
    ping_seconds: float
    damp_seconds: float
    backoff_seconds: tuple[float, float]
    frame_limit: int
    _closed: bool = field(default=False, init=False)
    _woken: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def listen(self, client_id: str) -> AsyncGenerator[Heard, None]:
        """Yield everything that the socket of a window receives; reconnects as long as it is iterated.

        What waits comes together: a text as str, a binary frame as bytes, a long one in pieces. After a Refused, going
        on means to wait and try again. Closing or cancelling the iteration closes the socket properly.
        """
        loop = asyncio.get_running_loop()
        conn, delays = 0, self._delays()
        while not self._closed:
            socket = await self._open(client_id)
            if isinstance(socket, Refused):
                yield socket
                await self._pause(max(next(delays), socket.retry_after or 0.0))
                continue
            conn, opened = conn + 1, loop.time()
            ended = SocketDown(1006, "", conn)
            try:
                with suppress(ConnectionClosed):  # receive tells it better, after what was said before
                    await socket.send(_HELLO)
                yield SocketUp(conn)
                receive = socket.receive
                while True:  # no timeout of its own: keepalive ends a dead connection
                    yield await receive()
            except ConnectionClosed as error:
                if (ending := error.rcvd or error.sent) is not None:
                    ended = SocketDown(ending.code, ending.reason, conn)
            except UnicodeDecodeError:
                ended = SocketDown(CloseCode.INVALID_DATA, "a text that is no UTF-8", conn)
                await socket.close(ended.code, ended.reason)
            finally:
                await _end(socket)
            yield ended
            if loop.time() - opened >= self.damp_seconds:  # one that fell again at once is no success (F28)
                delays = self._delays()
            await self._pause(next(delays))

    def wake(self) -> None:
        """Reconnect now, if a reconnect is waiting."""
        self._woken.set()
        self._woken = asyncio.Event()

    def close(self) -> None:
        """Open no socket any more."""
        self._closed = True
        self.wake()

    async def _open(self, client_id: str) -> Connection | Refused:
        socket = await self._handshake(client_id, self.query)
        if isinstance(socket, Refused) and socket.status in (401, 403) and self.token:
            other = await self._handshake(client_id, {**self.query, **self.token})
            if not isinstance(other, Refused):
                self.query, self.token = {**self.query, **self.token}, {}
                return other
        return socket

    async def _handshake(self, client_id: str, query: Mapping[str, str]) -> Connection | Refused:
        """Open one socket with the headers and cookies of HTTP, and store the cookies of the answer (P33)."""
        url = f"{self.url}/ws?{urlencode({'clientId': client_id, **query}, errors='replace', quote_via=quote)}"
        headers = self.jar.with_cookies(url, self.headers)
        connecting = Connect(
            "ws" + url.removeprefix("http"),
            additional_headers={name: value for name, value in headers.items() if name.lower() not in _OWN_HEADERS},
            user_agent_header=None,
            compression=None,
            proxy=True if self.trust_env else None,
            ssl=self.tls if self.url.startswith("https") else None,
            open_timeout=self.connect_seconds,
            ping_interval=self.ping_seconds,
            ping_timeout=3 * self.ping_seconds,  # a server that loads a model answers late, and is not gone (P8)
            close_timeout=CLOSING,
            max_size=self.frame_limit,
            max_queue=None,  # it bounds them itself, by their number and weight
            create_connection=Connection,
        )
        try:
            socket = await connecting
        except (OSError, WebSocketException, EOFError, ValueError) as error:
            if isinstance(error, InvalidStatus):
                self._keep_cookies(url, error.response)
            return _refusal(error, connecting.process_exception(error) is None)
        self._keep_cookies(url, socket.response)
        if not isinstance(socket, Connection):
            raise InvariantBroken("websockets opened another kind of connection than it was told to")
        return socket

    def _keep_cookies(self, url: str, response: Response | None) -> None:
        if response is not None:
            self.jar.keep(url, response.headers.get_all("Set-Cookie"))

    def _delays(self) -> Generator[float]:
        first, most = self.backoff_seconds
        yield first * random.random()  # windows that one outage closed do not come back all at once
        yield from (backoff(first, most, failures) * random.uniform(0.5, 1.0) for failures in count())

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()


async def _end(socket: Connection) -> None:
    """Close the old connection before a new one is opened (P3): by handshake or, if that takes long, by force."""
    try:
        await socket.close()
    finally:
        socket.transport.abort()  # changes nothing where the handshake was completed


def _refusal(error: Exception, passing: bool) -> Refused:
    if not isinstance(error, InvalidStatus):
        name = connection_errors.reason(error, connecting=isinstance(error, OSError))
        passing = passing and name != "SSLCertVerificationError"
        return Refused(0, None, name, passing, detail="" if name == connection_errors.REFUSED else str(error))
    status, headers = error.response.status_code, error.response.headers
    dates = [*headers.get_all("Date"), ""]
    waits = [retry_after(value, dates[0]) for value in headers.get_all("Retry-After")]
    places = headers.get_all("Location")
    place = places[0] if places else ""
    return Refused(status, waits[0] if waits else None, f"HTTP {status}", passing or status in FOR_NOW, place)
