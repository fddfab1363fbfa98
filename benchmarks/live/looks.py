"""Benchmark of many open tasks at one server: requests per minute, while all wait and when all have ended.

    python -m benchmarks.live.looks [--tasks 200] [--seconds 60]

A fake server runs somebody else's prompt while ours wait; then that one is interrupted, and no frame tells of any end.
"""

import argparse
import asyncio
import time
from collections import Counter
from typing import Any

from comfy_fsm import Policy
from comfy_fsm.errors import TaskError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.transport.arrivals import Answer
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.testing import FakeComfy, picture

ENDS = {
    "execution_success", "executing", "executed", "progress_state", "execution_start", "execution_cached", "progress",
}  # fmt: skip
NODES = 100
QUICK = Policy(check_seconds=5.0, warn_seconds=3600, expire_seconds=7200, look_seconds=1.0, prove_seconds=3600)
"""A silence is looked into every five seconds instead of thirty, so that a minute shows a dozen looks."""


def graph(number: int) -> dict[str, dict[str, object]]:
    """A picture by way of a hundred nodes, about as many as a workflow of today has."""
    nodes: dict[str, dict[str, object]] = dict(picture(number))
    for at in range(NODES):
        source = str(at + 9) if at else "1"
        nodes[str(at + 10)] = {"class_type": "ImageInvert", "inputs": {"image": [source, 0]}}
    return nodes | {"2": {"class_type": "PreviewImage", "inputs": {"images": [str(NODES + 9), 0]}}}


def asked(comfy: FakeComfy, seconds: float) -> str:
    routes = Counter(f"{method} {'/'.join(path.split('/')[:3])}" for method, path in comfy.requests)
    told = ", ".join(f"{name} {count}" for name, count in routes.most_common())
    return f"{len(comfy.requests) / seconds * 60:.0f} a minute ({told or 'nothing'})"


def weigh(server: Comfy) -> list[int]:
    """The size of each answer from now on."""
    sizes, send = list[int](), server.send

    async def weighed(ask: HttpRequest, **settings: Any) -> Answer:
        answer = await send(ask, **settings)
        sizes.append(len(answer.body))
        return answer

    server.send = weighed
    return sizes


def told(sizes: list[int]) -> str:
    return f"{sum(sizes) / 1e3:.0f} kB of answers"


async def measure(version: str, tasks: int, seconds: float) -> None:
    async with FakeComfy(version) as comfy, Client(comfy.url, policy=QUICK) as client:
        blocker, window = comfy.stranger(seconds=3600), client.window()
        waiting = [await window.submit(graph(n)) for n in range(tasks)]
        comfy.faults.drop_types = ENDS
        sizes = weigh(client.runner.exchanges[comfy.url].server)
        comfy.requests.clear()
        await asyncio.sleep(seconds)
        print(f"{version}: {tasks} tasks wait: {asked(comfy, seconds)}, {told(sizes)}", flush=True)
        comfy.requests.clear()
        sizes.clear()
        began = time.monotonic()
        comfy.execution.interrupt(blocker)
        for task in waiting:
            try:
                await task
            except TaskError as error:
                print(error)
        took = time.monotonic() - began
        print(f"{version}: {tasks} tasks end unheard: {len(comfy.requests)} requests in {took:.1f} s, {told(sizes)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--versions", nargs="+", default=["0.3.64", "0.33.0"])
    given = parser.parse_args()
    for each in given.versions:
        asyncio.run(measure(each, given.tasks, given.seconds))
