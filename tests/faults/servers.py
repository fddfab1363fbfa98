"""Servers behind the proxy, real or fake, and the truth about the prompts of one scenario, as seen at the server."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from contextlib import suppress
from typing import Any, NamedTuple, Self

import aiohttp

from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.profiles import NEWEST

Graph = dict[str, Any]
Key = tuple[float, str]  # a number and a prompt id: a prompt posted twice under one id has two numbers
_COLOURS = itertools.count(random.randrange(2**20))
LINK_SECONDS = 0.05  # of one blur of this size on a common machine; nothing is measured by it
SIDE = 256


class Seen(NamedTuple):
    """What the server has of one scenario: ids that wait, run, and ended."""

    pending: dict[Key, Any]
    running: dict[Key, Any]
    ended: dict[Key, Any]


class Truth:
    """What really became of the prompts whose files are called after `tag`, and when."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.ran: dict[Key, float] = {}  # seen running, or ended: since when
        self.ended: dict[Key, float] = {}
        self.how: dict[Key, str] = {}
        self.known_at = 0.0  # when it could be known at last: a scenario that hides it says when it no longer does

    def see(self, seen: Seen) -> None:
        now = time.monotonic()
        for key in (*seen.running, *seen.ended):
            self.ran.setdefault(key, now)
        for key, record in seen.ended.items():
            if key not in self.ended:
                self.ended[key] = now
                self.how[key] = _ending(record)

    @property
    def at(self) -> float:
        """When the last of them was over, and could be known."""
        return max(self.known_at, *self.ended.values(), 0.0)


def _ending(record: Any) -> str:
    status = record.get("status") or {}
    told = {name for name, _ in status.get("messages", ())}
    if "execution_interrupted" in told:
        return "cancelled"
    return "completed" if status.get("status_str") == "success" else "failed"


class Backend:
    """One server; what is done to it here goes past the proxy."""

    url: str
    poll_seconds: float

    async def __aenter__(self) -> Self:
        self.http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    def graph(self, tag: str, seconds: float) -> Graph:
        raise NotImplementedError

    def failing(self, tag: str) -> Graph:
        raise NotImplementedError

    async def look(self, tag: str) -> Seen:
        raise NotImplementedError

    async def forget(self) -> None:
        """As a restart does: what waits and runs is gone, and the history."""
        await self._post("/queue", {"clear": True})
        await self._post("/interrupt", {})
        async with asyncio.timeout(60):
            while any((await self._get("/queue")).values()):
                await asyncio.sleep(self.poll_seconds)
        await self._post("/history", {"clear": True})

    async def delete(self, prompt_id: str) -> None:
        await self._post("/queue", {"delete": [prompt_id]})

    async def interrupt(self, prompt_id: str) -> None:
        await self._post("/interrupt", {"prompt_id": prompt_id})

    async def evict(self, prompt_id: str) -> None:
        """Its record goes, as when the history is full."""
        await self._post("/history", {"delete": [prompt_id]})

    async def stranger(self, tag: str, seconds: float) -> str:
        """Somebody else's prompt."""
        body = {"prompt": self.graph(tag + "-stranger", seconds), "client_id": "stranger"}
        return (await self._post("/prompt", body))["prompt_id"]

    async def _post(self, path: str, body: object) -> Any:
        async with self.http.post(self.url + path, json=body) as answer:
            text = await answer.text()
            return json.loads(text) if text.startswith("{") else None

    async def _get(self, path: str) -> Any:
        async with self.http.get(self.url + path) as answer:
            return await answer.json()

    async def watch(self, truth: Truth) -> None:
        while True:
            with suppress(aiohttp.ClientError, ValueError):
                truth.see(await self.look(truth.tag))
            await asyncio.sleep(self.poll_seconds)


def _chosen(items: Any, tag: str) -> dict[Key, Any]:
    return {(item[0], item[1]): item for item in items if f'"{tag}"' in json.dumps(item[2])}


