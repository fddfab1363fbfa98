"""Benchmark of replay and log, each against its floor, in one run: `python -m benchmarks.measure TRACE`.

Ratios are what to quote: these machines are noisy, so floor and replay take turns and the median of the pairs counts.
"""

from __future__ import annotations

import argparse
import gc
import io
import itertools
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.log import append
from comfy_fsm.core.fold.board import Board
from comfy_fsm.log.trace import open_packed, read_file
from comfy_fsm.report import text
from replay import replay


def timed(work: Callable[[str], None], path: str) -> float:
    gc.collect()
    start = time.perf_counter()
    work(path)
    return time.perf_counter() - start


def floor(path: str) -> None:
    decode = msgspec.json.decode
    with open(path, "rb") as lines:
        for line in lines:
            decode(line)


def whole(path: str) -> None:
    """Decode, fold, findings and the text report: what the command does, which collects no garbage either."""
    gc.disable()
    text.draw(replay(path), io.StringIO(), color=False, story=False)
    gc.enable()


def folding(path: str) -> float:
    """Seconds of the fold alone, its observations decoded beforehand, a block at a time."""
    board, seconds = Board(), 0.0
    gc.disable()
    for positions, observations, _ in read_file(open_packed(path), path):
        start = time.perf_counter()
        deque(map(board.fold_observation, positions, observations), maxlen=0)
        seconds += time.perf_counter() - start
        board.drain()
    gc.enable()
    return seconds


def head_of(path: str, lines: int, folder: str) -> str:
    shorter = os.path.join(folder, "tenth.jsonl")
    with open(path, "rb") as source, open(shorter, "wb") as target:
        target.writelines(itertools.islice(source, lines))
    return shorter


def peak_megabytes(path: str) -> float:
    """Of the command as a process of its own."""
    subprocess.run([sys.executable, "-m", "replay", path, "--no-color"], stdout=subprocess.DEVNULL, check=False)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def measure_replay(path: str, rounds: int) -> None:
    with open(path, "rb") as lines:
        count = sum(1 for _ in lines)
    print(f"{path}: {count:,} lines, {os.path.getsize(path) / 1e6:,.0f} MB")
    pairs = [(timed(floor, path), timed(whole, path)) for _ in range(rounds)]
    low, high = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(replayed / least for least, replayed in pairs)
    print(f"floor (msgspec.json.decode of each line)  {low / count * 1e6:6.2f} us a line")
    print(f"replay (decode, fold, findings, report)   {high / count * 1e6:6.2f} us a line   {ratio:.2f} x the floor")
    print(f"folding alone                             {folding(path) / count * 1e6:6.2f} us a line")
    with tempfile.TemporaryDirectory() as folder:
        tenth = head_of(path, count // 10, folder)
        growth = statistics.median(
            (timed(whole, path) / count) / (timed(whole, tenth) / (count // 10)) for _ in range(rounds)
        )
    print(f"a line of the whole against a line of its first tenth: {growth:.2f} x")
    print(f"peak memory of the command: {peak_megabytes(path):.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", help="a long trace, as benchmarks.traces.generate makes")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of floor and replay; the median counts")
    parser.add_argument("--rows", type=int, default=50_000, help="rows appended to the log")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    measure_replay(given.trace, given.rounds)
    with tempfile.TemporaryDirectory() as folder:
        for line in append.measure(given.rows, Path(folder)).lines():
            print(line)


if __name__ == "__main__":
    main()
