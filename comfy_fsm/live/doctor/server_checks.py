"""Checks of a server: whether it is reached, what it is, and what of it would not work. Nothing is posted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from email.utils import parsedate_to_datetime

import msgspec
from msgspec import Raw

from comfy_fsm.core.wire import bodies
from comfy_fsm.display import duration
from comfy_fsm.live.doctor.check import Check
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.arrivals import Answer, Refused, SocketUp, Unanswered
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.redirects import STATUSES, shown_location
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.live.transport.websocket.handshake_errors import error_of

__all__ = ["checks"]

_GREETING = 5.0
"""Seconds in which a socket is greeted; ComfyUI does it at once."""
_APART = 5.0
"""Seconds by which two clocks may differ: less is not seen in the log of a server."""
_CREDENTIALS = "give the token or header that it wants: --token-env, --header, --socket-query"
_LACKS = (
    ((0, 3, 45), "it does not take our prompt ids, so a task whose POST is not answered is found by its mark alone"),
    ((0, 3, 57), "an interrupt hits whatever runs, so a task that runs is not cancelled"),
)
"""What a server older than this cannot do."""


def checks(servers: Callable[[], list[Comfy]], with_origin: Callable[[], list[Comfy]]) -> dict[str, list[Check]]:
    """Look at all servers at once, in a loop of their own; `with_origin` are the same, asked as by their own pages."""

    async def asked() -> dict[str, list[Check]]:
        plain, pages = servers(), with_origin()
        try:
            found = await asyncio.gather(*(_checks(one, page) for one, page in zip(plain, pages, strict=True)))
        finally:
            await asyncio.gather(*(server.close() for server in (*plain, *pages)))
        return {server.url: checks for server, checks in zip(plain, found, strict=True)}

    return asyncio.run(asked())


async def _checks(server: Comfy, page: Comfy) -> list[Check]:
    reached = await _reached(server)
    if reached[-1].level == "problem":
        return reached
    return [*reached, *[check async for check in _parts(server, page)]]


async def _ask(server: Comfy, request: HttpRequest) -> Answer | Unanswered:
    try:
        return await server.send(request)
    except Unanswered as error:
        return error


async def _reached(server: Comfy) -> list[Check]:
    asked = time.time()
    answer = await _ask(server, requests.system_stats())
    if isinstance(answer, Unanswered):
        refused = Refused(0, None, answer.name, True, detail=answer.detail)
        told = str(error_of(server.url, refused, 0.0)).removeprefix(f"{server.url}: ")
        why, _, cure = told.replace(", so nothing was submitted", "").partition("; ")
        if answer.name == "Deadline":
            why, cure = "it takes the connection, and does not answer", "see whether it is busy, or --timeout"
        return [Check("reachable", "problem", why, cure)]
    if answer.status in (401, 403):
        return [Check("reachable", "problem", f"it wants credentials (HTTP {answer.status})", _CREDENTIALS)]
    if answer.status in STATUSES:
        told = f"it redirects to {shown_location(answer.location)} (HTTP {answer.status})"
        return [Check("reachable", "problem", told, f"name that address; if it is a login, {_CREDENTIALS}")]
    try:
        stats = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        stats = None
    if answer.status != 200 or not isinstance(stats, dict) or "system" not in stats:
        told = f"what answers there is no ComfyUI (HTTP {answer.status}, {answer.content_type or 'no content type'})"
        return [Check("reachable", "problem", told, "check address and path, and what stands before ComfyUI")]
    found = [Check("reachable", "ok", "it answers over HTTP"), *_clock(answer.date, asked, time.time())]
    version = bodies.version(Raw(answer.body))
    if version is None:
        told = "it tells no version: it is from before January 2025, or a fork"
        return [*found, Check("version", "warning", told, "use ComfyUI 0.3.64 or newer")]
    number = ".".join(map(str, version))
    lacks = [lack for since, lack in _LACKS if version < since]
    if lacks:
        return [*found, Check("version", "warning", f"ComfyUI {number}: {'; '.join(lacks)}", "use a newer ComfyUI")]
    return [*found, Check("version", "ok", f"ComfyUI {number}")]


def _clock(date: str, asked: float, answered: float) -> list[Check]:
    """Compare the clock of the server with ours, between question and answer; the header counts whole seconds."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return []  # nothing promises the header
    behind = theirs + 1.0 - asked if theirs + 1.0 < asked else max(theirs - answered, 0.0)
    if abs(behind) <= _APART:
        return [Check("clock", "ok", f"it agrees with this machine to {_APART:g} s")]
    told = f"it is {duration(abs(behind))} {'ahead of' if behind > 0 else 'behind'} this machine"
    lost = "times in its own log cannot be compared with those of a report, and signed links may be refused"
    return [
        Check("clock", "warning", f"{told}: {lost}", "set both by NTP; the decisions of the client do not depend on it")
    ]


async def _parts(server: Comfy, page: Comfy) -> AsyncIterator[Check]:
    parts: tuple[tuple[str, HttpRequest, str], ...] = (
        ("queue", requests.queue(), "nothing tells whether a silent task still waits or runs"),
        ("history", requests.histories(1), "no result can be verified, and none is found after a lost socket"),
        ("jobs", requests.jobs(), "queue and history are asked instead"),
    )
    answers = await asyncio.gather(*(_ask(server, request) for _, request, _ in parts))
    for (name, request, lost), answer in zip(parts, answers, strict=True):
        status = "no answer" if isinstance(answer, Unanswered) else f"HTTP {answer.status}"
        if isinstance(answer, Answer) and answer.status == 200:
            yield Check(name, "ok", "it can be read")
        elif name == "jobs" and isinstance(answer, Answer) and answer.status in (404, 405):
            yield Check(name, "ok", f"it has none: {lost}")
        else:
            path = request.path.partition("?")[0]
            yield Check(name, "problem", f"{path} cannot be read ({status}): {lost}", f"let the gateway pass {path}")
    yield await _socket(server)
    yield await _origin(page)


async def _socket(server: Comfy) -> Check:
    """Open one, and wait for the greeting that ComfyUI sends at once."""
    last: object = None
    try:
        async with asyncio.timeout(_GREETING), aclosing(server.listen(f"doctor-{uuid.uuid4().hex}")) as heard:
            async for last in heard:
                if isinstance(last, Refused):
                    break
                if isinstance(last, list):
                    return Check("sockets", "ok", "one was opened, and greeted")
    except TimeoutError:
        pass
    if isinstance(last, Refused):
        told = f"it refuses them ({last.reason}): tasks are followed over HTTP alone, without progress and previews"
        cure = _CREDENTIALS if last.status in (401, 403) else "let the gateway pass WebSockets (Upgrade) to /ws"
        return Check("sockets", "warning", told, cure)
    opened = "one was opened, and nothing came over it" if isinstance(last, SocketUp) else "none was opened"
    return Check("sockets", "warning", f"{opened} in {_GREETING:g} s", "see what stands between: it holds frames back")


async def _origin(page: Comfy) -> Check:
    answer = await _ask(page, requests.remaining())
    if isinstance(answer, Answer) and answer.status == 403:
        told = "it refuses its own pages (HTTP 403), since a proxy changes the Host; this client is not concerned"
        return Check("origin", "warning", told, "let the proxy pass the Host header on, or --enable-cors-header")
    return Check("origin", "ok", "its own pages may ask it")
