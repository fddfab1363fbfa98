"""Benchmark of the metrics: their cost per observation beside that of folding it.

    python -m benchmarks.replay.metrics

Two parts. `count` is told of every entry after the fold; the tally is kept by the fold itself, and costs what a fold
costs more with it than with one whose methods do nothing. Ratios are what to quote, as in `python -m benchmarks`.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.traces.generate import RECORDING, chunks, stencil
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.catalogue import Figures
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.counters import Counters, ServerCounters
from comfy_fsm.core.wire import codec


def observations(recording: Path, wanted: int) -> list[AnyObservation]:
    source = stencil(recording)
    lines = "".join(chunks(source, source.copies_for(wanted))).encode("utf-8", "surrogateescape").splitlines()
    return [codec.read(line) for line in lines]


def seconds_of(function: object, seen: list[AnyObservation]) -> float:
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    deque(map(function, range(1, len(seen) + 1), seen), maxlen=0)
    elapsed = time.perf_counter() - start
    gc.enable()
    return elapsed


@contextmanager
def without_tally() -> Iterator[None]:
    kept = {(kind, name): getattr(kind, name) for kind, name in
            ((Counters, "settle"), (Counters, "find"), (ServerCounters, "answer"))}  # fmt: skip
    for kind, name in kept:
        setattr(kind, name, lambda *_: None)
    yield
    for (kind, name), method in kept.items():
        setattr(kind, name, method)


def measure(seen: list[AnyObservation]) -> tuple[float, float, float, Figures]:
    """Seconds of the fold without its tally, of the fold, and of the count."""
    with without_tally():
        bare = seconds_of(Board().fold_observation, seen)
    board = Board()
    folding = seconds_of(board.fold_observation, seen)
    figures = Figures(board, board.addresses)
    return bare, folding, seconds_of(figures.count, seen), figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, nargs="?", default=RECORDING, help="a .jsonl or .jsonl.gz file")
    parser.add_argument("--observations", type=int, default=300_000, help="at least so many, by copies of it")
    parser.add_argument("--rounds", type=int, default=5, help="the median counts")
    given = parser.parse_args()
    seen = observations(given.recording, given.observations)
    rounds = [measure(seen) for _ in range(given.rounds)]
    each = 1e6 / len(seen)
    counting = statistics.median(count for _, _, count, _ in rounds) * each
    folding = statistics.median(fold for _, fold, _, _ in rounds) * each
    counters = statistics.median(fold - bare for bare, fold, _, _ in rounds) * each
    share = statistics.median((count + max(0.0, fold - bare)) / fold for bare, fold, count, _ in rounds)
    figures = rounds[-1][3]
    start = time.perf_counter()
    readings = figures.read(figures.board.now)
    reading = time.perf_counter() - start
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    print(f"{given.recording.name}: {len(seen):,} observations of {len(figures.board.tasks):,} tasks")
    print(f"count          {counting:6.3f} us an observation")
    print(f"tally          {counters:6.3f} us an observation, within the fold")
    print(f"fold           {folding:6.3f} us an observation; the figures are {share:.0%} of it")
    print(f"one scrape     {reading * 1e3:6.2f} ms for {sum(len(one.rows) for one in readings)} series")


if __name__ == "__main__":
    main()
