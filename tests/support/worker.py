"""Client process for the chaos test: submits what is not submitted yet, and ends when all is settled.

python -m tests.support.worker LOG TASKS STEPS URL...: if STEPS is 1, somebody keeps setting the clock of this machine
"""

import asyncio
import random
import sys
import time

import msgspec

from comfy_fsm.core.registry.task import tag_value
from comfy_fsm.errors import ComfyFsmError
from comfy_fsm.live.client.client import Client
from tests.support.stage import QUICK, graph, outcome

WINDOWS = 6
POLICY = msgspec.structs.replace(QUICK, check_seconds=5.0, resubmits=1, post_seconds=1.5, absence_seconds=1.0)
"""With a reconcile interval that a busy machine does not stretch, and longer for a POST than it is ever late."""
STEP = 3_600.0  # seconds, forward or back


async def set_clock() -> None:
    """The wall clock steps, again and again, and is at last as wrong as it was at first."""
    now, step = time.time, [0.0]
    time.time = lambda: now() + step[0]
    while True:
        await asyncio.sleep(random.uniform(0.05, 0.3))
        step[0] = random.choice((-STEP, 0.0, STEP))


async def work(log: str, tasks: int, steps: bool, urls: list[str]) -> None:
    setting = asyncio.create_task(set_clock()) if steps else None
    await asyncio.sleep(0)
    async with Client(urls, log=log, policy=POLICY) as client:
        print("taken up", flush=True)
        windows = [client.window() for _ in range(WINDOWS)]
        waiting = [asyncio.create_task(outcome(task)) for task in client.tasks]

        async def submit(number: int) -> None:
            while True:
                try:
                    task = await windows[number % WINDOWS].submit(graph(number, seconds=0.002), tag=number)
                    break
                except ComfyFsmError:  # nothing was submitted: its server is away
                    await asyncio.sleep(0.05)
            await outcome(task)

        begun = {tag_value(task.tag) for task in client.board.tasks}  # not in the order of their numbers
        for number in (number for number in range(tasks) if number not in begun):
            waiting.append(asyncio.create_task(submit(number)))
            await asyncio.sleep(0.002)
        await asyncio.gather(*waiting)
    if setting is not None:
        setting.cancel()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1", sys.argv[4:]))
