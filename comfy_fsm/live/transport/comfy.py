"""Connection to one ComfyUI: HTTP and sockets, raw payloads. The only module that uses httpx.

Knows how to reach a server and how not to overload it; knows nothing of logs, boards or tasks, nor what an answer
means. Everything from the other side is bounded here: sizes, times, redirects, waits.
"""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlencode

import httpx

from comfy_fsm.errors import ClientClosed, ClientError, InvariantBroken
from comfy_fsm.live.transport import connection_errors
from comfy_fsm.live.transport.addresses import address_of, query_of
from comfy_fsm.live.transport.arrivals import Answer, Heard, Stream, Unanswered
from comfy_fsm.live.transport.certificates import trusted
from comfy_fsm.live.transport.cookies import BoundedJar
from comfy_fsm.live.transport.credentials import clean_headers, credentials_in
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.live.transport.retry_after import retry_after
from comfy_fsm.live.transport.streaming import LONG, Reduced, TooMuch, Unreadable, reads
from comfy_fsm.live.transport.timeouts import PIECE, StallTimeout
from comfy_fsm.live.transport.websocket.reconnection import Reconnection

__all__ = ["Comfy"]

with suppress(ImportError):  # httpx loads it with the first request: for 0.1 s in the application's loop
    from anyio._backends import _asyncio

    del _asyncio

_MAX_BODY = 64 * 1024 * 1024  # bytes of an answer; a history entry with its graph is a few hundred thousand
_FRAME_LIMIT = 64 * 1024 * 1024  # bytes of a frame; the library's own limit of 1 MiB kills sockets (F20)
_AGENT = "comfy-fsm"
_BARE = {"user-agent": _AGENT, "accept": "*/*", "accept-encoding": "identity"}
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=8)  # who asks bounds how much at once
_UNSENT = getattr(sockets, "TCP_NOTSENT_LOWAT", None)  # where there is such an option
_SOCKET_OPTIONS = [(sockets.IPPROTO_TCP, _UNSENT, PIECE)] if _UNSENT is not None else []
"""What was handed over is then on its way: the kernel holds back but a piece, or silence would begin too early."""


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
        self._jar = BoundedJar()  # one for both, since a sticky balancer tells its server in a cookie (P33)
        self._pool = self._new_pool()
        self._bare = self._new_pool(ours=False)  # to follow a file to where our credentials are not for
        self._dead: list[httpx.AsyncClient] = []
        self._closed = False
        self._sockets = Reconnection(
            url=self.url, headers=self._headers, query=self._query, token=self._token, jar=self._jar, tls=self._ssl,
            trust_env=trust_env, connect_seconds=connect_seconds, ping_seconds=ping_seconds, damp_seconds=damp_seconds,
            backoff_seconds=backoff_seconds, frame_limit=frame_limit,
        )  # fmt: skip

    def _take_address(self, url: str, headers: Mapping[str, str], socket_query: Mapping[str, str]) -> None:
        """Separate the address from its secrets, and what goes with each request from what goes with each socket."""
        self.url, login = address_of(url)
        given = login | clean_headers(headers)
        self._query = query_of(url) | dict(socket_query)
        self._http_query = urlencode(query_of(url))
        self._token = {"token": given["x-api-key"]} if "x-api-key" in given and "token" not in self._query else {}
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
        self._sockets.close()
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
        return Answer(response.status_code, kept, retry_after(headers.get("retry-after"), date), kind, place, date)

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
            name = connection_errors.reason(error, connecting=isinstance(error, httpx.ConnectError))
            raise Unanswered(name, str(error)) from error

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

    def listen(self, client_id: str) -> AsyncGenerator[Heard, None]:
        """Yield everything that the socket of a window receives; reconnects as long as it is iterated."""
        return self._sockets.listen(client_id)

    def wake(self) -> None:
        """Reconnect now, if a reconnect is waiting."""
        self._sockets.wake()


class _Sending(httpx.AsyncByteStream):
    """Request body that is sent in pieces: no deadline cuts it while it moves."""

    def __init__(self, content: object, stall: StallTimeout) -> None:
        if not isinstance(content, httpx.AsyncByteStream):
            raise InvariantBroken("httpx made no asynchronous body for an asynchronous client")
        self._content = content
        self._stall = stall

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stall.sending(aiter(self._content))
