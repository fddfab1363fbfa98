"""The coordinating process of a huge corpus, simulated: `python -m benchmarks.replay.coordinator --traces 100000000`.

What is real: chunks, the course of a run, its folder with every part on the disk, and taking it up again. What is not:
traces are numbers that become units as they are asked for, and workers answer at once, each chunk with the same rows.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import overload

from replay.corpora.chunks import Chunk
from replay.corpora.discovery import Unit
from replay.corpora.executors import Workers
from replay.corpora.folder import Folder
from replay.corpora.run import run
from replay.corpora.worker import Part, work

ROOM = 256
"""Chunks before the workers of a cluster, as executors.py has them for up to 64 workers."""
MANY = 100_000_000
TRACE = Path(__file__).resolve().parents[2] / "fixtures" / "made" / "end-by-history.jsonl"


class Traces(Sequence[Unit]):
    """So many traces, none of which is held."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Unit: ...
    @overload
    def __getitem__(self, index: slice) -> list[Unit]: ...
    def __getitem__(self, index: int | slice) -> Unit | list[Unit]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self._count))]
        name, url = (f"s3://year/{index:012}.jsonl.gz" for _ in range(2))
        return Unit(name, url, 2_000, "2026-01-01T00:00:00")

    def __iter__(self) -> Iterator[Unit]:
        return map(self.__getitem__, range(self._count))


class AtOnce:
    """Workers that answer as they are asked, and count what they were given."""

    room = ROOM

    def __init__(self, part: Part, limit: int | None = None) -> None:
        self._part, self.limit = part, limit
        self.given = self.in_flight = self.most = 0
        self.memory: list[float] = []

    def submit(self, asked: partial[Part]) -> Future[Part]:
        if self.given == self.limit:
            raise KeyboardInterrupt  # the run is broken off here
        self.given += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        if self.given % 1_000 == 0:
            self.memory.append(memory())
        future: Future[Part] = Future()
        future.set_result(self._part)
        return future

    def result(self, future: Future[Part]) -> Part:
        self.in_flight -= 1
        return future.result()

    @contextmanager
    def start(self) -> Iterator[Workers]:
        yield self


def memory() -> float:
    """MB that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as held:
        return int(held.read().split()[1]) * resource.getpagesize() / 1e6


def spent(name: str, traces: Traces, folder: Folder, workers: AtOnce) -> float:
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        run("run", traces, folder, workers.start)
    except KeyboardInterrupt:
        name += ", broken off there"
    used, took = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{name}: {workers.given:,} chunks, {used:,.1f} s of CPU ({took:,.0f} s), {memory():.0f} MB, "
          f"{workers.most} chunks in flight at most")  # fmt: skip
    return used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where the parts are written, on the disk that is to be known")
    given = parser.parse_args()
    traces = Traces(given.traces)
    chunk = Chunk(0, tuple(Unit(f"s3://year/{n:012}.jsonl.gz", str(TRACE), 2_000) for n in range(1024)))
    part = work("run", chunk)
    size = sum(map(len, part.files.values()))
    print(f"{os.cpu_count()} processors, {os.getloadavg()[0]:.1f} processes at work, Python {sys.version.split()[0]}")
    print(f"{given.traces:,} traces; a part of 1,024 has {size / 1000:.0f} kB in {len(part.files)} files")
    with tempfile.TemporaryDirectory(dir=given.folder) as scratch:
        folder = Folder(f"{scratch}/run")
        whole = AtOnce(part)
        half = spent("the first half", traces, folder, AtOnce(part, given.traces // 1024 // 2))
        used = half + spent("the rest", traces, folder, whole)
        again = spent("once more, with nothing left", traces, folder, AtOnce(part))
        a_chunk = max(0.0, used - 2 * again) / folder.manifest.parts
        kept = (Path(scratch) / "run" / "corpus.json").stat().st_size
        if whole.memory:
            print(f"memory over the second half: {whole.memory[0]:.0f} to {whole.memory[-1]:.0f} MB")
    a_trace, name = again / given.traces, held()
    print(f"a trace: {a_trace * 1e6:.1f} us of CPU to go through it; a name that is held: {name:.0f} bytes")
    print(f"a chunk: {a_chunk * 1000:.2f} ms of CPU beyond that; what is kept of a run beside its parts: {kept} bytes")
    chunks = -(-MANY // 1024)
    files, size, minutes = chunks * len(part.files), chunks * size, (a_trace * MANY + a_chunk * chunks) / 60
    print(
        f"{MANY:,} traces, from that: {chunks:,} chunks, {files:,} files with {size / 1e9:.1f} GB, "
        f"{minutes:.0f} min of CPU, {name * MANY / 1e9:.0f} GB of names"
    )


def held() -> float:
    """Bytes of a unit in a list, as a run has them that did not read its traces from a generator."""
    tracemalloc.start()
    units = list(Traces(10_000))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / len(units)


if __name__ == "__main__":
    main()
