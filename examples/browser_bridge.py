"""Bridge for browser tabs: what a tab's own ComfyUI client sees is logged and folded here, and the tab is told the
result.

    python examples/browser_bridge.py SERVER LOG PORT    then import browser_bridge.js in the page, from this port
    python examples/browser_bridge.py                    with a fake ComfyUI, and a tab that is played

A tab is hostile: it decides neither its window's id, nor the time, nor which server is meant; what it sends is bounded.
"""

import asyncio
import json
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import aiohttp
from aiohttp import web

from comfy_fsm import Board, Deliver, message_line, read
from comfy_fsm.live.engine.ingest import Ingest
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy, picture

MOST = 1024 * 1024  # bytes of a message; a longer one ends the tab's connection
ASKED = {"http.request": {"id", "method", "path", "body"}, "http.error": {"id", "error"}}


class Bridge:
    """All tabs at one server; each connection is a window, under the id with which the tab opens its own socket."""

    def __init__(self, server: str, log: Log) -> None:
        self.server, self.board, self.redactor = server, Board(), Redactor()
        self.ingest = Ingest(log, self.board, self.redactor, lambda *_: None, self.perform)
        self.tabs: dict[str, web.WebSocketResponse] = {}
        self.telling: set[asyncio.Task[None]] = set()
        self.app = web.Application()
        self.app.add_routes([web.get("/tab", self.serve), web.get("/browser_bridge.js", self.script)])

    async def script(self, _: web.Request) -> web.FileResponse:
        allowed = {"Access-Control-Allow-Origin": self.server}
        return web.FileResponse(Path(__file__).with_suffix(".js"), headers=allowed)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        if request.headers.get("Origin", self.server) != self.server:
            raise web.HTTPForbidden(text="only pages of the ComfyUI that this bridge is for")
        tab, window = web.WebSocketResponse(max_msg_size=MOST), uuid.uuid4().hex
        await tab.prepare(request)
        self.tabs[window] = tab
        await tab.send_json({"window": window})
        try:
            async for message in tab:
                if message.type is aiohttp.WSMsgType.TEXT and (line := self.line(window, message.data)):
                    position = await self.ingest.write(read(line))
                    await tab.send_json({"written": position})
        finally:
            del self.tabs[window]
            await self.note(window, "ws.close", {"code": 1006})
        return tab

    def line(self, window: str, text: str) -> bytes | None:
        """What the tab says that it saw, as a line of ours; None for what is no observation."""
        try:
            said = json.loads(text)
            kind, data = said["kind"], said["data"]
            if kind == "ws.message":
                return message_line(self.redactor.frame(data), at=time.time(), window=window, server=self.server)
            if kind == "http.response":
                shown = self.redactor.response(data["method"], data["path"], data["status"], data["body"].encode())
                data = {"id": data["id"], "status": data["status"], "body": json.loads(bytes(shown.logged))}
            elif kind in ASKED:
                data = {name: data[name] for name in ASKED[kind] if name in data}
                if kind == "http.request":
                    data["path"], data["body"] = self.redactor.request(data["method"], data["path"], data.get("body"))
            elif kind in ("ws.open", "ws.close"):
                data = {"code": int(data["code"])} if kind == "ws.close" else {}
            else:
                return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return self.written(window, kind, data)

    def written(self, window: str, kind: str, data: object) -> bytes:
        line = {"at": time.time(), "kind": kind, "window": window, "server": self.server, "data": data}
        return json.dumps(line).encode()

    async def note(self, window: str, kind: str, data: object) -> None:
        await self.ingest.write(read(self.written(window, kind, data)))

    def perform(self) -> None:
        """Only the tab reaches its server with its own cookies, so what is wanted of the world is wanted of the tab."""
        for effect in self.board.drain():
            task = asyncio.create_task(self.tell(effect))
            self.telling.add(task)
            task.add_done_callback(self.telling.discard)

    async def tell(self, effect: object) -> None:
        await asyncio.sleep(effect.due - time.time())
        if isinstance(effect, Deliver):
            result = effect.result
            if (tab := self.tabs.get(result.window)) is None:
                return  # it went away; whoever opens a client on this log delivers it
            await tab.send_json({"settled": result.prompt_id, "state": result.state})
            await self.note(result.window, "delivered", {"prompt_id": result.prompt_id, "state": result.state})
            return
        prompt_id = getattr(effect, "prompt_id", None)
        task = self.board.task(prompt_id, self.server) if prompt_id else None
        tab = self.tabs.get(task.window if task else getattr(effect, "window", None))
        if tab is not None:
            await tab.send_json({"wanted": type(effect).__name__, "prompt_id": prompt_id})


async def play_tab(bridge: str, comfy: str) -> None:
    """What browser_bridge.js does in a page, in a few lines of Python."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{bridge}/tab") as told:
        window, ids = (await told.receive_json())["window"], iter(range(1_000))

        async def say(kind: str, data: object) -> None:
            await told.send_json({"kind": kind, "data": data})

        async def ask(method: str, path: str, body: object = None) -> None:
            number = str(next(ids))
            await say("http.request", {"id": number, "method": method, "path": path, "body": body})
            async with http.request(method, comfy + path, json=body) as answer:
                shown = {"id": number, "method": method, "path": path, "status": answer.status}
                await say("http.response", shown | {"body": await answer.text()})

        async def listen() -> None:
            async with http.ws_connect(f"{comfy}/ws?clientId={window}") as socket:
                await say("ws.open", {})
                opened.set()
                async for frame in socket:
                    await say("ws.message", frame.data)

        opened, listening = asyncio.Event(), asyncio.create_task(listen())
        await opened.wait()
        await ask("POST", "/prompt", {"prompt": picture(), "client_id": window, "prompt_id": str(uuid.uuid4())})
        async for message in told:
            if (word := SimpleNamespace(**json.loads(message.data))) and hasattr(word, "wanted"):
                print("the bridge wants:", word.wanted)
                if word.wanted == "LookAtQueue":
                    await ask("GET", "/queue")
                await ask("GET", f"/history/{word.prompt_id}")
            elif hasattr(word, "settled"):
                print("the bridge says:", word.state)
                break
        listening.cancel()


async def serve(bridge: Bridge, port: int) -> web.AppRunner:
    runner = web.AppRunner(bridge.app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def main(arguments: list[str]) -> None:
    if arguments:
        server, path, port = arguments
        async with await Log.open(path) as log:
            await serve(Bridge(server, log), int(port))
            await asyncio.Event().wait()
    with tempfile.TemporaryDirectory() as folder:
        async with FakeComfy() as comfy, await Log.open(f"{folder}/bridge.log") as log:
            bridge = Bridge(comfy.url, log)
            runner = await serve(bridge, 0)
            await play_tab(f"http://127.0.0.1:{runner.addresses[0][1]}", comfy.url)
            await runner.cleanup()
            await bridge.ingest.close()


asyncio.run(main(sys.argv[1:]))
