"""Benchmarks of everything that has a target, in one run: `python -m benchmarks [--only PART...]`.

Prints a table in Markdown, which docs/explanation/performance.md shows with the machine and the day. Each ratio is the
median of pairs taken in turns, so that a machine that slows down slows both sides. Free the machine for it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from benchmarks import processes
from benchmarks.live import listening
from benchmarks.log import append
from benchmarks.replay import corpus, memory
from benchmarks.traces import fleet, generate

_LONG = 20
"""Copies of the fleet with long queues."""


class Row(NamedTuple):
    measured: str
    figure: str
    target: str = ""


class Size(NamedTuple):
    """How much is measured."""

    rounds: int
    observations: int
    rows: int
    frames: int
    traces: int


def replay(size: Size) -> Iterator[Row]:
    """Replay two traces as whole processes, against the floor, and tell how CPU and memory grow."""
    with tempfile.TemporaryDirectory() as folder:
        million, tenth, queues = (Path(folder, name) for name in ("million.jsonl", "tenth.jsonl", "queues.jsonl"))
        source = generate.stencil()
        with million.open("wb") as file:
            count = generate.write(source, file, source.copies_for(size.observations))
        with million.open("rb") as whole, tenth.open("wb") as part:
            part.writelines(itertools.islice(whole, count.observations // 10))
        with queues.open("wb") as file:
            _long_queues(Path(folder, "once.jsonl"), file)
        for what, trace, target in (
            (f"replay of {count.observations:,} observations", million, "at most 1.7 × the floor"),
            ("replay of three servers with long queues", queues, ""),
        ):
            ours, floor, ratio = processes.ratio(
                lambda trace=trace: processes.replay(trace), lambda trace=trace: processes.floor(trace), size.rounds
            )
            yield Row(what, f"{ours:.2f} against {floor:.2f} s of CPU: {ratio:.2f} ×", target)
        yield Row(f"peak memory, {count.tasks:,} tasks", _mebibytes(processes.peak(million)), "at most 160 MiB")
        yield Row("peak memory, a tenth of it", _mebibytes(processes.peak(tenth)))
        empty = Path(folder, "empty.jsonl")
        empty.touch()
        begun = statistics.median(processes.replay(empty) for _ in range(size.rounds))
        a_line = processes.ratio(
            lambda: (processes.replay(million) - begun) / count.observations,
            lambda: (processes.replay(tenth) - begun) / (count.observations // 10),
            size.rounds,
        )
        yield Row("a line of the whole, against a line of its first tenth", f"{a_line[2]:.2f} ×", "linear")


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _long_queues(once: Path, file: IO[bytes]) -> None:
    fleet.write(once, fleet.TASKS)
    generate.write(generate.stencil(once), file, _LONG)


def start(size: Size) -> Iterator[Row]:
    """Start the command, and import the package."""
    for what, words, target in (
        ("`python -m replay --help`", ["-m", "replay", "--help"], "under 0.2 s"),
        ("`import comfy_fsm`", ["-c", "import comfy_fsm"], "under 0.08 s"),
    ):
        seconds = [processes.cpu([sys.executable, *words]) for _ in range(size.rounds + 1)][1:]
        yield Row(f"{what}, the whole process", f"{statistics.median(seconds):.2f} s of CPU", target)


def tasks(_: Size) -> Iterator[Row]:
    """Tell what a task takes in memory."""
    for what, make, settled in memory.KINDS:
        yield Row(f"memory of a task that is {what}", f"{memory.of_one(make, 10_000, settled) / 1000:.1f} kB")


_LOG_TARGETS = {
    "append, groups of 100": "at least 80 %",
    "append, 100 callers (bare: of 100)": "at least 70 %",
    "verify": "at least 40 %",
    "read back": "at least 40 %",
}


def log(size: Size) -> Iterator[Row]:
    """Append to a log in SQLite, against bare sqlite3, on the disk and in memory."""
    places: list[tuple[str, str | None]] = [("on disk", None)]
    if os.path.isdir("/dev/shm"):
        places.append(("in memory", "/dev/shm"))
    for where, directory in places:
        for what, _, ours, bare, ratio in append.measure(size.rows, directory, size.rounds):
            told = f"{ours:,.0f} against {bare:,.0f} rows a second: {ratio:.0%}"
            yield Row(f"SQLite {where}: {what}", told, _LOG_TARGETS.get(what, ""))


def postgres(size: Size) -> Iterator[Row]:
    """Append to a log in PostgreSQL, against bare psycopg at the same durability."""
    from benchmarks.log import postgres

    with postgres.served(None) as address:
        for what, _, ours, bare, ratio in postgres.measure(address, size.rows // 4, size.rounds):
            told = f"{ours:,.0f} against {bare:,.0f} rows a second: {ratio:.0%}"
            yield Row(f"PostgreSQL: {what}", told, "at least 60 %" if what.startswith("append") else "")


def live(size: Size) -> Iterator[Row]:
    """Listen to a server, against a bare loop."""
    found = listening.measure(size.frames, size.rounds)
    told = f"{found.ours:.1f} against {found.bare:.1f} µs of CPU: {found.ratio:.2f} ×"
    span = f" ({found.lowest:.2f} to {found.highest:.2f})"
    yield Row(f"live, a frame of {listening.RATE:,} a second", told + span, "at most 1.8 ×")
    delays = f"{found.median * 1e3:.1f} ms at the median, {found.p99 * 1e3:.1f} ms at the 99th percentile"
    yield Row("from a frame to its callback", delays, "99th percentile under 20 ms")


def traces(size: Size) -> Iterator[Row]:
    """Replay a corpus by one worker and by two."""
    found = corpus.measure(size.traces, size.rounds)
    yield Row(f"corpus of {size.traces:,} traces, two workers", f"{found.speed_up:.2f} ×", "at least 1.8 ×")
    yield Row("a small trace beyond its fold", f"{found.beyond * 1e3:.2f} ms of CPU", "under 2 ms")


PARTS: dict[str, Callable[[Size], Iterator[Row]]] = {
    "replay": replay, "start": start, "tasks": tasks, "log": log, "postgres": postgres, "live": live, "corpus": traces,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--rounds", type=int, default=5, help="pairs, of which the median counts")
    parser.add_argument("--observations", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=20_000, help="rows appended to a log")
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--traces", type=int, default=10_000)
    given = parser.parse_args()
    size = Size(given.rounds, given.observations, given.rows, given.frames, given.traces)
    load = f", {os.getloadavg()[0]:.1f} processes at work" if hasattr(os, "getloadavg") else ""
    print(f"{platform.machine()}, {os.cpu_count()} processors{load}, {platform.python_implementation()} ", end="")
    print(f"{platform.python_version()}; medians of {given.rounds} pairs\n")
    print("| measured | figure | target |\n|---|---|---|")
    for part in given.only:
        for measured, figure, target in PARTS[part](size):
            print(f"| {measured} | {figure} | {target} |", flush=True)


if __name__ == "__main__":
    main()
