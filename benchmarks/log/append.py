"""Benchmark of the log: our appends against bare sqlite3 with the same rows in the same kind of file, and reading
back.

    python -m benchmarks.log.append [--rows 20000] [--directory DIR]

Both sides commit with WAL and FULL, in pairs in one run, so that a disk that slows down slows both. The ratio is the
median of those of the pairs, and the rates are the medians of each side. The bare side gets its checksums for nothing.
Every append is by one caller who waits for each, but for the row that says otherwise.
"""

import argparse
import asyncio
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple, Self

from comfy_fsm.log import reader as rows
from comfy_fsm.log.opening import open_log
from comfy_fsm.log.sqlite_file import SCHEMA

GROUPS = (1, 100, 1000)
COMMITS = 2000  # per round at most: 20,000 commits of single rows would take most of the time and tell no more
ROUNDS = 5
CALLERS = 100


class Figure(NamedTuple):
    """Rows a second, ours and bare."""

    what: str
    rows: int
    ours: float
    bare: float
    ratio: float

    @classmethod
    def of(cls, what: str, rows: int, pairs: Iterable[tuple[float, float]]) -> Self:
        """From the seconds that both sides took, pair by pair."""
        taken = list(pairs)
        ours, bare = (rows / median(side) for side in zip(*taken, strict=True))
        return cls(what, rows, ours, bare, median(theirs / mine for mine, theirs in taken))


class Figures(list[Figure]):
    def lines(self) -> Iterator[str]:
        """For people to read, a figure a line."""
        yield f"{'rows a second':<36}{'rows':>10}{'ours':>12}{'bare':>12}{'ratio':>8}"
        for what, count, ours, bare, ratio in self:
            yield f"{what:<36}{count:>10,}{ours:>12,.0f}{bare:>12,.0f}{ratio:>8.2f}"


def some_lines(count: int) -> list[bytes]:
    """Trace lines as a busy server makes them: 250 to 400 bytes."""
    lines = []
    for n in range(count):
        prompt = hashlib.blake2b(b"%d" % (n // 50), digest_size=16).hexdigest()
        data = {"type": "progress", "data": {"value": n % 50, "max": 50, "prompt_id": prompt, "node": "3" * (n % 150)}}
        line = {"at": 1.7e9 + n / 7, "kind": "ws.message", "window": prompt[:8], "server": "http://127.0.0.1:8188"}
        line |= {"data": data, "seq": n, "conn": 1}
        lines.append(json.dumps(line).encode())
    return lines


@contextmanager
def bare_file(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(SCHEMA)
        yield db


def append_bare(path: Path, lines: list[bytes], group: int) -> float:
    table = [(position, line, b"c" * 16) for position, line in enumerate(lines, 1)]
    with bare_file(path) as db:
        start = perf_counter()
        for at in range(0, len(table), group):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO log (position, line, checksum) VALUES (?, ?, ?)", table[at : at + group])
            db.execute("COMMIT")
        return perf_counter() - start


def append_ours(log: str | Path, lines: list[bytes], group: int) -> float:
    async def run() -> float:
        async with await open_log(log) as opened:
            start = perf_counter()
            for at in range(0, len(lines), group):
                await opened.append(*lines[at : at + group])
            return perf_counter() - start

    return asyncio.run(run())


def append_at_once(log: str | Path, lines: list[bytes], callers: int) -> float:
    """Many callers with a line each, as a runner with many windows has them: they share commits."""

    async def run() -> float:
        async with await open_log(log) as opened:

            async def caller(own: list[bytes]) -> None:
                for line in own:
                    await opened.append(line)

            start = perf_counter()
            await asyncio.gather(*(caller(lines[n::callers]) for n in range(callers)))
            return perf_counter() - start

    return asyncio.run(run())


def select_bare(path: Path) -> float:
    with closing(sqlite3.connect(path)) as db:
        start = perf_counter()
        for _ in db.execute("SELECT position, line, checksum FROM log ORDER BY position"):
            pass
        return perf_counter() - start


def read_back(path: Path) -> float:
    start = perf_counter()
    for _ in rows.read(path):
        pass
    return perf_counter() - start


def verify(path: Path) -> float:
    start = perf_counter()
    assert rows.verify(path).damaged == 0
    return perf_counter() - start


def measure(count: int = 20_000, directory: Path | str | None = None, rounds: int = ROUNDS) -> Figures:
    """The figures, in `directory` or where the system keeps temporary files: the disk is what is measured."""
    lines = some_lines(count)
    figures = Figures()
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        place = Path(scratch)
        for group in GROUPS:
            some = lines[: COMMITS * group]
            pairs = (
                (
                    append_ours(place / f"ours-{group}-{n}", some, group),
                    append_bare(place / f"bare-{group}-{n}", some, group),
                )
                for n in range(rounds)
            )
            figures.append(Figure.of(f"append, groups of {group:,}", len(some), pairs))
        pairs = (
            (
                append_at_once(place / f"shared-{n}", lines, CALLERS),
                append_bare(place / f"beside-{n}", lines, CALLERS),
            )
            for n in range(rounds)
        )
        figures.append(Figure.of(f"append, {CALLERS} callers (bare: of {CALLERS})", count, pairs))
        log = place / "shared-0"  # which is whole, whatever the groups above were cut to
        figures.append(Figure.of("verify", count, ((verify(log), select_bare(log)) for _ in range(rounds))))
        figures.append(Figure.of("read back", count, ((read_back(log), select_bare(log)) for _ in range(rounds))))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="What the log costs beside bare sqlite3.")
    parser.add_argument("--rows", type=int, default=20_000, help="rows per figure (default: 20000)")
    parser.add_argument("--directory", help="where to write: the disk to measure (default: the system's temporary one)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="pairs, of which the median counts")
    chosen = parser.parse_args()
    print(*measure(chosen.rows, chosen.directory, chosen.rounds).lines(), sep="\n")


if __name__ == "__main__":
    main()
