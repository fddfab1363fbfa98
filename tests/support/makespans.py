"""Makespans in numbers: of our scheduler, of simpler ways to place jobs, and of the best plan."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from itertools import product

from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.scheduling.scheduler import Scheduler, ServerLoad

Choose = Callable[[list[int], int], int]


def workload(seed: int, jobs: tuple[int, int]) -> tuple[list[float], list[float]]:
    """Sizes of jobs, of a few graphs, and the paces of four servers."""
    dice = random.Random(seed)
    graphs = [round(dice.uniform(1, 10), 2) for _ in range(4)]
    return [dice.choice(graphs) for _ in range(dice.randint(*jobs))], [round(dice.uniform(0.5, 3), 2) for _ in range(4)]


def dispatched(sizes: Sequence[float], paces: Sequence[float], *, known: bool, affinity: float = 1.1) -> float:
    """The makespan on servers that work off their queues; durations known beforehand, or learned by and by."""
    scheduler = Scheduler([ServerLoad(str(number)) for number in range(len(paces))], affinity=affinity)
    for size, (number, pace) in product(sorted(set(sizes)) if known else (), enumerate(paces)):
        scheduler.durations.learn(f"graph {size}", str(number), size * pace)
    for number, size in enumerate(sizes, 1):
        scheduler.wait(Job(str(number), 0.0, f"graph {size}", 0.0, number))
    now, free, running = 0.0, [0.0] * len(paces), list[tuple[float, str, int, float]]()
    while True:
        while (chosen := scheduler.next(now)) is not None:
            job, server = chosen[0], int(chosen[1].url)
            took = sizes[int(job.prompt_id) - 1] * paces[server]
            free[server] = max(free[server], now) + took
            heapq.heappush(running, (free[server], job.prompt_id, server, took))
        if not running:
            assert not len(scheduler)
            return now
        now, prompt_id, server, took = heapq.heappop(running)
        scheduler.end(prompt_id, str(server), now)
        scheduler.durations.learn(f"graph {sizes[int(prompt_id) - 1]}", str(server), took)


def simple(sizes: Sequence[float], paces: Sequence[float], choose: Choose) -> float:
    """The makespan of a client that posts everything at once, each to the server that `choose` names."""
    counts, loads = [0] * len(paces), [0.0] * len(paces)
    for number, size in enumerate(sizes):
        server = choose(counts, number)
        counts[server] += 1
        loads[server] += size * paces[server]
    return max(loads)


def round_robin(counts: list[int], number: int) -> int:
    return number % len(counts)


def least_queue(sizes: Sequence[float], paces: Sequence[float]) -> float:
    """The fewest open tasks, looked at anew whenever a task ends: two at a server, like ours."""
    now, open_ones, free, left = 0.0, [0] * len(paces), [0.0] * len(paces), list(sizes)
    running: list[tuple[float, int]] = []
    while left or running:
        while left and min(open_ones) < 2:
            server = open_ones.index(min(open_ones))
            open_ones[server] += 1
            free[server] = max(free[server], now) + left.pop(0) * paces[server]
            heapq.heappush(running, (free[server], server))
        now, server = heapq.heappop(running)
        open_ones[server] -= 1
    return now


def brute_force(sizes: Sequence[float], paces: Sequence[float]) -> float:
    """The best static assignment: every one of them that is not worse half-way already."""
    best, order = sum(sizes) * max(paces), sorted(sizes, reverse=True)

    def place(job: int, loads: list[float]) -> None:
        nonlocal best
        if job == len(order):
            best = min(best, max(loads))
            return
        for server, pace in enumerate(paces):
            after = loads[server] + order[job] * pace
            if after < best:
                place(job + 1, [*loads[:server], after, *loads[server + 1 :]])

    place(0, [0.0] * len(paces))
    return best
