"""Connection to one ComfyUI: HTTP and sockets, raw payloads. The only module that uses httpx and websockets.

Knows how to reach a server and how not to overload it; knows nothing of logs, boards or tasks, nor what an answer
means. Everything from the other side is bounded here: sizes, times, redirects, waits.
"""

from __future__ import annotations

import asyncio
import errno
import json
import random
import socket as sockets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.http11 import Response

from comfy_fsm.core.policy import backoff
from comfy_fsm.core.wire.refusals import FOR_NOW
from comfy_fsm.errors import ClientClosed, ClientError, InvariantBroken
from comfy_fsm.live.transport.addresses import address_of, query_of
from comfy_fsm.live.transport.arrivals import Answer, Heard, Refused, SocketDown, SocketUp, Stream, Unanswered
from comfy_fsm.live.transport.certificates import trusted
from comfy_fsm.live.transport.cookies import BoundedJar
from comfy_fsm.live.transport.credentials import clean_headers, credentials_in
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.live.transport.streaming import LONG, Reduced, TooMuch, Unreadable, reads
from comfy_fsm.live.transport.timeouts import PIECE, StallTimeout
from comfy_fsm.live.transport.websocket_connection import Connect, Connection

__all__ = ["CLOSING", "PATIENCE", "Comfy"]

with suppress(ImportError):  # httpx loads it with the first request: for 0.1 s in the application's loop
    from anyio._backends import _asyncio

    del _asyncio

_MAX_BODY = 64 * 1024 * 1024  # bytes of an answer; a history entry with its graph is a few hundred thousand
_FRAME_LIMIT = 64 * 1024 * 1024  # bytes of a frame; the library's own limit of 1 MiB kills sockets (F20)
CLOSING = 0.8  # seconds for the closing handshake and again for TCP: then the connection is aborted
PATIENCE = 600.0  # seconds of a Retry-After that we honour: a server that asks for a year gets ten minutes
_AGENT = "comfy-fsm"
_BARE = {"user-agent": _AGENT, "accept": "*/*", "accept-encoding": "identity"}
_HELLO = '{"type":"feature_flags","data":{"supports_preview_metadata":true}}'
"""The first frame of a client: previews then tell their prompt (P7)."""
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=8)  # who asks bounds how much at once
_UNSENT = getattr(sockets, "TCP_NOTSENT_LOWAT", None)  # where there is such an option
_SOCKET_OPTIONS = [(sockets.IPPROTO_TCP, _UNSENT, PIECE)] if _UNSENT is not None else []
"""What was handed over is then on its way: the kernel holds back but a piece, or silence would begin too early."""
_REFUSED = f"[Errno {errno.ECONNREFUSED}]"  # as asyncio tells it of a name with several addresses: in a text alone


def _verifying(tls: ssl.SSLContext) -> ssl.SSLContext:
    if tls.verify_mode is not ssl.CERT_REQUIRED or not tls.check_hostname:
        raise ClientError("this ssl_context verifies nothing; load the server's CA into one that does")
    return tls


