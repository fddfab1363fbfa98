"""Benchmark of memory: what an open task takes, a settled one in a replay, and one that a client remembers.

    python -m benchmarks.replay.memory [--tasks 10000]

Each is the resident memory of a process that folded twice as many tasks less that of one that folded half of them, so
that what does not grow is not counted. Open tasks were posted and accepted and wait in the queue.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.traces.generate import ROOT, stencil
from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.wire import codec
from comfy_fsm.live.engine.runner import Runner
from comfy_fsm.live.engine.steady_clock import SteadyClock
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.memory import MemoryLog

LIVE = ROOT / "fixtures" / "recordings" / "0.3.64" / "live-client.jsonl.gz"
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def resident() -> int:
    """Return the bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE


def lines(tasks: int, *, settled: bool) -> Iterator[bytes]:
    """Yield the lines of so many tasks, or only the POST of each and its answer."""
    source = stencil(LIVE, same_windows=True)
    for number in range(source.copies_for(tasks=tasks)):
        posts: set[str] = set()
        for line in source.copy(number).encode("utf-8", "surrogateescape").splitlines():
            entry = codec.read(line)
            if isinstance(entry, seen.Request) and entry.data.path == "/prompt":
                posts.add(entry.data.id)
                yield line
            elif settled or (isinstance(entry, seen.Response) and entry.data.id in posts and entry.data.status == 200):
                yield line


def folded(tasks: int, settled: bool) -> Board:
    """Fold as a replay does."""
    board = Board()
    for position, line in enumerate(lines(tasks, settled=settled), 1):
        board.fold_observation(position, codec.read(line))
        board.discard()
    return board


def loaded(tasks: int, settled: bool) -> Runner:
    """Fold as a client does that opens the log of an earlier one."""

    class Lines(MemoryLog):
        def read(self, after: int = 0) -> Iterator[LogRow]:
            yield from (LogRow(n, line, None) for n, line in enumerate(lines(tasks, settled=settled), 1))

    async def load() -> Runner:
        runner = Runner([], Lines(), Policy(delivered=0), Redactor(), SteadyClock(time.time))
        await runner.load()
        return runner

    return asyncio.run(load())


def _resident(make: Callable[[int, bool], object], tasks: int, settled: bool) -> int:
    kept = make(tasks, settled)
    gc.collect()
    size = resident()
    del kept
    return size


def of_one(make: Callable[[int, bool], object], tasks: int, settled: bool) -> float:
    """Return the bytes that one task more takes; each side in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        half, twice = (pool.apply(_resident, (make, tasks * factor // 2, settled)) for factor in (1, 4))
    return (twice - half) / (2 * tasks - tasks // 2)


KINDS: tuple[tuple[str, Callable[[int, bool], object], bool], ...] = (
    ("open", folded, False),
    ("settled, in a replay", folded, True),
    ("settled and remembered, in a client", loaded, True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    tasks = parser.parse_args().tasks
    for what, make, settled in KINDS:
        print(f"{what:<38}{of_one(make, tasks, settled) / 1000:6.1f} kB a task")


if __name__ == "__main__":
    main()
