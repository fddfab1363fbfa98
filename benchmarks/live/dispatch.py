"""Benchmark of the dispatcher: the cost of placing a job, and the duration of a batch, against simpler strategies.

    python -m benchmarks.live.dispatch [--jobs 10000] [--seeds 200]

Placing is measured with all jobs waiting; makespans in numbers, over seeded workloads, and once on four real fake
servers of different speed, whose durations nobody knows beforehand.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.scheduling.scheduler import Scheduler, ServerLoad
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.live.dispatch.dispatcher import Dispatcher
from comfy_fsm.testing import FakeComfy, picture
from tests.support.makespans import brute_force, dispatched, least_queue, round_robin, simple, workload

STEPS = (0.02, 0.04, 0.08, 0.16)  # seconds a node takes at each of the real ones: two nodes a picture
PICTURES = 60


def placing(jobs: int, graphs: int) -> float:
    """Microseconds from `next` to `end` for each job, while all of them wait."""
    scheduler = Scheduler([ServerLoad(str(number)) for number in range(4)])
    for number in range(jobs):
        scheduler.wait(Job(f"job {number}", float(number % 3), f"graph {number % graphs}", float(number), number))
    ended: list[tuple[Job, ServerLoad]] = []
    began, now = time.perf_counter(), 0.0
    while len(scheduler):
        while (chosen := scheduler.next(now)) is not None:
            ended.append(chosen)
        now += 1.0
        for job, place in ended:
            scheduler.end(job.prompt_id, place.url, now)
            scheduler.durations.learn(job.graph, place.url, 1.0 + int(place.url))
        ended.clear()
    return (time.perf_counter() - began) / jobs * 1e6


def virtual(seeds: int) -> None:
    small = [workload(seed, (4, 9)) for seed in range(seeds)]
    for affinity in (1.0, 1.1):
        ratios = [
            dispatched(sizes, paces, known=True, affinity=affinity) / brute_force(sizes, paces)
            for sizes, paces in small
        ]
        print(
            f"small cases, durations known, affinity {affinity}: {statistics.mean(ratios):.3f} x the best static "
            f"assignment, at worst {max(ratios):.3f} x ({seeds} seeds)"
        )
    large = [workload(seed, (40, 200)) for seed in range(seeds)]
    for known in (True, False):
        ours = [dispatched(sizes, paces, known=known) for sizes, paces in large]
        told = "durations known" if known else "durations learned on the way"
        for name, theirs in (
            ("round-robin", [simple(sizes, paces, round_robin) for sizes, paces in large]),
            ("least queue", [least_queue(sizes, paces) for sizes, paces in large]),
        ):
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            ahead = sum(ratio < 1 for ratio in ratios)
            print(
                f"40 to 200 jobs, {told}: {statistics.mean(ratios):.2f} x {name}, at worst {max(ratios):.2f} x, "
                f"ahead in {ahead} of {seeds}"
            )


async def real() -> None:
    """The same pictures three times, each on fresh servers."""

    async def by_dispatcher(client: Client, dispatcher: Dispatcher | None) -> list[TaskHandle]:
        assert dispatcher is not None
        return [await dispatcher.enqueue(picture(number)) for number in range(PICTURES)]

    async def by_turns(client: Client, dispatcher: Dispatcher | None) -> list[TaskHandle]:
        window, servers = client.window(), client.servers
        return [await window.submit(picture(n), server=servers[n % len(servers)]) for n in range(PICTURES)]

    async def by_fewest(client: Client, dispatcher: Dispatcher | None) -> list[TaskHandle]:
        """What `submit` does by itself, two at a server at once."""
        window, room = client.window(), asyncio.Semaphore(2 * len(STEPS))
        tasks: list[TaskHandle] = []

        async def one(number: int) -> None:
            async with room:
                tasks.append(await window.submit(picture(number)))
                await tasks[-1]

        await asyncio.gather(*(one(number) for number in range(PICTURES)))
        return tasks

    took = {name: await _run(way) for name, way in [
        ("dispatcher", by_dispatcher), ("round-robin", by_turns), ("least queue", by_fewest)
    ]}  # fmt: skip
    bound = PICTURES * 2 / sum(1 / step for step in STEPS)
    for name, seconds in took.items():
        print(
            f"four real fakes, {PICTURES} pictures, {name}: {seconds:.2f} s, {seconds / bound:.2f} x what is possible"
        )
    print(f"dispatcher: {took['dispatcher'] / took['round-robin']:.2f} x round-robin, "
          f"{took['dispatcher'] / took['least queue']:.2f} x least queue")  # fmt: skip


async def _run(way: Callable[[Client, Dispatcher | None], Awaitable[list[TaskHandle]]]) -> float:
    fakes = [FakeComfy(step_seconds=step) for step in STEPS]
    for fake in fakes:
        await fake.start()
    try:
        async with Client([fake.url for fake in fakes]) as client, Dispatcher(client, affinity=1.0) as dispatcher:
            for fake in fakes:  # the sockets are open before the clock begins
                await (await client.window().submit(picture(9_999), server=fake.url))
            began = time.perf_counter()
            await asyncio.gather(*await way(client, dispatcher))
            return time.perf_counter() - began
    finally:
        for fake in fakes:
            await fake.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description="The cost and the worth of placing.")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=200)
    given = parser.parse_args()
    for graphs in (1, 20, 1_000):
        runs = sorted(placing(given.jobs, graphs) for _ in range(3))
        print(f"placing, {given.jobs} waiting, {graphs} graphs: {runs[1]:.1f} us a job")
    virtual(given.seeds)
    asyncio.run(real())


if __name__ == "__main__":
    main()
