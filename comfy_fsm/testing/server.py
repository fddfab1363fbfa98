"""A fake ComfyUI on loopback: routes and sockets as the real one has them, faults included. The only door to aiohttp."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import WSMsgType, web

from comfy_fsm.testing.execution import REQUIRED, Execution, Json, faults_of
from comfy_fsm.testing.faults import Faults
from comfy_fsm.testing.profiles import PROFILES

_PAGE = "<!doctype html><title>Sign in</title>"
_ALL = 1 << 30


def _png() -> bytes:
    """One pixel: real enough for whoever opens it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\0\0\0")) + chunk(b"IEND", b"")


class FakeComfy:
    """`async with FakeComfy(version="0.3.64") as comfy:`; it lives in this loop, at `comfy.url`."""

    def __init__(self, version: str = "0.3.64", *, step_seconds: float = 0.0, port: int = 0) -> None:
        self.profile = PROFILES[version]
        self.faults = Faults()
        self.execution = Execution(self.profile, self.faults, self._tell)
        self.execution.step_seconds = step_seconds
        self.posts: Counter[str] = Counter()
        self._port = port
        self._table: dict[str, web.WebSocketResponse] = {}
        self._open: set[web.WebSocketResponse] = set()
        self._outbox: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue()
        self._runner: web.AppRunner | None = None
        self._working: list[asyncio.Task[None]] = []
        self._number = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def runs(self) -> Counter[str]:
        """How often each prompt was really run."""
        return self.execution.runs

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 26, middlewares=[self._misbehave])
        routes: list[tuple[str, str, Callable[[web.Request], Awaitable[web.StreamResponse]]]] = [
            ("GET", "/ws", self._socket), ("POST", "/prompt", self._post), ("GET", "/queue", self._queue),
            ("GET", "/history", self._histories), ("GET", "/history/{id}", self._history),
            ("POST", "/queue", self._remove), ("POST", "/interrupt", self._interrupt),
            ("POST", "/history", self._clear), ("GET", "/view", self._view),
            ("GET", "/system_stats", self._stats), ("GET", "/features", self._features),
        ]  # fmt: skip
        for method, path, handler in routes:
            for prefix in ("", "/api") if self.profile.has_api else ("",):
                app.router.add_route(method, prefix + path, handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self._working = [asyncio.create_task(self.execution.work()), asyncio.create_task(self._send())]

    async def kill(self) -> None:
        """As with -9: sockets end without a word (1006), and nothing answers (P8)."""
        for working in self._working:
            working.cancel()
        if self._working:
            await asyncio.wait(self._working)
        self._working = []
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._table.clear()

    async def restart(self, *, keep: bool = False) -> None:
        """On the same port; what it knew is gone unless kept (P27)."""
        await self.kill()
        if not keep:
            self.execution.forget()
        await self._start()

    def cut(self, client_id: str | None = None) -> None:
        """The connection of one client, or of all, breaks; the server lives on."""
        for socket in [self._table[client_id]] if client_id is not None else list(self._open):
            if (transport := socket._req.transport if socket._req is not None else None) is not None:
                transport.abort()  # type: ignore[attr-defined]

    # frames

    def _tell(self, type: str, data: Json, client_id: str | None) -> None:
        if type not in self.faults.drop_types:
            frame = json.dumps({"type": type, "data": data})
            for _ in range(2 if self.faults.double else 1):
                self._outbox.put_nowait((frame, client_id))

    async def _send(self) -> None:
        """One frame after another, to one client after another (P6)."""
        while True:
            frame, client_id = await self._outbox.get()
            sockets = [self._table.get(client_id)] if client_id is not None else list(self._table.values())
            for socket in sockets:
                if socket is not None and not socket.closed:
                    try:
                        await socket.send_str(frame)
                    except (ConnectionError, RuntimeError):
                        continue

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        left, status = self.faults.refuse_sockets
        if left:
            self.faults.refuse_sockets = (left - 1, status)
            return web.Response(status=status, text=_PAGE, content_type="text/html")
        client_id = request.query.get("clientId") or uuid.uuid4().hex
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self._open.add(socket)
        deaf = self.faults.use("deaf")
        self._table[client_id] = socket  # P3: the one before is not closed, and hears nothing more
        waiting = len(self.execution.pending) + (self.execution.running is not None)
        status_data = {"status": {"exec_info": {"queue_remaining": waiting}}, "sid": client_id}
        try:
            await socket.send_json({"type": "status", "data": status_data})
            if self.execution.current is not None and self.execution.current[0] == client_id:
                await socket.send_json({"type": "executing", "data": {"node": self.execution.current[1]}})  # P4
            if deaf:
                del self._table[client_id]
            async for message in socket:
                if message.type is WSMsgType.TEXT and self.profile.takes_ids and "feature_flags" in message.data:
                    await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        except (ConnectionError, RuntimeError):
            pass
        finally:
            self._open.discard(socket)
            self._table.pop(client_id, None)  # P3: whatever is registered there by now
        return socket

    # answers

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        faults = self.faults
        origin = request.headers.get("Origin")
        if self.profile.checks_origin and origin is not None and origin.split("://")[-1] != request.host:
            return web.Response(status=403)  # P35
        if faults.token and request.headers.get("Authorization") != f"Bearer {faults.token}":
            return web.Response(status=401)
        if request.path.endswith("/ws"):
            return await handler(request)  # type: ignore[no-any-return]
        await asyncio.sleep(faults.delay)
        if faults.use("html"):
            return web.Response(status=502, text="<h1>502 Bad Gateway</h1>", content_type="text/html")
        if faults.use("too_many"):
            return web.Response(status=429, headers={"Retry-After": "1"})
        if faults.login_page and request.method == "GET":
            return web.Response(text=_PAGE, content_type="text/html")
        return await handler(request)  # type: ignore[no-any-return]

    async def _post(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        faults, prompt = self.faults, body.get("prompt")
        if faults.use("drop_post"):
            return self._hang_up(request)
        if faults.use("post_500"):
            return web.Response(status=500, text="500 Internal Server Error")
        strange = [s.get("class_type") for s in (prompt or {}).values() if s.get("class_type") not in REQUIRED]
        if strange or not prompt:
            error = {"type": "invalid_prompt", "message": f"node {strange} does not exist", "details": ""}
            if self.profile.refuses_unknown_with == 500:
                return web.Response(status=500, text="500 Internal Server Error")
            return web.json_response({"error": error, "node_errors": {}}, status=400)
        wrong = faults_of(prompt)
        good = [node for node in prompt if node not in wrong]
        if wrong and not any("Save" in prompt[node]["class_type"] for node in good):
            error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
            return web.json_response({"error": error, "node_errors": wrong}, status=400)
        chosen = body.get("prompt_id") if self.profile.takes_ids else None
        prompt_id = chosen or str(uuid.uuid4())
        extra = {**body.get("extra_data", {})}
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        self._number += 1
        number = body.get("number", -self._number if body.get("front") else self._number)
        self.execution.put((number, prompt_id, {node: prompt[node] for node in good}, extra, good))
        self.posts[prompt_id] += 1
        if faults.use("swallow_post"):
            return self._hang_up(request)
        if faults.use("post_500_queued"):
            return web.Response(status=500, text="500 Internal Server Error")
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": wrong})

    def _hang_up(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.close()
        return web.Response()

    async def _queue(self, _: web.Request) -> web.StreamResponse:
        running = [self.execution.running] if self.execution.running is not None else []
        pending = [] if self.faults.hide_pending else sorted(self.execution.pending)
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _history(self, request: web.Request) -> web.StreamResponse:
        prompt_id = request.match_info["id"]
        record = self.execution.history.get(prompt_id)
        if record is None or self.faults.use("empty_history"):
            return web.json_response({})
        return web.json_response({prompt_id: record})

    async def _histories(self, request: web.Request) -> web.StreamResponse:
        most = int(request.query.get("max_items", _ALL))
        return web.json_response(dict(list(self.execution.history.items())[-most:]))

    async def _remove(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        self.execution.remove(None if body.get("clear") else body.get("delete", []))
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.execution.interrupt(json.loads(text).get("prompt_id") if text else None)
        return web.Response()

    async def _clear(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        for prompt_id in list(self.execution.history) if body.get("clear") else body.get("delete", []):
            self.execution.history.pop(prompt_id, None)
        return web.Response()

    async def _view(self, _: web.Request) -> web.StreamResponse:
        return web.Response(body=_png(), content_type="image/png")

    async def _stats(self, _: web.Request) -> web.StreamResponse:
        version = {"comfyui_version": self.profile.version} if self.profile.tells_version else {}
        return web.json_response({"system": {"os": "posix", **version}, "devices": []})

    async def _features(self, _: web.Request) -> web.StreamResponse:
        if not self.profile.takes_ids:
            return web.Response(status=404)
        return web.json_response({"supports_preview_metadata": True, "max_upload_size": 104857600})
