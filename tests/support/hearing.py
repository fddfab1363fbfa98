"""A connection to one server, what its socket brings, and the server's side of that socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from aiohttp import web

from comfy_fsm.live.transport.arrivals import Heard, Message, Refused, SocketDown, SocketUp
from comfy_fsm.live.transport.comfy import Comfy

One = Message | SocketUp | SocketDown | Refused
LONG = 1000.0  # seconds that no test waits for
SHUT = "http://127.0.0.1:1"  # a port on which nobody listens


async def one_by_one(frames: AsyncGenerator[Heard, None]) -> AsyncGenerator[One, None]:
    """What a socket brings, one by one, however much of it came together."""
    async for heard in frames:
        for each in heard if isinstance(heard, list) else [heard]:
            yield each


@asynccontextmanager
async def client(url: str, **settings: object) -> AsyncIterator[Comfy]:
    quick = {"backoff_seconds": (0.001, 0.01), "damp_seconds": 0.0, **settings}
    made = Comfy(url, **quick)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def hearing(made: Comfy, client_id: str = "me") -> AsyncIterator[AsyncGenerator[One, None]]:
    frames = made.listen(client_id)
    try:
        yield one_by_one(frames)
    finally:
        await frames.aclose()


async def opened(request: web.Request) -> web.WebSocketResponse:
    """A socket as ComfyUI opens it, after our first frame."""
    ws = web.WebSocketResponse(max_msg_size=0)
    await ws.prepare(request)
    assert json.loads((await ws.receive()).data)["type"] == "feature_flags"
    return ws


async def hold(ws: web.WebSocketResponse) -> web.WebSocketResponse:
    """Keep it open until the other side closes it."""
    async for _ in ws:
        pass
    return ws


async def talkative(request: web.Request) -> web.StreamResponse:
    ws = await opened(request)
    await ws.send_str('{"type":"status","data":{}}')
    await ws.send_bytes(b"\x00\x00\x00\x01rest")
    return await hold(ws)


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test

    asyncio.run(bounded())
