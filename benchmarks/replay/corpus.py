"""Benchmark of corpus runs: what a second worker gives, and what a small trace costs beyond its fold.

    python -m benchmarks.replay.corpus

A machine that others use too gives neither worker a processor of its own, so beside the ratio of the seconds stands
how much of its processors the run could have.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from comfy_fsm.report.player import replay
from replay.corpora import executors, places
from replay.corpora.chunks import Chunk, split
from replay.corpora.folder import Folder
from replay.corpora.run import run
from replay.corpora.work import work

RECORDINGS = Path(__file__).resolve().parents[2] / "fixtures" / "recordings"
SMALL = 4_000
"""Bytes, compressed, up to which a trace is small."""


def fill(folder: Path, count: int) -> None:
    small = sorted(path for path in RECORDINGS.glob("*/*.jsonl.gz") if path.stat().st_size <= SMALL)
    for number in range(count):
        (folder / f"{number:06}.jsonl.gz").symlink_to(small[number % len(small)])


def seconds(units: list[places.Unit], folder: Path, jobs: int) -> tuple[float, float]:
    """Seconds of a run, and CPU seconds of it and its workers."""
    began, before = time.perf_counter(), cpu()
    run("run", units, Folder(str(folder)), partial(executors.processes, jobs))
    return time.perf_counter() - began, cpu() - before


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def beyond_the_fold(chunk: Chunk, rounds: int) -> tuple[float, float]:
    """CPU milliseconds of a trace: replayed alone, and more for a row of it."""

    def spent(work: Callable[[], object]) -> float:
        began = time.process_time()
        work()
        return (time.process_time() - began) * 1000 / len(chunk.units)

    pairs = [
        (spent(lambda: [replay(unit.url) for unit in chunk.units]), spent(lambda: work("run", chunk)))
        for _ in range(rounds)
    ]
    return statistics.median(fold for fold, _ in pairs), statistics.median(whole - fold for fold, whole in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of one worker and two; the median counts")
    given = parser.parse_args()
    print(f"{os.cpu_count()} processors, {os.getloadavg()[0]:.1f} processes at work, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "traces")
        folder.mkdir()
        fill(folder, given.traces)
        units = places.find([str(folder)]).units
        ratios = []
        for number in range(given.rounds):
            (one, cpu_of_one), (two, cpu_of_two) = (seconds(units, Path(scratch, f"{number}-{j}"), j) for j in (1, 2))
            ratios.append(one / two)
            had = (
                f"one worker {one:.1f} s ({cpu_of_one / one:.2f} processors), two {two:.1f} s ({cpu_of_two / two:.2f})"
            )
            print(f"{given.traces:,} traces: {had}: {one / two:.2f} x; CPU {cpu_of_one:.1f} and {cpu_of_two:.1f} s")
        fold, more = beyond_the_fold(next(split(units, 16)), 3 * given.rounds)
    print(f"two workers: {statistics.median(ratios):.2f} x, the median of {given.rounds}")
    print(f"a small trace: {fold:.2f} ms of CPU for its fold, {more:.2f} ms beyond it")


if __name__ == "__main__":
    main()
