"""What a second worker gives, and what a small trace costs beyond its fold: `python -m benchmarks.replay.corpus`.

It times the whole command, from its start to its end, one worker and two in turns. A machine that others use too gives
neither worker a processor of its own, so beside the ratio of the seconds stands how much of its processors a run had.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from comfy_fsm.report.player import replay

RECORDINGS = Path(__file__).resolve().parents[2] / "fixtures" / "recordings"
SMALL = 4_000
"""Bytes, compressed, up to which a trace is small."""


def fill(folder: Path, count: int) -> None:
    small = sorted(path for path in RECORDINGS.glob("*/*.jsonl.gz") if path.stat().st_size <= SMALL)
    for number in range(count):
        path = folder / f"{number:06}.jsonl.gz"
        if number < len(small):
            path.write_bytes(small[number].read_bytes())
        else:
            os.link(folder / f"{number % len(small):06}.jsonl.gz", path)


def timed(folder: Path, output: Path, jobs: int) -> tuple[float, float]:
    """Seconds of the command, and CPU seconds of it and its workers."""
    began, before = time.perf_counter(), cpu()
    words = [sys.executable, "-m", "replay", "corpus", "run", str(folder), "-o", str(output), "--jobs", str(jobs)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, cpu() - before


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def of_the_fold(folder: Path, count: int) -> float:
    """CPU seconds of a trace that is replayed alone."""
    began = time.process_time()
    for number in range(count):
        replay(folder / f"{number:06}.jsonl.gz")
    return (time.process_time() - began) / count


class Corpus(NamedTuple):
    """What a second worker gives, the share of the CPU that no worker used, and a trace's CPU beyond its fold."""

    speed_up: float
    idle: float
    beyond: float


def measure(traces: int, rounds: int, tell: Callable[[str], None] = lambda line: None) -> Corpus:
    """Time one worker and two in turns, over so many traces."""
    ratios, alone, beyond = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "traces")
        folder.mkdir()
        fill(folder, traces)
        for number in range(rounds):
            outputs = [Path(scratch, f"{number}-{jobs}") for jobs in (1, 2)]
            (one, of_one), (two, of_two) = (timed(folder, output, jobs) for jobs, output in enumerate(outputs, 1))
            _, again = timed(folder, outputs[0], 1)  # nothing is left to do: what no worker does
            fold = of_the_fold(folder, min(1_000, traces))
            ratios.append(one / two)
            alone.append(again / of_one)
            beyond.append(of_one / traces - fold)
            tell(
                f"one worker {one:.1f} s ({of_one / one:.2f} processors), two {two:.1f} s ({of_two / two:.2f}): "
                f"{one / two:.2f} x; CPU {of_one:.1f} and {of_two:.1f} s, of which no worker's {again:.1f} s; "
                f"a fold {fold * 1000:.2f} ms"
            )
    return Corpus(*map(statistics.median, (ratios, alone, beyond)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of one worker and two; the median counts")
    given = parser.parse_args()
    print(f"{os.cpu_count()} processors, {os.getloadavg()[0]:.1f} processes at work, Python {sys.version.split()[0]}")
    found = measure(given.traces, given.rounds, print)
    print(f"two workers: {found.speed_up:.2f} x, the median of {given.rounds} pairs; at least 1.8 is wanted")
    print(f"no worker's: {found.idle:.1%} of the CPU; under 5 % is wanted")
    print(f"a small trace: {found.beyond * 1000:.2f} ms of CPU beyond its fold; under 2 is wanted")


if __name__ == "__main__":
    main()
