"""Web page of `serve`: one page, fed by server-sent events, of a log that is only read.

Other pages in the same browser can send requests to this address, too. So nothing is answered under a foreign host name
(DNS rebinding) or to a foreign page, nothing can be changed, and the page may load nothing but its own three files. A
slow or absent reader delays nothing: each is sent what changed since what it last took.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from aiohttp import web
from aiohttp.http import HttpProcessingError
from msgspec import Raw

from comfy_fsm.core.findings import CODES
from comfy_fsm.display import harmless
from comfy_fsm.errors import InvariantBroken
from comfy_fsm.exits import BY_SIGNAL
from comfy_fsm.watch.follower import Follower
from comfy_fsm.watch.snapshot import QUIET, Scene

__all__ = ["CONNECTIONS", "LONGEST", "PACE", "READERS", "SHARE", "is_loopback", "listen", "message", "serve"]

PACE = 0.25
"""Seconds between two looks at the log: soon enough for an eye, and calm."""
SHARE = 10
"""A look that was dear is not repeated before this many times as long: of the time, looking takes no more."""
READERS = 16
"""Readers at once; a browser opens six at most to one address. One more takes the place of the oldest, whose page comes
back by itself: nobody is kept out by readers who are idle."""
CONNECTIONS = 64
"""Connections at once; one more takes the place of the oldest."""
_HEAD_PATIENCE = 10.0
"""Seconds in which a new connection must have sent its first request."""
_BEAT = 5.0
"""Seconds after which a reader is told that nothing is new."""
_PATIENCE = 30.0
"""Seconds that a reader may take nothing before it is let go."""
LONGEST = 240
_DIGITS = 12

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Server": "comfy-fsm",
}
_encode = msgspec.json.Encoder().encode
_logger = logging.getLogger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Rows = dict[int, Raw]
_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


def listen(host: str, port: int) -> socket.socket:
    """Return the socket to serve on; raises OSError if the port is taken, or the host is not this machine."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family)


def is_loopback(listening: socket.socket) -> bool:
    """Return whether only this machine can reach the socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def serve(follower: Follower, listening: socket.socket, host: str) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status."""
    return asyncio.run(_Page(follower, _names_of(listening, host)).run(listening))


def _names_of(listening: socket.socket, host: str) -> Callable[[str], bool]:
    """Return a check for names in a Host header. DNS rebinding needs a name: an address in digits cannot be rebound."""
    local = is_loopback(listening)

    def ours(header: str) -> bool:
        name = header.lower()
        name = name[1 : name.find("]")] if name.startswith("[") else name.partition(":")[0]
        try:
            number = ipaddress.ip_address(name)
        except ValueError:
            return name in (host.lower(), "localhost")
        return number.is_loopback or not local

    return ours


class _Frame(NamedTuple):
    """Scene as it is sent: each row by its number, encoded once for all readers."""

    beginnings: int
    position: int
    head: dict[str, object]
    tables: dict[str, _Rows]


def _frame_of(scene: Scene, beginnings: int) -> _Frame:
    """Encode a scene; everything from a log is made harmless here, and the page inserts texts as texts."""
    view = scene.view
    head: dict[str, object] = {
        "log": harmless(scene.name, LONGEST),
        "trouble": None if scene.trouble is None else harmless(scene.trouble, LONGEST),
        "behind": scene.behind,
        "written": scene.written,
        "position": view.position,
        "observations": view.observations,
        "at": view.at,
        "rate": view.rate,
        "rates": view.rates,
        "states": view.states,
        "severities": view.severities,
        "codes": view.codes,
        "servers": view.all_servers,
        "windows": view.all_windows,
        "tasks": view.all_open + view.settled,
        "findings": sum(view.codes.values()) + view.unkept,
        "waiting": view.waiting,
        "waiting_since": view.waiting_since,
        "alerts": [_row(alert) for alert in view.alerts],
    }
    tables: dict[str, _Rows] = {
        "servers": dict(enumerate(map(_row, view.servers))),
        "windows": dict(enumerate(map(_row, view.windows))),
        "tasks": {task.number: _row(task) for task in view.tasks},
        "findings": {finding.number: _row(finding) for finding in view.findings},
    }
    return _Frame(beginnings, view.position, head, tables)


