"""Workers: processes of this machine, or those of a Dask cluster, behind one face. The one module that knows Dask.

Both are executors of `concurrent.futures`. What differs is how a worker that died is told, and who starts another.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from comfy_fsm.exits import Unavailable
from replay.corpora.worker import Part

__all__ = ["WorkerDied", "Workers", "dask", "processes"]

_AHEAD = 2
"""Chunks a worker has before it: one in hand, and one that is there when that is done."""
_MANY_AHEAD = 256
_PATIENCE = 60
"""Seconds in which one worker must have connected to the scheduler."""


class WorkerDied(Exception):
    """Death of a worker, which took a chunk with it."""


class Workers(Protocol):
    """Workers, each with one chunk at a time; `room` is how many chunks they should have before them."""

    room: int

    def submit(self, work: Callable[[], Part]) -> Future[Part]: ...

    def result(self, future: Future[Part]) -> Part:
        """Return what became of a chunk; raises WorkerDied."""


class _Processes:
    def __init__(self, jobs: int) -> None:
        self.room = jobs * _AHEAD
        self._jobs = jobs
        self.pool = self._started()

    def submit(self, work: Callable[[], Part]) -> Future[Part]:
        try:
            return self.pool.submit(work)
        except BrokenExecutor:  # one death breaks the whole pool: another takes its place
            self.pool.shutdown(wait=True)
            self.pool = self._started()
            return self.pool.submit(work)

    def result(self, future: Future[Part]) -> Part:
        try:
            return future.result()
        except BrokenExecutor as error:
            raise WorkerDied from error

    def _started(self) -> ProcessPoolExecutor:
        # a fork would copy the threads of pyarrow in whatever state they are
        fresh = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._jobs, mp_context=fresh, initializer=_begin)


class _Cluster:
    def __init__(self, executor: Executor, room: int, lost: type[Exception]) -> None:
        self.room = room
        self._executor = executor
        self._lost = lost

    def submit(self, work: Callable[[], Part]) -> Future[Part]:
        return self._executor.submit(work)

    def result(self, future: Future[Part]) -> Part:
        try:
            return future.result()
        except self._lost as error:
            raise WorkerDied from error


@contextmanager
def processes(jobs: int) -> Iterator[Workers]:
    """Start this many processes; they end with the block, and none is left behind."""
    workers = _Processes(jobs)
    try:
        yield workers
    finally:
        workers.pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def dask(address: str) -> Iterator[Workers]:
    """Take the workers of a Dask scheduler; raises Unavailable if it does not answer, or has none."""
    import distributed

    try:
        client: Any = distributed.Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"--dask {address}: no scheduler answers there ({str(error) or type(error).__name__}); start one by: "
            "dask scheduler"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError:
            raise Unavailable(
                f"--dask {address}: the scheduler has no worker; start one on each host by: dask worker {address} "
                "--nworkers auto --nthreads 1"
            ) from None
        room = max(_MANY_AHEAD, 2 * _AHEAD * sum(client.nthreads().values()))
        with client.get_executor(pure=False) as executor:
            yield _Cluster(executor, room, distributed.KilledWorker)


def _begin() -> None:
    """Ready a process of ours: Ctrl-C is for the one that started it, and what is loaded stays."""
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
