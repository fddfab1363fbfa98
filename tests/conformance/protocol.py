"""Minimal client of a ComfyUI: just enough of its protocol to see what it does, and nothing of `comfy_fsm`.

What is on trial here is the server, real or fake, so no code of ours may stand between it and the scenario.
"""

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import aiohttp

from tests.conformance.workflows import Graph, workflow

PATIENCE = 300.0
"""Seconds for what must come: a busy machine is slow, a server without a GPU too, and only a failure waits so long."""
PACE = 0.02
"""Seconds between two questions while something is waited for over HTTP."""

T = TypeVar("T")


class Frame(NamedTuple):
    """What the socket brought; a binary frame is of the type `binary 4`, by its number, and the rest is its payload."""

    type: str
    data: dict[str, Any]
    payload: bytes = b""


class Answer(NamedTuple):
    status: int
    body: Any


class Queue(NamedTuple):
    """`GET /queue`: the ids that run and those that wait, in the order of their turn."""

    running: list[str]
    pending: list[str]


def frame_of(message: aiohttp.WSMessage) -> Frame:
    if message.type is aiohttp.WSMsgType.TEXT:
        told = json.loads(message.data)
        return Frame(told["type"], told["data"])
    (number,) = struct.unpack_from(">I", message.data)
    return Frame(f"binary {number}", {}, message.data[4:])


async def polled(ask: Callable[[], Awaitable[T | None]]) -> T:
    """The first answer that says something."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if answer := await ask():
                return answer
            await asyncio.sleep(PACE)


class Socket:
    """One open socket, and every frame it has heard."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse, client_id: str) -> None:
        self.client_id = client_id
        self.heard: list[Frame] = []
        self._connection = connection

    async def until(self, kind: str, **data: object) -> Frame:
        """Reads on to the next frame of this type with these data."""
        async with asyncio.timeout(PATIENCE):
            while (frame := await self._next()) is not None:
                if frame.type == kind and data.items() <= frame.data.items():
                    return frame
        raise AssertionError("a pong answered no ping of ours")

    async def ended(self, prompt_id: str) -> None:
        """Reads on to the last frame that its owner hears of a prompt (P21, P22)."""
        await self.until("executing", node=None, prompt_id=prompt_id)

    async def quiet(self) -> list[Frame]:
        """Every frame that came before the answer to a ping: what is not among them by now was not sent."""
        before = len(self.heard)
        await self._connection.ping()
        async with asyncio.timeout(PATIENCE):
            while await self._next() is not None:
                pass
        return self.heard[before:]

    async def say(self, kind: str, data: dict[str, Any]) -> None:
        await self._connection.send_json({"type": kind, "data": data})

    async def close(self) -> None:
        await self._connection.close()

    def types(self, prompt_id: str) -> list[str]:
        """The types of all frames that name this prompt, in their order."""
        return [frame.type for frame in self.heard if frame.data.get("prompt_id") == prompt_id]

    def told(self, kind: str, prompt_id: str) -> list[dict[str, Any]]:
        """The data of all frames of this type that name this prompt."""
        return [frame.data for frame in self.heard if frame.type == kind and frame.data.get("prompt_id") == prompt_id]

    async def _next(self) -> Frame | None:
        """The next frame, or None for the answer to our ping."""
        message = await self._connection.receive()
        match message.type:
            case aiohttp.WSMsgType.PONG:
                return None
            case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                self.heard.append(frame_of(message))
                return self.heard[-1]
        raise AssertionError(f"the socket brought {message!r} after {[frame.type for frame in self.heard]}")


class Server:
    """One server, and what can be asked of it."""

    def __init__(self, url: str, http: aiohttp.ClientSession, other: "Server | None" = None) -> None:
        self.url = url.rstrip("/")
        self.other = other
        self._http = http

    async def get(self, path: str, **options: Any) -> Answer:
        return await self._ask("GET", path, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Answer:
        return await self._ask("POST", path, **({} if body is None else {"json": body}), **options)

    async def _ask(self, method: str, path: str, **options: Any) -> Answer:
        async with self._http.request(method, self.url + path, **options) as response:
            told = response.content_type == "application/json"
            return Answer(response.status, await response.json() if told else await response.read())

    @asynccontextmanager
    async def socket(self, client_id: str | None = None, **options: Any) -> AsyncIterator[Socket]:
        """A socket that has heard its first frame; its pings are ours to see, since `autoping` hides them."""
        client_id = client_id or uuid.uuid4().hex
        address = f"{self.url}/ws?clientId={client_id}"
        async with self._http.ws_connect(address, autoping=False, **options) as connection:
            socket = Socket(connection, client_id)
            await socket.until("status")
            yield socket

    async def submit(self, graph: str | Graph, window: Socket | None = None, **more: object) -> str:
        """The id of an accepted prompt: of a graph, or of a name in the table of workflows."""
        if window is not None:
            more["client_id"] = window.client_id
        answer = await self.post("/prompt", {"prompt": workflow(graph) if isinstance(graph, str) else graph, **more})
        assert answer.status == 200, answer
        prompt_id: str = answer.body["prompt_id"]
        return prompt_id

    async def run(self, graph: str | Graph, window: Socket, **more: object) -> str:
        """The same, with its end awaited."""
        prompt_id = await self.submit(graph, window, **more)
        await window.ended(prompt_id)
        return prompt_id

    async def begun(self, prompt_id: str) -> None:
        """Waits until a prompt runs, for one whose start no socket tells (P2)."""

        async def runs() -> bool:
            return prompt_id in (await self.queue()).running

        await polled(runs)

    async def entry(self, prompt_id: str) -> dict[str, Any] | None:
        """What the history has of a prompt."""
        answer = await self.get(f"/history/{prompt_id}")
        assert answer.status == 200, answer
        found: dict[str, Any] | None = answer.body.get(prompt_id)
        assert answer.body == ({} if found is None else {prompt_id: found})
        return found

    async def record(self, prompt_id: str) -> dict[str, Any]:
        """The same, once it is there: for a prompt whose end no socket tells (P2)."""
        return await polled(lambda: self.entry(prompt_id))

    async def queue(self) -> Queue:
        body = (await self.get("/queue")).body
        turns = sorted(body["queue_pending"], key=lambda item: (item[0], item[1]))
        return Queue([item[1] for item in body["queue_running"]], [item[1] for item in turns])

    async def settle(self) -> None:
        """Leaves nothing behind: what waits is deleted, what runs interrupted."""
        async with asyncio.timeout(PATIENCE):
            await self.post("/queue", {"clear": True})
            while (await self.queue()).running:
                await self.post("/interrupt", {})
                await asyncio.sleep(PACE)
