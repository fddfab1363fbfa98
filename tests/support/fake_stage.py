"""Helpers for tests of the fake: a server, a minimal client, and graphs that no cache knows."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.profiles import Profile
from tests.conformance.protocol import Server, Socket

Graph = dict[str, dict[str, Any]]
Story = Callable[[FakeComfy, Server], Awaitable[None]]
PATIENCE = 60.0  # seconds for what must come; only a failure waits so long
FOR_EVER = 3600.0  # seconds of a node that no test waits for


def play(story: Story, version: str | Profile = "0.3.64", **settings: Any) -> None:
    async def told() -> None:
        async with FakeComfy(version, **settings) as comfy, aiohttp.ClientSession() as http:
            async with asyncio.timeout(PATIENCE):
                await story(comfy, Server(comfy.url, http))

    asyncio.run(told())


def chain(*links: tuple[str, dict[str, Any]], output: tuple[str, dict[str, Any]] = ("PreviewImage", {})) -> Graph:
    """An image that no cache knows, some nodes one after another, and an output."""
    picture = {"width": 8, "height": 8, "batch_size": 1, "color": uuid.uuid4().int % 2**24}
    nodes = [("EmptyImage", picture), *links, output]
    wires: list[dict[str, Any]] = [{}, *({"image": [str(at), 0]} for at in range(1, len(links) + 1))]
    wires.append({"images": [str(len(links) + 1), 0]})
    return {
        str(at): {"class_type": kind, "inputs": wire | inputs}
        for at, ((kind, inputs), wire) in enumerate(zip(nodes, wires, strict=True), 1)
    }


def sleeping(seconds: float = FOR_EVER) -> Graph:
    return chain(("FakeSleep", {"seconds": seconds}))


FAILING = ("FakeFail", {"message": "no"})


async def eventually(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.001)


async def closed(window: Socket) -> int | None:
    """Reads on to the end of a socket; returns its code."""
    connection = window._connection
    async for _ in connection:
        pass
    return connection.close_code


async def told_of(server: Server, window: Socket, kind: str, graph: Graph | None = None) -> list[dict[str, Any]]:
    """The data of all frames of a type about one prompt, run to its end."""
    return window.told(kind, await server.run(graph or chain(), window))
