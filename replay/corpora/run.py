"""Run over a corpus: chunks go to the workers, and their parts into the folder, whoever dies meanwhile."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import partial

from msgspec import Struct

from comfy_fsm.exits import Unavailable
from replay.corpora.analyses.analysis import TRACES
from replay.corpora.analyses.catalogue import ANALYSES
from replay.corpora.chunks import Chunk, digest, split
from replay.corpora.discovery import Unit
from replay.corpora.executors import WorkerDied, Workers
from replay.corpora.folder import Folder, Manifest
from replay.corpora.worker import Part, machine, work

__all__ = ["Start", "Totals", "Watch", "run"]

Start = Callable[[], AbstractContextManager[Workers]]
Watch = Callable[[int, int], None]
"""Called with the traces that are done, and of how many."""
_DEATHS = 3
"""Deaths of a worker after which what it had in hand is held to be their cause."""

_WRITERS = 16
"""Parts that are written at the same time: a disk confirms them together, in about the time that one takes."""


class Totals(Struct, frozen=True):
    """Totals of a run, with what an earlier one had done of it: traces, and those that could not be replayed."""

    traces: int
    failed: int


def run(name: str, units: Sequence[Unit], folder: Folder, start: Start, watch: Watch | None = None) -> Totals:
    """Ask all traces that the folder has no rows of yet what this analysis asks.

    It goes through the traces once for each step, and holds no more chunks than the workers have before them.
    """
    fewest = ANALYSES[name].fewest
    parts = sum(1 for _ in split(units, fewest))
    folder.claim(Manifest(analysis=name, machine=machine(), traces=len(units), parts=parts, digest=digest(units)))
    there = folder.done
    done = sum(len(chunk.units) for chunk in split(units, fewest) if chunk.number in there) if there else 0
    if watch is not None:
        watch(done, len(units))
    if len(there) < parts:
        left = (chunk for chunk in split(units, fewest) if chunk.number not in there)
        with start() as workers:
            for chunk in _kept(_Course(workers, name, left), folder):
                done += len(chunk.units)
                if watch is not None:
                    watch(done, len(units))
    traces, failed, _ = folder.total(TRACES, "error")
    return Totals(traces, failed)


def _kept(course: Iterable[tuple[Chunk, Part]], folder: Folder) -> Iterator[Chunk]:
    """Write each part, and yield its chunk once it is on the disk: several at once, as a disk is slow to confirm."""
    writing: deque[tuple[Chunk, Future[None]]] = deque()
    with ThreadPoolExecutor(_WRITERS) as disk:
        for chunk, part in course:
            writing.append((chunk, disk.submit(folder.keep, chunk.number, part)))
            while len(writing) > _WRITERS or (writing and writing[0][1].done()):
                yield _confirmed(*writing.popleft())
        while writing:
            yield _confirmed(*writing.popleft())


def _confirmed(chunk: Chunk, written: Future[None]) -> Chunk:
    written.result()
    return chunk


class _Course:
    """Chunks on their way through the workers; yields each with its part, as they come."""

    def __init__(self, workers: Workers, name: str, chunks: Iterable[Chunk]) -> None:
        self._workers = workers
        self._work = partial(work, name)
        self._chunks = iter(chunks)
        self._again: deque[Chunk] = deque()
        self._deaths: Counter[int] = Counter()

    def __iter__(self) -> Iterator[tuple[Chunk, Part]]:
        doing: dict[Future[Part], Chunk] = {}
        suspects: list[Chunk] = []
        while self._fill(doing):
            for future in wait(doing, return_when=FIRST_COMPLETED).done:
                chunk = doing.pop(future)
                try:
                    yield chunk, self._part(future)
                except WorkerDied:
                    self._deaths[chunk.number] += 1
                    (suspects if self._deaths[chunk.number] >= _DEATHS else self._again).append(chunk)
        for chunk in suspects:
            yield chunk, self._carefully(chunk)

    def _fill(self, doing: dict[Future[Part], Chunk]) -> bool:
        """Give the workers as many chunks as they have room for; return whether they have any."""
        while len(doing) < self._workers.room:
            chunk = next(self._chunks, None) or (self._again.popleft() if self._again else None)
            if chunk is None:
                break
            doing[self._submit(chunk, frozenset())] = chunk
        return bool(doing)

    def _carefully(self, chunk: Chunk) -> Part:
        """Ask a chunk of which workers died: each trace alone, so that none is blamed for its neighbour."""
        fatal = frozenset(unit.url for unit in chunk.units if not self._survives(Chunk(chunk.number, (unit,))))
        try:
            return self._part(self._submit(chunk, fatal))
        except WorkerDied:
            raise Unavailable(
                f"workers died again and again near {chunk.units[0].name}, though none of a single trace; "
                "are they short of memory? Run the same again: it goes on from there"
            ) from None

    def _survives(self, alone: Chunk) -> bool:
        for _ in range(_DEATHS):
            try:
                self._part(self._submit(alone, frozenset()))
            except WorkerDied:
                continue
            return True
        return False

    def _submit(self, chunk: Chunk, fatal: frozenset[str]) -> Future[Part]:
        return self._workers.submit(partial(self._work, chunk, fatal))

    def _part(self, future: Future[Part]) -> Part:
        part = self._workers.result(future)
        if part.machine != machine():
            raise Unavailable(
                f"a worker has comfy-fsm {part.machine}, and this process {machine()}; install the same on all hosts"
            )
        return part