class Fake(Backend):
    """The project's own, new for each scenario."""

    poll_seconds = 0.01

    def __init__(self, version: str = NEWEST) -> None:
        self.version = version
        self.comfy = FakeComfy(version)

    async def __aenter__(self) -> Self:
        await self.comfy.start()
        self.url = self.comfy.url
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self.comfy.kill()

    def graph(self, tag: str, seconds: float) -> Graph:
        return {
            "1": _node("EmptyImage", width=8, height=8, batch_size=1, color=next(_COLOURS) % 2**24),
            "2": _node("FakeSleep", image=["1", 0], seconds=seconds),
            "3": _node("SaveImage", images=["2", 0], filename_prefix=tag),
        }

    def failing(self, tag: str) -> Graph:
        return self.graph(tag, 0.0) | {"2": _node("FakeFail", image=["1", 0], message="no")}

    async def forget(self) -> None:
        await self.comfy.restart(keep=False)

    async def look(self, tag: str) -> Seen:
        state = self.comfy.state
        ended = {key: state.history[key[1]] for key in _chosen([e["prompt"] for e in state.history.values()], tag)}
        return Seen(_chosen(state.queue, tag), _chosen(state.running, tag), ended)


class Real(Backend):
    """One that runs somewhere, and is nobody else's: its queue and its history are cleared."""

    poll_seconds = 0.1

    def __init__(self, url: str, link_seconds: float) -> None:
        """Its machine takes `link_seconds` for one blur of a chain."""
        self.url = url
        self.version = "unknown"
        self._link_seconds = link_seconds
        self._sleeps = False  # it has the node of `sleep_node`

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self.version = (await self._get("/system_stats"))["system"].get("comfyui_version", "unknown")
        self._sleeps = "FaultsSleep" in await self._get("/object_info/FaultsSleep")
        return self

    def graph(self, tag: str, seconds: float) -> Graph:
        """A node that sleeps, or a chain of blurs: a server looks at an interrupt between two nodes."""
        if self._sleeps:
            return {
                "1": _node("EmptyImage", width=8, height=8, batch_size=1, color=next(_COLOURS) % 2**24),
                "2": _node("FaultsSleep", image=["1", 0], seconds=seconds),
                "3": _node("SaveImage", images=["2", 0], filename_prefix=tag),
            }
        links = max(round(seconds / self._link_seconds), 0)
        nodes = {"1": _node("EmptyImage", width=SIDE, height=SIDE, batch_size=1, color=next(_COLOURS) % 2**24)}
        for n in range(2, links + 2):
            nodes[str(n)] = _node("ImageBlur", image=[str(n - 1), 0], blur_radius=31, sigma=10.0)
        return nodes | {"save": _node("SaveImage", images=[str(links + 1), 0], filename_prefix=tag)}

    def failing(self, tag: str) -> Graph:
        """A radius beyond the image's side passes every check, and fails when it is computed."""
        return {
            "1": _node("EmptyImage", width=8, height=8, batch_size=1, color=next(_COLOURS) % 2**24),
            "2": _node("ImageBlur", image=["1", 0], blur_radius=31, sigma=10.0),
            "3": _node("SaveImage", images=["2", 0], filename_prefix=tag),
        }

    async def look(self, tag: str) -> Seen:
        queue, history = await self._get("/queue"), await self._get("/history")
        prompts = [record["prompt"] for record in history.values()]
        ended = {key: history[key[1]] for key in _chosen(prompts, tag)}
        return Seen(_chosen(queue["queue_pending"], tag), _chosen(queue["queue_running"], tag), ended)

    async def measure(self) -> None:
        """How long one link takes here, where nothing sleeps."""
        if self._sleeps:
            return
        began = time.monotonic()
        self._link_seconds = 1.0
        prompt_id = (await self._post("/prompt", {"prompt": self.graph("measuring", 40.0)}))["prompt_id"]
        while prompt_id not in await self._get(f"/history/{prompt_id}"):
            await asyncio.sleep(0.02)
        self._link_seconds = (time.monotonic() - began) / 40


def _node(kind: str, **inputs: object) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}
