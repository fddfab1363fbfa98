"""A fake ComfyUI on loopback: its routes and its sockets, faults included. One of the two doors to aiohttp."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self

import msgspec
from aiohttp import WSMsgType, web

from comfy_fsm.testing.execution import Answer, Execution, State
from comfy_fsm.testing.faults import Faults, route_of, seconds_at
from comfy_fsm.testing.graphs import Crash
from comfy_fsm.testing.jobs import Jobs
from comfy_fsm.testing.nodes import CLASSES, info
from comfy_fsm.testing.pictures import Place, is_inside
from comfy_fsm.testing.profiles import MAX_BODY, NEWEST, Profile, features, headers, profile_of, refuses, system_stats
from comfy_fsm.testing.publishing import Pipe, Publisher, flags_in, reset
from comfy_fsm.testing.workflows import sleeping

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HOST = "127.0.0.1"
REMEMBERED = 10_000  # requests that `requests` holds
PAGE = "<!doctype html><title>Please sign in</title><h1>Please sign in</h1>"


class FakeComfy:
    """`async with FakeComfy() as comfy:` a server that lives in this loop, at `comfy.url`."""

    def __init__(
        self,
        version: str | Profile = NEWEST,
        *,
        step_seconds: float = 0.0,
        port: int = 0,
        state: State | None = None,
        control: bool = False,
    ) -> None:
        """A node takes `step_seconds`; a `state` is that of a server before; `control` adds the routes `/fake/…`."""
        self.profile = version if isinstance(version, Profile) else profile_of(version)
        self.faults = Faults()
        self.state = State() if state is None else state
        self.requests: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        self._step_seconds = step_seconds
        self._port = port
        self._control = control
        self._runner: web.AppRunner | None = None
        self._jobs: list[asyncio.Task[None]] = []
        self._asked: set[asyncio.Task[object]] = set()  # who answers a request, or serves a socket
        self._open: dict[Pipe, str] = {}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def runs(self) -> Counter[str]:
        """How often each prompt was really run, over all lives of the server."""
        return self.state.runs

    @property
    def posts(self) -> Counter[str]:
        """How often each prompt was queued."""
        return self.state.posts

    @property
    def records(self) -> dict[str, dict[str, object]]:
        """The history, by prompt id."""
        return self.state.history

    @property
    def sockets(self) -> list[str]:
        """The ids in the server's table: who is not in it hears nothing (P3)."""
        return [*self.publisher.sockets]

    # its life

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.kill()
        if kind is None:  # else a test fails already, with a reason of its own
            self.state.own_up()

    async def start(self) -> None:
        self.publisher = Publisher(self.faults)
        self.execution = Execution(self.profile, self.faults, self.publisher, self.state, self._step_seconds)
        self.jobs = Jobs(self.execution)
        app = web.Application(middlewares=[self._remembered, self._hurdles], client_max_size=MAX_BODY)
        app.add_routes(self._routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port, backlog=1024)
        await site.start()
        self._port = self._runner.addresses[0][1]
        jobs = (self.execution.work(), self.publisher.publish())
        self._jobs = [asyncio.create_task(self.execution.keep(job)) for job in jobs]

    async def kill(self) -> None:
        """As by -9: whoever is connected hears no farewell (1006), and the port refuses (P8)."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        jobs, self._jobs = self._jobs, []
        for each in (*jobs, *self._asked):
            each.cancel()
        for site in [*runner.sites]:
            await site.stop()
        for connection in runner.server.connections if runner.server else ():
            reset(connection.transport)
        await runner.cleanup()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def restart(self, keep: bool = False) -> None:
        """On the same port; the queue and the history are gone (P27) unless kept."""
        await self.kill()
        self.state.outlive(keep)
        await self.start()

    def cut(self, client_id: str | None = None) -> None:
        """Break the sockets of one client, or of all; the server lives on."""
        for pipe, sid in [*self._open.items()]:
            if client_id in (None, sid):
                pipe.abort()

    def stranger(self, seconds: float = 0.0, client_id: str = "stranger") -> str:
        """Queue a prompt of somebody else, which takes so long; returns its id."""
        _, body = self.execution.submit({"prompt": sleeping(seconds), "client_id": client_id})
        return str(body["prompt_id"])

    # what stands between a request and its answer

    @web.middleware
    async def _remembered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Whoever hangs up is served to the end all the same (P11); who dies serves nobody."""
        asked = asyncio.current_task()
        assert asked is not None
        self._asked.add(asked)
        try:
            return await handler(request)
        finally:
            self._asked.discard(asked)

    @web.middleware
    async def _hurdles(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/fake/"):
            return await handler(request)
        self.requests.append((request.method, request.path))
        if refuses(self.profile, request.headers, request.host):
            return web.Response(status=403)
        faults, route = self.faults, route_of(request.method, request.path)
        if faults.token is not None and request.headers.get("Authorization") != f"Bearer {faults.token}":
            return web.Response(status=401, text="Unauthorized")
        if request.content_type == "application/json":
            with suppress(ConnectionResetError):
                await request.read()  # it was sent, and who hangs up takes nothing back
        await asyncio.sleep(seconds_at(faults.delay, route))
        if faults.login_page:
            return web.Response(text=PAGE, content_type="text/html")
        if faults.spend_at("html", route):
            return web.Response(status=502, text="<h1>502 Bad Gateway</h1>", content_type="text/html")
        if status := faults.spend_refusal(route):
            return web.Response(status=status, headers={"Retry-After": faults.retry_after})
        if faults.spend_at("garbage", route):
            return web.Response(text='{"truncated": [', content_type="application/json")
        try:
            answer = await handler(request)
        except (Crash, ValueError, KeyError, TypeError, AttributeError, ConnectionResetError) as error:
            return web.Response(status=500, text=f"500 Internal Server Error\n\n{type(error).__name__}")
        answer.headers.update(headers(self.profile, request.path))
        await asyncio.sleep(seconds_at(faults.late, route))
        if faults.spend_at("cut_answer", route):
            return await _half(request, answer)
        return answer

    # routes

    def _routes(self) -> list[web.RouteDef]:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/ws", self._socket),
            ("GET", "/prompt", _saying(self.execution.remaining)),
            ("POST", "/prompt", self._post_prompt),
            ("GET", "/queue", _saying(self.execution.queue)),
            ("POST", "/queue", self._post_queue),
            ("POST", "/interrupt", self._interrupt),
            ("GET", "/history", self._get_histories),
            ("GET", "/history/{prompt_id}", self._get_history),
            ("POST", "/history", self._post_history),
            ("GET", "/view", self._view),
            ("POST", "/upload/{kind:image|mask}", self._upload),
            ("GET", "/system_stats", _saying(lambda: system_stats(self.profile))),
            ("GET", "/object_info", self._object_info),
            ("GET", "/object_info/{name}", self._object_info),
        ]
        if self.profile.honours_own_ids:
            table.append(("GET", "/features", _saying(lambda: features(self.profile))))
        prefixes = ("", "/api") if self.profile.api_prefix else ("",)
        routes = [web.route(method, prefix + path, handler) for prefix in prefixes for method, path, handler in table]
        cancels = ((self._cancel_job, "/api/jobs/{prompt_id}/cancel"), (self._cancel_jobs, "/api/jobs/cancel"))
        routes += [web.post(path, one if self.profile.cancels_jobs else _not_allowed) for one, path in cancels]
        if self.profile.has_jobs:
            routes += [web.get("/api/jobs", self._get_jobs), web.get("/api/jobs/{prompt_id}", self._get_job)]
        if self.profile.has_assets:
            routes += [web.get("/api/assets", self._get_assets), web.get("/api/assets/{id}/content", self._get_asset)]
        if self._control:
            routes += [web.get("/fake/state", self._tell_state), web.post("/fake/faults", self._turn_knobs)]
        return routes

    async def _post_prompt(self, request: web.Request) -> web.StreamResponse:
        body, faults = await request.json(), self.faults
        if faults.spend("drop_post"):
            return _hang_up(request)
        if faults.spend("post_500"):
            raise Crash("as asked")
        source = request.headers.get("Comfy-Usage-Source")
        status, answer = self.execution.submit(body, source if self.profile.passes_usage_source else None)
        if faults.spend("swallow_post"):
            return _hang_up(request)
        if faults.spend("post_500_queued"):
            raise Crash("as asked")
        return web.json_response(answer, status=status)

    async def _post_queue(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("clear"):
            self.execution.remove()
        if "delete" in body:
            self.execution.remove(body["delete"])
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.json()
        except json.JSONDecodeError:
            body = {}
        self.execution.interrupt(body.get("prompt_id"))
        return web.Response()

    async def _get_histories(self, request: web.Request) -> web.StreamResponse:
        most, offset = request.query.get("max_items"), int(request.query.get("offset", -1))
        return web.json_response(self.execution.entries(None if most is None else int(most), offset))

    async def _get_history(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.execution.entry(request.match_info["prompt_id"]))

    async def _post_history(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        for prompt_id in [*self.state.history] if body.get("clear") else body.get("delete", ()):
            self.state.history.pop(prompt_id, None)
        return web.Response()

    async def _view(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        place = Place(query.get("filename", ""), query.get("subfolder", ""), query.get("type", "output"))
        if not is_inside(place):
            return web.Response(status=400)
        by_hash = place.filename.startswith("blake3:") and self.profile.finds_by_hash and self.profile.assets_are_on
        if (found := self.state.files.by_hash(place.filename) if by_hash else self.state.files.read(place)) is None:
            return web.Response(status=404)
        kind = mimetypes.guess_type(place.filename)[0] or "application/octet-stream"
        return web.Response(body=found, content_type=kind)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        image, asked = form.get("image"), {name: str(value) for name, value in form.items()}
        if not isinstance(image, web.FileField):
            return web.Response(status=400)
        place = Place(image.filename, asked.get("subfolder", ""), asked.get("type", "input"))
        if not place.filename or not is_inside(place):
            return web.Response(status=400)
        with image.file as content:
            put = self.state.files.upload(place, content.read(), asked.get("overwrite") in ("true", "1"))
        told: dict[str, object] = {"subfolder": put.subfolder, "type": put.type}
        if self.profile.finds_by_hash and self.profile.assets_are_on:
            told["asset"] = {"id": self.state.files.asset({"filename": put.filename, **told})}
        return web.json_response({"name": put.filename, **told})

    async def _object_info(self, request: web.Request) -> web.StreamResponse:
        names = [request.match_info["name"]] if "name" in request.match_info else [*CLASSES]
        return web.json_response({name: info(name) for name in names if name in CLASSES})

    async def _get_jobs(self, request: web.Request) -> web.StreamResponse:
        return _answer(self.jobs.page(request.query))

    async def _get_job(self, request: web.Request) -> web.StreamResponse:
        return _answer(self.jobs.one(request.match_info["prompt_id"]))

    async def _cancel_job(self, request: web.Request) -> web.StreamResponse:
        return _answer(self.jobs.cancel(request.match_info["prompt_id"]))

    async def _cancel_jobs(self, request: web.Request) -> web.StreamResponse:
        return _answer(self.jobs.cancel_many(await request.json()))

    async def _get_assets(self, _: web.Request) -> web.StreamResponse:
        if not self.profile.assets_are_on:
            return _answer((503, {"error": {"code": "SERVICE_DISABLED", "message": "Assets are off", "details": {}}}))
        return _answer((200, {"assets": self.state.files.listed_assets()}))

    async def _get_asset(self, request: web.Request) -> web.StreamResponse:
        place = self.state.files.assets.get(request.match_info["id"])
        found = self.state.files.read(place) if place is not None and self.profile.assets_are_on else None
        return web.Response(status=404) if found is None else web.Response(body=found)

    async def _tell_state(self, _: web.Request) -> web.StreamResponse:
        told = {"runs": self.runs, "posts": self.posts, "sockets": self.sockets, "requests": [*self.requests]}
        return web.json_response(told | {"faults": msgspec.to_builtins(self.faults)})

    async def _turn_knobs(self, request: web.Request) -> web.StreamResponse:
        try:
            self.faults.turn(await request.json())
        except (msgspec.ValidationError, ValueError) as error:
            return web.json_response({"error": f"no knob was turned: {error}"}, status=400)
        return web.json_response(msgspec.to_builtins(self.faults))

    # sockets

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """A handler that ends takes out of the table whoever is there under its id, itself or not (P3)."""
        status = self.faults.spend_handshake()
        if status is not None:
            return web.Response(status=status, text=PAGE, content_type="text/html")
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        publisher, sid = self.publisher, request.query.get("clientId") or uuid.uuid4().hex
        pipe = Pipe(ws, request.transport)
        publisher.sockets.pop(sid, None)  # an older one stays open, and hears nothing more
        publisher.sockets[sid] = pipe
        publisher.flags[sid] = {}
        self._open[pipe] = sid
        try:
            await self._greet(sid)
            await self._listen(ws, sid)
        finally:
            self._open.pop(pipe)
            publisher.sockets.pop(sid, None)
            publisher.flags.pop(sid, None)
        return ws

    async def _greet(self, sid: str) -> None:
        """The status with the id; and to who runs something, the node, but not of what (P4)."""
        await self.publisher.say("status", {"status": self.execution.remaining(), "sid": sid}, sid)
        on_air = self.execution.house.on_air
        if on_air is not None and on_air[0] == sid:
            await self.publisher.say("executing", {"node": on_air[1]}, sid)
        if self.faults.spend("deaf"):
            self.publisher.sockets.pop(sid, None)

    async def _listen(self, ws: web.WebSocketResponse, sid: str) -> None:
        """Only a first frame may say what its client can (P7)."""
        first = True
        async for message in ws:
            flags = flags_in(message.data) if first and message.type is WSMsgType.TEXT else None
            if self.profile.honours_own_ids and flags is not None:
                self.publisher.flags[sid] = flags
                await self.publisher.say("feature_flags", features(self.profile), sid)
            first = False


def _answer(answer: Answer) -> web.Response:
    return web.json_response(answer[1], status=answer[0])


async def _not_allowed(_: web.Request) -> web.StreamResponse:
    """What a POST to an unknown path is answered, since the static files take every path for a GET (P43)."""
    raise web.HTTPMethodNotAllowed("POST", ("GET", "HEAD"))


def _saying(tell: Callable[[], object]) -> Handler:
    """The handler of a question that needs no telling what is asked."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(tell())

    return answer


def _hang_up(request: web.Request) -> web.StreamResponse:
    """No answer, and the connection is gone (P11)."""
    reset(request.transport)
    return web.Response()


async def _half(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
    """The first half of an answer that says how long all of it is."""
    body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
    part = web.StreamResponse(status=answer.status, headers={"Content-Length": str(len(body) + 1)})
    part.content_type = answer.content_type
    await part.prepare(request)
    await part.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return part
