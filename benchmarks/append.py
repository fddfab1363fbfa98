"""Prints what the log costs against bare sqlite3 on the same kind of file: `python -m benchmarks.append`."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from comfy_fsm.live import rows
from comfy_fsm.live.log import Log

GROUPS = (1, 100, 1_000)
BARE = "INSERT INTO log (position, line, checksum) VALUES (NULL, ?, ?)"


class Figures(NamedTuple):
    """Rows a second, ours and bare, by size of group; rows a second read back, ours and bare."""

    groups: dict[int, tuple[float, float]]
    verified: float
    read: float
    selected: float

    def lines(self) -> Iterator[str]:
        for size, (ours, bare) in self.groups.items():
            both = f"{ours:>9,.0f} rows/s, bare sqlite3 {bare:>9,.0f}: {ours / bare:.0%}"
            yield f"append, FULL, groups of {size:>5,}: {both}"
        yield f"verify   {self.verified:>9,.0f} rows/s"
        yield f"read     {self.read:>9,.0f} rows/s, bare SELECT {self.selected:>9,.0f}: {self.read / self.selected:.0%}"


def sample(count: int) -> list[bytes]:
    """Lines as a recorder writes them, of about 330 bytes."""
    head = b'{"at":1795000000.%06d,"window":"91d27d320247ca2556da472ae94cccea","server":"http://127.0.0.1:8188",'
    data = b'"kind":"ws.message","data":{"type":"progress","data":{"value":%d,"max":20,"prompt_id":"ebfeed8b-7cce",'
    tail = b'"node":"2","text":"' + b"x" * 120 + b'"}}}'
    return [head % n + data % (n % 20) + tail for n in range(count)]


def grouped(lines: list[bytes], size: int) -> Iterator[list[bytes]]:
    left = iter(lines)
    while group := list(itertools.islice(left, size)):
        yield group


async def ours(path: Path, lines: list[bytes], size: int) -> float:
    async with await Log.open(path) as log:
        start = time.perf_counter()
        for group in grouped(lines, size):
            await log.append(*group)
        return len(lines) / (time.perf_counter() - start)


def bare(path: Path, lines: list[bytes], size: int) -> float:
    """The same rows, durably, with nothing around them: no chain, no lock, no await."""
    with sqlite3.connect(path, isolation_level=None) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(rows.SCHEMA)
        checksum = bytes(16)
        start = time.perf_counter()
        for group in grouped(lines, size):
            db.execute("BEGIN IMMEDIATE")
            db.executemany(BARE, [(line, checksum) for line in group])
            db.execute("COMMIT")
        rate = len(lines) / (time.perf_counter() - start)
    db.close()
    return rate


def rate(count: int, work: object) -> float:
    start = time.perf_counter()
    work()  # type: ignore[operator]
    return count / (time.perf_counter() - start)


def measure(count: int, folder: Path, rounds: int = 3) -> Figures:
    """Ours and bare in turns; of each pair of rates, the pair with the median ratio."""
    lines = sample(count)
    groups = {}
    for size in GROUPS:
        part = lines if size > 1 else lines[: max(1, count // 20)]
        pairs = []
        for turn in range(rounds):
            path = folder / f"ours-{size}-{turn}.log"
            pairs.append((asyncio.run(ours(path, part, size)), bare(folder / f"bare-{size}-{turn}.db", part, size)))
        groups[size] = sorted(pairs, key=lambda pair: pair[0] / pair[1])[rounds // 2]
    path = folder / f"ours-{GROUPS[-1]}-0.log"
    verified = statistics.median(rate(count, lambda: rows.verify(path)) for _ in range(rounds))
    read = statistics.median(rate(count, lambda: list(rows.read(path))) for _ in range(rounds))
    with sqlite3.connect(path) as db:
        selected = statistics.median(
            rate(count, lambda: db.execute("SELECT position, line, checksum FROM log").fetchall())
            for _ in range(rounds)
        )
    db.close()
    return Figures(groups, verified, read, selected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    with tempfile.TemporaryDirectory() as folder:
        for line in measure(parser.parse_args().rows, Path(folder)).lines():
            print(line)


if __name__ == "__main__":
    main()