def _row(row: msgspec.Struct) -> Raw:
    fields = msgspec.structs.asdict(row).items()
    return Raw(_encode({name: harmless(value, LONGEST) if isinstance(value, str) else value for name, value in fields}))


def message(frame: _Frame, sent: _Frame | None, now: float) -> bytes:
    """Return what to send to a reader that last got `sent`: everything, or what changed."""
    told: dict[str, object] = {"now": now, "quiet": QUIET, "head": frame.head}
    if sent is None or sent.beginnings != frame.beginnings:
        kind = "view"
        told["codes"] = {row.code: (row.severity, row.meaning, row.advice) for row in CODES.values()}
        told["tables"] = {name: _change(rows, {}) for name, rows in frame.tables.items()}
    else:
        kind = "change"
        told["tables"] = {
            name: _change(rows, sent.tables[name]) for name, rows in frame.tables.items() if rows != sent.tables[name]
        }
    return b"id: %d-%d\nevent: %b\ndata: %b\n\n" % (
        frame.beginnings, frame.position, kind.encode(), _encode(told),
    )  # fmt: skip


def _change(rows: _Rows, before: _Rows) -> dict[str, object]:
    return {"order": list(rows), "rows": {number: row for number, row in rows.items() if before.get(number) != row}}


class _Faults(logging.Filter):
    """Lets a fault of ours through, once. What a client sends wrong is answered; told here, it could fill a disk."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        kind = type(error).__name__
        if isinstance(error, HttpProcessingError | ConnectionError) or kind in self._told:
            return False
        self._told.add(kind)
        return True


_logger.addFilter(_Faults())


class _Page:
    """Page with its readers, and the loop that follows the log for all of them."""

    def __init__(self, follower: Follower, ours: Callable[[str], bool]) -> None:
        self._follower = follower
        self._ours = ours
        folder = Path(__file__).parent / "static"
        self._files = {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}
        self._frame: _Frame | None = None
        self._news = asyncio.Event()
        self._readers: dict[asyncio.BaseTransport, None] = {}
        self._connections: dict[web.RequestHandler, bool] = {}  # and whether it sent a request
        self._cost = 0.0
        self._ending = asyncio.Event()
        self._reading = ThreadPoolExecutor(1)  # whoever reads the board, or folds into it, waits for the other

    async def run(self, listening: socket.socket) -> int:
        loop, got = asyncio.get_running_loop(), list[int]()

        def end(number: int, _: object) -> None:
            got.append(number)
            loop.call_soon_threadsafe(self._ending.set)

        for number in (signal.SIGTERM, signal.SIGINT):  # as in cli/runs/session.py
            signal.signal(number, end)
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_dress)
        app.router.add_get("/feed", self._feed)
        app.router.add_get("/task", self._task)
        for path in self._files:
            app.router.add_get(path, self._file)
        runner = web.AppRunner(app, access_log=None, logger=_logger, handle_signals=False, shutdown_timeout=2.0)
        await runner.setup()
        server = await loop.create_server(lambda: self._admit(runner), sock=listening)
        try:
            await self._look()
        finally:
            server.close()
            self._ending.set()
            self._tell()
            await runner.cleanup()
            self._reading.shutdown()
        return BY_SIGNAL + got[0]

    def _admit(self, runner: web.AppRunner) -> web.RequestHandler:
        """Accept a connection; one that sends half a request, or none, is soon closed."""
        if runner.server is None:
            raise InvariantBroken("a connection came to a page that is not served")
        handler = runner.server()
        was = self._connections.items()  # one that is new has no transport yet, and one that is gone has none any more
        self._connections = {each: asked for each, asked in was if each.transport is not None or not asked}
        while len(self._connections) >= CONNECTIONS:
            self._drop(next(iter(self._connections)))
        self._connections[handler] = False
        asyncio.get_running_loop().call_later(_HEAD_PATIENCE, self._check, handler)
        return handler

    def _check(self, handler: web.RequestHandler) -> None:
        if not self._connections.get(handler):
            self._drop(handler)

    def _drop(self, handler: web.RequestHandler) -> None:
        self._connections.pop(handler, None)
        if isinstance(handler.transport, asyncio.Transport):
            handler.transport.abort()

    async def _look(self) -> None:
        """Follow the log in a thread, so that no request waits for it."""
        pace = PACE
        while not self._ending.is_set():
            frame = await self._read(self._advance, pace)
            if frame is not None:
                self._frame = frame
                self._tell()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 0.0 if self._follower.behind else pace)
            pace = max(PACE, SHARE * self._cost)

    async def _read(self, work: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, argument)

    def _advance(self, seconds: float) -> _Frame | None:
        """Return a new frame, if something changed and somebody reads."""
        news = self._follower.advance(seconds)
        if not self._readers:
            self._frame = None
            return None
        if not news and self._frame is not None:
            return None
        begun = time.monotonic()
        frame = _frame_of(self._follower.scene(), self._follower.beginnings)
        self._cost = time.monotonic() - begun
        return frame

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Refuse foreign requests before anything is looked up."""
        if request.protocol in self._connections:
            self._connections[request.protocol] = True
        host, origin = request.headers.getall("Host", []), request.headers.get("Origin")
        if len(host) != 1 or not self._ours(host[0]):
            return _refuse(421, "this is not the address of this page; open the one that `serve` printed")
        if request.method not in ("GET", "HEAD"):
            return _refuse(405, "this page only reads: GET and HEAD alone", Allow="GET, HEAD")
        if origin is not None and origin.lower() != f"http://{host[0]}".lower():
            return _refuse(403, "this page answers to no other page")
        visit = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path == "/"
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and not visit:
            return _refuse(403, "this page answers to no other page")
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _refuse(404, "there is nothing here")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        body, kind = self._files[request.path]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    async def _task(self, request: web.Request) -> web.Response:
        """Answer with the diagnosis of the task of a row."""
        number = request.query.get("number", "")
        if not number.isdecimal() or len(number) > _DIGITS:
            return _refuse(404, "name a task by the number of its row")
        found = await self._read(self._follower.details, int(number))
        if found is None:
            return _refuse(404, "this task is not kept here any more; to read it again: comfy-fsm diagnose ID LOG")
        return web.Response(body=_encode(found), content_type="application/json")

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        """Send everything, then what changes; a reader that reconnects gets everything again."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        while len(self._readers) >= READERS:
            oldest = next(iter(self._readers))
            del self._readers[oldest]
            oldest.close()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        self._readers[transport] = None
        try:
            await response.prepare(request)
            if request.method == "GET":
                await self._stream(response, transport)
        except (ConnectionError, TimeoutError):
            if isinstance(transport, asyncio.Transport):  # gone, or takes nothing
                transport.abort()
        finally:
            self._readers.pop(transport, None)
        return response

    async def _stream(self, response: web.StreamResponse, transport: asyncio.BaseTransport) -> None:
        sent: _Frame | None = None
        await response.write(b"retry: 1000\n\n")
        while not self._ending.is_set() and transport in self._readers:
            news, frame = self._news, self._frame
            if frame is not None:
                async with asyncio.timeout(_PATIENCE):
                    await response.write(message(frame, sent, time.time()))
                sent = frame
            if self._news is news:  # else there was news while it was written
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), _BEAT)


def _refuse(status: int, why: str, **headers: str) -> web.Response:
    return web.Response(status=status, text=f"{why}\n", headers=headers)


async def _dress(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