class Comfy:
    """Server connection, with a pool that lives until `close`, and a socket as long as `listen` is iterated."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        socket_query: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = False,
        deadline_seconds: float = 30.0,
        connect_seconds: float = 10.0,
        write_seconds: float = 30.0,
        upload_seconds: float | None = None,
        max_body: int = _MAX_BODY,
        frame_limit: int = _FRAME_LIMIT,
        ping_seconds: float = 20.0,
        damp_seconds: float = 10.0,
        backoff_seconds: tuple[float, float] = (0.5, 30.0),
    ) -> None:
        """Prepare a connection; `headers` go with everything, `socket_query` with each handshake, proxies if
        `trust_env`.
        """
        self._ssl = _verifying(ssl_context or trusted())
        self._take_address(url, headers or {}, socket_query or {})
        self._trust_env = trust_env
        self._deadline = deadline_seconds
        self._connect = connect_seconds
        self._write = write_seconds
        self._upload = upload_seconds
        self._max_body = max_body
        self._frame_limit = frame_limit
        self._ping = ping_seconds
        self._damp = damp_seconds
        self._backoff = backoff_seconds
        self._jar = BoundedJar()  # one for both, since a sticky balancer tells its server in a cookie (P33)
        self._pool = self._new_pool()
        self._bare = self._new_pool(ours=False)  # to follow a file to where our credentials are not for
        self._dead: list[httpx.AsyncClient] = []
        self._closed = False
        self._woken = asyncio.Event()

    def _take_address(self, url: str, headers: Mapping[str, str], socket_query: Mapping[str, str]) -> None:
        """Separate the address from its secrets, and what goes with each request from what goes with each socket."""
        self.url, login = address_of(url)
        given = login | clean_headers(headers)
        self._query = query_of(url) | dict(socket_query)
        self._http_query = urlencode(query_of(url))
        self._key = {"token": given["x-api-key"]} if "x-api-key" in given and "token" not in self._query else {}
        # A header may take the place of a login: that is sent no more, and is a secret all the same.
        self.secrets = (*credentials_in(login), *credentials_in(given), *self._query.values())
        # nothing unpacks here, so nothing is a bomb
        self._headers = _BARE | given | {"accept-encoding": "identity"}

    def _new_pool(self, ours: bool = True) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers=self._headers if ours else _BARE,
            cookies=self._jar if ours else CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            verify=self._ssl,
            trust_env=self._trust_env,
            timeout=httpx.Timeout(self._deadline, connect=self._connect, write=self._write),
            limits=_LIMITS,
            follow_redirects=False,
            transport=None
            if self._trust_env
            else httpx.AsyncHTTPTransport(  # ours would go past the proxies
                verify=self._ssl, trust_env=False, limits=_LIMITS, socket_options=_SOCKET_OPTIONS
            ),
        )

    async def close(self) -> None:
        """Close the connections, and stop reconnecting; may be called again."""
        self._closed = True
        self.wake()
        for pool in (self._pool, self._bare, *self._dead):
            with suppress(RuntimeError):  # a pool of another loop, which took its sockets with it
                await pool.aclose()

    # asking

    async def send(self, ask: HttpRequest, *, deadline: float | None = None) -> Answer:
        """Return whatever the server answers, redirects and errors too; raises NoAnswer if none comes in time."""
        if ask.body is None:
            return await self._ask(ask, deadline)
        kind = {"content-type": "application/json"}
        return await self._ask(ask, deadline, content=json.dumps(ask.body), headers=kind)

    async def upload(
        self, ask: HttpRequest, name: str, content: bytes, *, subfolder: str = "", overwrite: bool = False
    ) -> Answer:
        """Put a file into the server's input folder."""
        fields = {"type": "input", "subfolder": subfolder, "overwrite": str(overwrite).lower()}
        return await self._ask(ask, None, data=fields, files={"image": (name, content)})

    @asynccontextmanager
    async def download(self, ask: HttpRequest) -> AsyncIterator[Stream]:
        """Yield an answer of any size as it comes; the caller decides whether to follow a redirect."""
        async with self._open(ask) as response:
            kind, location = (response.headers.get(name, "") for name in ("content-type", "location"))
            yield Stream(response.status_code, kind, response.aiter_raw(), location)

    async def _ask(self, ask: HttpRequest, deadline: float | None, **content: object) -> Answer:
        body = bytearray()
        seconds, sends = self._deadline if deadline is None else deadline, ask.method != "GET"
        stall = StallTimeout(seconds, self._write, self._upload if sends else None)
        try:
            async with stall, self._open(ask, stall if sends else None, **content) as response:
                reduced: Reduced | None = None
                async for chunk in response.aiter_raw():
                    stall.read(0 if sends else len(chunk))
                    if reduced is not None:
                        await reduced.take(chunk)
                        continue
                    body += chunk
                    if len(body) > min(LONG, self._max_body) and response.status_code == 200 and reads(ask.path):
                        reduced = Reduced(ask.path, self._max_body)
                        await reduced.take(bytes(body))
                    elif len(body) > self._max_body:
                        raise Unanswered("TooLarge")
                kept = await asyncio.to_thread(reduced.close) if reduced is not None else bytes(body)
        except TimeoutError:
            raise Unanswered("Deadline") from None
        except TooMuch:
            raise Unanswered("TooLarge") from None
        except Unreadable as error:
            raise Unanswered("Unreadable", str(error)) from None
        headers = response.headers
        date, kind, place = (headers.get(name, "") for name in ("date", "content-type", "location"))
        return Answer(response.status_code, kept, _retry_after(headers.get("retry-after"), date), kind, place, date)

    @asynccontextmanager
    async def _open(
        self, ask: HttpRequest, stall: StallTimeout | None = None, **content: object
    ) -> AsyncIterator[httpx.Response]:
        try:
            response = await self._begin(ask, stall, content)
            try:
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise Unanswered("Encoded")
                yield response
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.CookieConflict) as error:
            raise Unanswered(_name(error), str(error)) from error

    async def _begin(self, ask: HttpRequest, stall: StallTimeout | None, content: dict[str, Any]) -> httpx.Response:
        """Return the answer without its body. A dead pool is replaced; then a GET is sent again, a POST never (P11)."""
        for last in (ask.method != "GET", True):
            if self._closed:
                raise ClientClosed(f"the client of {self.url} was closed, so nothing was sent; open another")
            pool = self._bare if ask.hop is not None and not ask.hop.ours else self._pool
            url = self.url + ask.path if ask.hop is None else ask.hop.url
            try:
                request = pool.build_request(ask.method, url, **content)
                if self._http_query and ask.hop is None:  # not in the URL, which httpx tells its log at INFO
                    target = request.url.raw_path + (b"&" if b"?" in request.url.raw_path else b"?")
                    request.extensions["target"] = target + self._http_query.encode()
                if stall is not None:
                    request.stream = _Sending(request.stream, stall)
                    request.extensions["timeout"] |= {"read": None, "write": None}  # it knows when
                return await pool.send(request, stream=True)
            except RuntimeError as error:  # of a loop that ended, or closed by whoever else
                self._dead.append(pool)  # what others still ask of it goes on
                self._pool = self._new_pool() if pool is self._pool else self._pool
                self._bare = self._new_pool(ours=False) if pool is self._bare else self._bare
                if last:
                    raise Unanswered(type(error).__name__) from error
        raise InvariantBroken("the last attempt at a request neither answered nor failed")

    # listening

    async def listen(self, client_id: str) -> AsyncGenerator[Heard, None]:
        """Yield everything that the socket of a window receives; reconnects as long as it is iterated.

        What waits comes together: a text as str, a binary frame as bytes, a long one in pieces. After a Refused, going
        on means to wait and try again. Closing or cancelling the iteration closes the socket properly.
        """
        loop = asyncio.get_running_loop()
        conn, delays = 0, self._delays()
        while not self._closed:
            socket = await self._shake_hands(client_id)
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
                await self._end(socket)
            yield ended
            if loop.time() - opened >= self._damp:  # one that fell again at once is no success (F28)
                delays = self._delays()
            await self._pause(next(delays))

    def wake(self) -> None:
        """Reconnect now, if a reconnect is waiting."""
        self._woken.set()
        self._woken = asyncio.Event()

    async def _shake_hands(self, client_id: str) -> Connection | Refused:
        """Open one socket. Comfy Cloud takes the key as a header of requests, and as `token` of sockets."""
        socket = await self._handshake(client_id, self._query)
        if isinstance(socket, Refused) and socket.status in (401, 403) and self._key:
            other = await self._handshake(client_id, self._query | self._key)
            if not isinstance(other, Refused):
                self._query, self._key = self._query | self._key, {}
                return other
        return socket

    async def _handshake(self, client_id: str, query: Mapping[str, str]) -> Connection | Refused:
        """Open one socket with the headers and cookies of HTTP, and store the cookies of the answer (P33)."""
        url = f"{self.url}/ws?{urlencode({'clientId': client_id, **query}, errors='replace', quote_via=quote)}"
        request = httpx.Request("GET", url, headers=self._headers)
        cookies = httpx.Cookies(self._jar)
        cookies.set_cookie_header(request)
        headers = [(name, value) for name, value in request.headers.multi_items() if name not in _OF_HANDSHAKE]
        connecting = Connect(
            "ws" + url.removeprefix("http"),
            additional_headers=headers,
            user_agent_header=None,
            compression=None,
            proxy=True if self._trust_env else None,
            ssl=self._ssl if self.url.startswith("https") else None,
            open_timeout=self._connect,
            ping_interval=self._ping,
            ping_timeout=3 * self._ping,  # a server that loads a model answers late, and is not gone (P8)
            close_timeout=CLOSING,
            max_size=self._frame_limit,
            max_queue=None,  # it bounds them itself, by their number and weight
            create_connection=Connection,
        )
        try:
            socket = await connecting
        except (OSError, WebSocketException, EOFError, ValueError) as error:
            if isinstance(error, InvalidStatus):
                self._learn(error.response, request)
            return _refusal(error, connecting.process_exception(error) is None)
        self._learn(socket.response, request)
        if not isinstance(socket, Connection):
            raise InvariantBroken("websockets opened another kind of connection than it was told to")
        return socket

    def _learn(self, response: Response | None, request: httpx.Request) -> None:
        cookies = response.headers.get_all("Set-Cookie") if response is not None else []
        headers = [(b"set-cookie", cookie.encode("utf-8", "replace")) for cookie in cookies]
        httpx.Cookies(self._jar).extract_cookies(httpx.Response(101, headers=headers, request=request))

    async def _end(self, socket: Connection) -> None:
        """Close the old connection before a new one is opened (P3): by handshake or, if that takes long, by force."""
        try:
            await socket.close()
        finally:
            socket.transport.abort()  # changes nothing where the handshake was completed

    def _delays(self) -> Generator[float]:
        yield self._backoff[0] * random.random()  # windows that one outage closed do not come back all at once
        yield from (backoff(*self._backoff, failures) * random.uniform(0.5, 1.0) for failures in count())

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()


