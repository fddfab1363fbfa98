"""Dispatching process for the crash test: enqueues what is not enqueued yet, and ends when everything has settled.

python -m tests.support.dispatching LOG JOBS URL...
"""

import asyncio
import sys

import msgspec

from comfy_fsm.live.client.client import Client
from comfy_fsm.live.dispatch.dispatcher import Dispatcher
from comfy_fsm.log import reader
from tests.support.stage import QUICK, graph, outcome

POLICY = msgspec.structs.replace(
    QUICK, resubmits=1
)  # a POST that a kill cut off is posted again, once its absence is proved


async def work(log: str, jobs: int, urls: list[str]) -> None:
    async with (
        Client(urls, log=log, policy=POLICY) as client,
        Dispatcher(client, capacity=2, look_seconds=0.2, retry_seconds=(0.05, 0.5)) as dispatcher,
    ):
        left = [asyncio.create_task(outcome(task)) for task in client.tasks]
        begun = sum(1 for _, line, _ in reader.read(log) if b'"enqueue"' in (line or b""))
        print("taken up", flush=True)
        for number in range(begun, jobs):
            task = await dispatcher.enqueue(graph(number, seconds=0.03), priority=number % 3 * 10)
            left.append(asyncio.create_task(outcome(task)))
        print("enqueued", flush=True)
        await asyncio.gather(*left)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
