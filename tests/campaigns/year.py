"""Campaign of a year: the runner of a client folds the log of millions of tasks, and its memory must stay what it was.

python -m tests.campaigns.year [--tasks 10000000] [--remember 10000]

What a client of ComfyUI 0.3.64 recorded happens again and again, to new prompts in the same windows: completed, failed,
rejected, cancelled, each delivered. Prints the resident memory after each tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.replay.memory import LIVE, resident
from benchmarks.traces.generate import stencil
from comfy_fsm.core.policy import Policy
from comfy_fsm.live.engine.runner import Runner
from comfy_fsm.live.engine.steady_clock import SteadyClock
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.memory import MemoryLog


class Sample(NamedTuple):
    """After so many tasks."""

    tasks: int
    remembered: int
    resident: int
    """Bytes."""


class _Year(MemoryLog):
    """Log of a year, which is made as it is read."""

    def __init__(self, tasks: int, look: Callable[[int], None]) -> None:
        super().__init__()
        self._source = stencil(LIVE, same_windows=True)
        self._tasks = tasks
        self._look = look

    def read(self, after: int = 0) -> Iterator[LogRow]:
        position, once = 0, self._source.once.tasks
        for number in range(self._source.copies_for(tasks=self._tasks)):
            for line in self._source.copy(number).encode("utf-8", "surrogateescape").splitlines():
                position += 1
                yield LogRow(position, line, None)
            self._look((number + 1) * once)


def campaign(
    tasks: int, remember: int, *, parts: int = 10, tell: Callable[[Sample], None] = lambda sample: None
) -> list[Sample]:
    """Fold so many tasks, and return what is held after each part, which is also told at once."""

    async def run() -> list[Sample]:
        samples: list[Sample] = []

        def look(done: int) -> None:
            if done >= tasks * (len(samples) + 1) // parts:
                samples.append(Sample(done, len(runner.board.tasks), resident()))
                tell(samples[-1])

        policy = Policy(delivered=remember)
        runner = Runner([], _Year(tasks, look), policy, Redactor(), SteadyClock(time.time))
        await runner.load()
        return samples

    return asyncio.run(run())


def _print(sample: Sample) -> None:
    tasks, remembered, size = sample
    print(f"{tasks:>12,} tasks  {remembered:>7,} remembered  {size / 2**20:7.1f} MiB", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=10_000_000)
    parser.add_argument("--remember", type=int, default=Policy().delivered)
    given = parser.parse_args()
    samples = campaign(given.tasks, given.remember, tell=_print)
    return 0 if samples[-1].resident <= 1.1 * samples[0].resident else 1


if __name__ == "__main__":
    sys.exit(main())
