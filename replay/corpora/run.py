"""Run over a corpus: chunks go to the workers, and their parts into the folder, whoever dies meanwhile."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager

from msgspec import Struct

from comfy_fsm.exits import Unavailable
from replay.corpora.chunks import Chunk, digest, split
from replay.corpora.executors import WorkerDied, Workers
from replay.corpora.folder import Folder, Manifest
from replay.corpora.judging import Part, machine
from replay.corpora.places import Unit
from replay.corpora.tables import TRACES

__all__ = ["Totals", "Watch", "run"]

Watch = Callable[[int, int], None]
"""Called with the traces that are done, and of how many."""
_DEATHS = 3
"""Deaths of a worker after which what it had in hand is held to be their cause."""


class Totals(Struct, frozen=True):
    """What a run came to, with what an earlier one had done of it."""

    traces: int
    tasks: int
    failed: int


def run(
    units: list[Unit], folder: Folder, start: Callable[[], AbstractContextManager[Workers]], watch: Watch | None
) -> Totals:
    """Judge all traces that the folder has no rows of yet."""
    chunks = list(split(units))
    folder.claim(Manifest(machine=machine(), traces=len(units), parts=len(chunks), digest=digest(units)))
    left = [chunk for chunk in chunks if not folder.is_done(chunk.number)]
    done = len(units) - sum(len(chunk.units) for chunk in left)
    if left:
        with start() as workers:
            for chunk, part in _Judgement(workers, left):
                folder.keep(chunk.number, part)
                done += len(chunk.units)
                if watch is not None:
                    watch(done, len(units))
    return _totals(folder)


class _Judgement:
    """The chunks on their way through the workers; yields each with its part, as they come."""

    def __init__(self, workers: Workers, chunks: Iterable[Chunk]) -> None:
        self._workers = workers
        self._waiting = deque(chunks)
        self._deaths: Counter[int] = Counter()

    def __iter__(self) -> Iterator[tuple[Chunk, Part]]:
        return self._all()

    def _all(self) -> Iterator[tuple[Chunk, Part]]:
        doing: dict[Future[Part], Chunk] = {}
        suspects: list[Chunk] = []
        while self._waiting or doing:
            while self._waiting and len(doing) < self._workers.room:
                chunk = self._waiting.popleft()
                doing[self._workers.submit(chunk, frozenset())] = chunk
            for future in wait(doing, return_when=FIRST_COMPLETED).done:
                chunk = doing.pop(future)
                try:
                    yield chunk, self._part(future)
                except WorkerDied:
                    self._deaths[chunk.number] += 1
                    (suspects if self._deaths[chunk.number] >= _DEATHS else self._waiting).append(chunk)
        for chunk in suspects:
            yield chunk, self._carefully(chunk)

    def _carefully(self, chunk: Chunk) -> Part:
        """Judge a chunk of which workers died: each trace alone, so that none is blamed for its neighbour."""
        fatal = frozenset(unit.url for unit in chunk.units if not self._survives(Chunk(chunk.number, (unit,))))
        try:
            return self._part(self._workers.submit(chunk, fatal))
        except WorkerDied:
            raise Unavailable(
                f"workers died again and again near {chunk.units[0].name}, though none of a single trace; "
                "are they short of memory? Run the same again: it goes on from there"
            ) from None

    def _survives(self, alone: Chunk) -> bool:
        for _ in range(_DEATHS):
            try:
                self._part(self._workers.submit(alone, frozenset()))
            except WorkerDied:
                continue
            return True
        return False

    def _part(self, future: Future[Part]) -> Part:
        part = self._workers.result(future)
        if part.machine != machine():
            raise Unavailable(
                f"a worker has comfy-fsm {part.machine}, and this process {machine()}; install the same on all hosts"
            )
        return part


def _totals(folder: Folder) -> Totals:
    traces = tasks = failed = 0
    for error, held in folder.rows(TRACES, ("error", "tasks")):
        traces, tasks, failed = traces + 1, tasks + (held or 0), failed + (error is not None)
    return Totals(traces, tasks, failed)
