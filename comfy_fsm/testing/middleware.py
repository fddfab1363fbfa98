"""Middleware between a request and its answer: origin checks and faults. One of the modules that use aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Middleware

from comfy_fsm.testing.execution.validation import Crash
from comfy_fsm.testing.faults import Faults, route_of, seconds_at
from comfy_fsm.testing.playback.playback import Playback
from comfy_fsm.testing.profiles import Profile, headers, refuses
from comfy_fsm.testing.sockets import reset

__all__ = ["PAGE", "Handler", "ServerMiddleware", "hang_up"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PAGE = "<!doctype html><title>Please sign in</title><h1>Please sign in</h1>"
_BAD_GATEWAY = "<h1>502 Bad Gateway</h1>"
_FAULT_OF_THE_SERVER = (Crash, ValueError, KeyError, TypeError, AttributeError, ConnectionResetError)


class ServerMiddleware:
    """Middleware that every request of one life of a server passes."""

    def __init__(self, profile: Profile, faults: Faults, hear: Callable[[str, str], None]) -> None:
        """Prepare the middleware; `hear` is called with method and path of each request."""
        self.asked: set[asyncio.Task[object]] = set()
        """Who answers a request, or serves a socket."""
        self.playback: Playback | None = None
        self._profile = profile
        self._faults = faults
        self._hear = hear

    @property
    def middlewares(self) -> list[Middleware]:
        return [self._remember, self._pass]

    @web.middleware
    async def _remember(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve a request to the end even if its client hangs up (P11); a server that dies serves nobody."""
        asked = asyncio.current_task()
        assert asked is not None
        self.asked.add(asked)
        try:
            return await handler(request)
        finally:
            self.asked.discard(asked)

    @web.middleware
    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/fake/"):
            return await handler(request)
        self._hear(request.method, request.path)
        if refuses(self._profile, request.headers, request.host):
            return web.Response(status=403)
        faults, route = self._faults, route_of(request.method, request.path)
        if faults.token is not None and request.headers.get("Authorization") != f"Bearer {faults.token}":
            return web.Response(status=401, text="Unauthorized")
        if request.content_type == "application/json":
            with suppress(ConnectionResetError):
                await request.read()  # it was sent, and who hangs up takes nothing back
        await asyncio.sleep(seconds_at(faults.delay, route))
        if (instead := self._instead(route)) is not None:
            return instead
        try:
            answer = await self._played(request) or await handler(request)
        except _FAULT_OF_THE_SERVER as error:
            return web.Response(status=500, text=f"500 Internal Server Error\n\n{type(error).__name__}")
        answer.headers.update(headers(self._profile, request.path))
        await asyncio.sleep(seconds_at(faults.late, route))
        if faults.spend_at("cut_answer", route):
            return await _half(request, answer)
        return answer

    async def _played(self, request: web.Request) -> web.StreamResponse | None:
        """Return the answer of a trace that is being played, if it has one."""
        if self.playback is None or request.path.removeprefix("/api") in ("/ws", "/"):
            return None
        body = await request.json() if request.content_type == "application/json" and request.body_exists else None
        reply = await self.playback.answer(request.method, request.path_qs, body)
        if reply is None:
            return None
        if reply.status is None:
            return hang_up(request)
        if reply.body is not None:
            return web.json_response(reply.body, status=reply.status)
        if reply.status < 400 and request.method != "GET":
            return web.Response(status=reply.status)
        return web.Response(status=reply.status, text=f"<h1>{reply.status}</h1>", content_type="text/html")

    def _instead(self, route: str) -> web.StreamResponse | None:
        """Return the answer that a fault gives in place of ComfyUI's."""
        faults = self._faults
        if faults.login_page:
            return web.Response(text=PAGE, content_type="text/html")
        if faults.spend_at("html", route):
            return web.Response(status=502, text=_BAD_GATEWAY, content_type="text/html")
        if status := faults.spend_refusal(route):
            return web.Response(status=status, headers={"Retry-After": faults.retry_after})
        if faults.spend_at("garbage", route):
            return web.Response(text='{"truncated": [', content_type="application/json")
        return None


def hang_up(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer (P11)."""
    reset(request.transport)
    return web.Response()


async def _half(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """Send the first half of an answer whose header states the full length."""
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    part = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(body) + 1)})
    part.content_type = answer.content_type
    await part.prepare(request)
    await part.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return part