class _Sending(httpx.AsyncByteStream):
    """Request body that is sent in pieces: no deadline cuts it while it moves."""

    def __init__(self, content: object, stall: StallTimeout) -> None:
        if not isinstance(content, httpx.AsyncByteStream):
            raise InvariantBroken("httpx made no asynchronous body for an asynchronous client")
        self._content = content
        self._stall = stall

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stall.sending(aiter(self._content))


_OF_HANDSHAKE = frozenset({"host", "accept", "accept-encoding", "connection"})
"""What httpx adds to a request, and a handshake has itself."""


def _retry_after(header: str | None, date: str | None) -> float | None:
    """Return the seconds to wait; a date is compared with that of the answer, not with our clock."""
    told = (header or "").strip()
    if told.isascii() and told.isdigit():
        return min(float(told), PATIENCE)
    try:
        seconds = (parsedate_to_datetime(told) - parsedate_to_datetime(date or "")).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), PATIENCE)


def _refusal(error: Exception, passing: bool) -> Refused:
    if not isinstance(error, InvalidStatus):
        name = _name(error)
        passing = passing and name != "SSLCertVerificationError"
        return Refused(0, None, name, passing, detail="" if name == "ConnectError" else str(error))
    status, headers = error.response.status_code, error.response.headers
    dates = [*headers.get_all("Date"), ""]
    waits = [_retry_after(value, dates[0]) for value in headers.get_all("Retry-After")]
    places = headers.get_all("Location")
    place = places[0] if places else ""
    return Refused(status, waits[0] if waits else None, f"HTTP {status}", passing or status in FOR_NOW, place)


def _name(error: BaseException) -> str:
    """Return in one word why no answer came. ConnectError means refused, nothing else: that is an outage (P8)."""
    causes = [error]
    for cause in causes:
        within = (cause.__cause__, *cause.args, *getattr(cause, "exceptions", ()))  # httpcore puts it into the args
        causes += [inner for inner in within if isinstance(inner, BaseException)]
    if isinstance(error, httpx.ConnectError | OSError):
        if any(isinstance(cause, ConnectionRefusedError) or _REFUSED in str(cause) for cause in causes):
            return "ConnectError"
        return type(causes[-1]).__name__  # no name, no route, no trust: which, says the last
    return type(error).__name__
