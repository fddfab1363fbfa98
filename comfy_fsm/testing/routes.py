"""Routes of a fake ComfyUI, and its sockets. One of the modules that use aiohttp."""

from __future__ import annotations

import json
import mimetypes
import uuid
from collections import deque
from collections.abc import Callable

import msgspec
from aiohttp import WSMsgType, web

from comfy_fsm.testing.execution.jobs_api import JobsApi
from comfy_fsm.testing.execution.nodes import CLASSES, info
from comfy_fsm.testing.execution.pictures import FileKey, is_inside
from comfy_fsm.testing.execution.validation import Crash
from comfy_fsm.testing.execution.worker import Answer, Execution
from comfy_fsm.testing.faults import ROUTES
from comfy_fsm.testing.middleware import PAGE, Handler, hang_up
from comfy_fsm.testing.profiles import features, system_stats
from comfy_fsm.testing.sockets import Pipe, flags_in

__all__ = ["Routes"]

_ABOUT = """This is no ComfyUI: it is a fake one for tests, of the Python package comfy-fsm (comfy_fsm.testing).

It answers as ComfyUI {version} does, with nodes that compute nothing, and goes wrong as it is told to.
Its routes, each also under /api where this version has that: {routes}.
{control}"""
_CONTROL = (
    'Turn its knobs by POST /fake/faults, such as {"empty_history": 2}; GET /fake/state shows them, and what ran.'
)
_NO_CONTROL = "Its knobs are turned from the program that started it."


class Routes:
    """Routes of one life of a server."""

    def __init__(self, execution: Execution, jobs: JobsApi, requests: deque[tuple[str, str]], control: bool) -> None:
        """Build the routes; `control` adds those under `/fake/…`, through which another process turns the knobs."""
        self.execution = execution
        self.jobs = jobs
        self.profile = execution.profile
        self.state = execution.state
        self.faults = execution.shared.faults
        self.publisher = execution.shared.publisher
        self._requests = requests
        self._control = control

    def table(self) -> list[web.RouteDef]:
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
        routes.append(web.get("/", self._about))
        return routes

    async def _about(self, _: web.Request) -> web.StreamResponse:
        """Return a description, where a real server has its page."""
        told = {"version": self.profile.version, "routes": ", ".join(ROUTES[2:])}
        return web.Response(text=_ABOUT.format(**told, control=_CONTROL if self._control else _NO_CONTROL) + "\n")

    async def _post_prompt(self, request: web.Request) -> web.StreamResponse:
        body, faults = await request.json(), self.faults
        if faults.spend("drop_post"):
            return hang_up(request)
        if faults.spend("post_500"):
            raise Crash("as asked")
        source = request.headers.get("Comfy-Usage-Source")
        status, answer = self.execution.submit(body, source if self.profile.passes_usage_source else None)
        if faults.spend("swallow_post"):
            return hang_up(request)
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
        place = FileKey(query.get("filename", ""), query.get("subfolder", ""), query.get("type", "output"))
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
        place = FileKey(image.filename, asked.get("subfolder", ""), asked.get("type", "input"))
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
        told = {
            "runs": self.state.runs,
            "posts": self.state.posts,
            "sockets": [*self.publisher.sockets],
            "requests": [*self._requests],
        }
        return web.json_response(told | {"faults": msgspec.to_builtins(self.faults)})

    async def _turn_knobs(self, request: web.Request) -> web.StreamResponse:
        try:
            knobs = await request.json()
            if not isinstance(knobs, dict):
                raise ValueError('send an object, such as {"empty_history": 2}')
            self.faults.turn(knobs)
        except ValueError as error:
            return web.json_response({"error": f"no knob was turned: {error}"}, status=400)
        return web.json_response(msgspec.to_builtins(self.faults))

    # sockets

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """Serve a socket. When it ends, the socket registered under its id is removed, be it itself or another (P3)."""
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
        publisher.open[pipe] = sid
        try:
            await self._greet(sid)
            await publisher.notify()
            await self._listen(ws, sid)
        finally:
            publisher.open.pop(pipe)
            publisher.sockets.pop(sid, None)
            publisher.flags.pop(sid, None)
        return ws

    async def _greet(self, sid: str) -> None:
        """Send the status with the id and, to a client whose prompt runs, the node, without the prompt (P4)."""
        await self.publisher.send_now("status", {"status": self.execution.remaining(), "sid": sid}, sid)
        on_air = self.execution.shared.on_air
        if on_air is not None and on_air[0] == sid:
            await self.publisher.send_now("executing", {"node": on_air[1]}, sid)
        if self.faults.spend("deaf"):
            self.publisher.sockets.pop(sid, None)

    async def _listen(self, ws: web.WebSocketResponse, sid: str) -> None:
        """Read the socket; only a first frame may announce the client's features (P7)."""
        first = True
        async for message in ws:
            flags = flags_in(message.data) if first and message.type is WSMsgType.TEXT else None
            if self.profile.honours_own_ids and flags is not None:
                self.publisher.flags[sid] = flags
                await self.publisher.send_now("feature_flags", features(self.profile), sid)
            first = False


def _answer(answer: Answer) -> web.Response:
    return web.json_response(answer[1], status=answer[0])


async def _not_allowed(_: web.Request) -> web.StreamResponse:
    """Answer a POST to an unknown path, since the static files take every path for a GET (P43)."""
    raise web.HTTPMethodNotAllowed("POST", ("GET", "HEAD"))


def _saying(tell: Callable[[], object]) -> Handler:
    """Return a handler for requests without parameters."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(tell())

    return answer
