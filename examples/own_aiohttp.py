"""Client with a transport of its own, here aiohttp: only the log, the fold and the evidence are ours.

python examples/own_aiohttp.py [URL]    without a URL, at a fake ComfyUI
"""

import asyncio
import json
import sys
import tempfile
import time
import uuid
from contextlib import suppress

import aiohttp

from comfy_fsm import Board, Deliver, FetchHistory, LookAtQueue, message_line, read
from comfy_fsm.live.engine.ingest import Ingest
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy, picture


class Own:
    """One window at one server. What it sees goes into the ingest, which appends and then folds it."""

    def __init__(self, url: str, http: aiohttp.ClientSession, log: Log) -> None:
        self.url, self.http, self.window = url, http, uuid.uuid4().hex
        self.results, self.redactor, self.board = asyncio.Queue(), Redactor(), Board()
        self.ingest = Ingest(log, self.board, self.redactor, lambda *_: None, self.perform)
        self.working = set()

    async def note(self, kind: str, **data: object) -> None:
        line = {"at": time.time(), "kind": kind, "window": self.window, "server": self.url, "data": data}
        await self.ingest.write(read(json.dumps(line).encode()))

    async def ask(self, method: str, path: str, body: object = None) -> None:
        """The question is in the log before it is sent, and in both only what may be kept (P28)."""
        number, (shown, kept) = uuid.uuid4().hex, self.redactor.request(method, path, body)
        await self.note("http.request", id=number, method=method, path=shown, body=kept)
        try:
            async with self.http.request(method, self.url + path, json=body) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            return await self.note("http.error", id=number, error=type(error).__name__)
        told = self.redactor.response(method, path, status, content)
        await self.note("http.response", id=number, status=status, body=json.loads(bytes(told.logged)))

    async def listen(self, opened: asyncio.Event) -> None:
        while True:
            with suppress(aiohttp.ClientError):
                async with self.http.ws_connect(f"{self.url}/ws?clientId={self.window}", heartbeat=20) as socket:
                    await self.note("ws.open")
                    opened.set()
                    async for frame in socket:
                        if frame.type is aiohttp.WSMsgType.TEXT:
                            text, at = self.redactor.frame(frame.data), time.time()
                            line = message_line(text, at=at, window=self.window, server=self.url)
                            self.ingest.put(line, read(line))
                await self.note("ws.close", code=socket.close_code or 1006)
            await asyncio.sleep(1)  # so every OpenSocket is performed without being asked for

    def perform(self) -> None:
        """Called after each commit: what is wanted of the world by now."""
        for effect in self.board.drain():
            task = asyncio.create_task(self.perform_one(effect))
            self.working.add(task)
            task.add_done_callback(self.working.discard)

    async def perform_one(self, effect: object) -> None:
        await asyncio.sleep(effect.due - time.time())
        match effect:
            case LookAtQueue(prompt_id=prompt_id):  # the queue, then the history: nothing else proves absence (P29)
                await self.ask("GET", "/queue")
                await self.ask("GET", f"/history/{prompt_id}")
            case FetchHistory(prompt_id=prompt_id):
                await self.ask("GET", f"/history/{prompt_id}")
            case Deliver(result=result):
                await self.results.put(result)
                await self.note("delivered", prompt_id=result.prompt_id, state=result.state)
                self.results.task_done()

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            if self.board.due <= time.time():
                await self.note("tick")


async def run(url: str, log: Log) -> None:
    async with aiohttp.ClientSession() as http:
        own, opened = Own(url, http, log), asyncio.Event()
        living = [asyncio.create_task(work) for work in (own.listen(opened), own.tick())]
        await opened.wait()  # the socket first, or the first frames are lost (P12)
        mine = {"prompt": picture(), "client_id": own.window, "prompt_id": str(uuid.uuid4())}
        await own.ask("POST", "/prompt", mine)
        result = await own.results.get()
        print(result.state, [output.filename for output in result.outputs])
        await own.results.join()  # until it is written down that it was delivered
        for each in (*living, *own.working):
            each.cancel()
        await own.ingest.close()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with FakeComfy() as comfy, await Log.open(f"{folder}/own.log") as log:
            await run(sys.argv[1] if len(sys.argv) > 1 else comfy.url, log)


asyncio.run(main())
