"""The client process of the chaos test: submits what is not submitted yet, and ends when all is settled.

python -m tests.live.worker LOG TASKS URL...
"""

import asyncio
import sys

import msgspec

from comfy_fsm.errors import ComfyFsmError
from comfy_fsm.live.client import Client
from tests.live.stage import QUICK, graph, outcome

WINDOWS = 6
POLICY = msgspec.structs.replace(QUICK, check_seconds=5.0)
"""With a reconcile interval that a busy machine does not stretch."""


async def work(log: str, tasks: int, urls: list[str]) -> None:
    async with Client(urls, log=log, policy=POLICY) as client:
        print("taken up", flush=True)
        windows = [client.window() for _ in range(WINDOWS)]
        waiting = [asyncio.create_task(outcome(task)) for task in client.tasks]

        async def submit(number: int) -> None:
            while True:
                try:
                    task = await windows[number % WINDOWS].submit(graph(number, seconds=0.002))
                    break
                except ComfyFsmError:  # nothing was submitted: its server is away
                    await asyncio.sleep(0.05)
            await outcome(task)

        begun = len(client.board.tasks)
        for number in range(begun, tasks):
            waiting.append(asyncio.create_task(submit(number)))
            await asyncio.sleep(0.002)
        await asyncio.gather(*waiting)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
