"""Ingest: the one way into log and board, for frames, requests, answers and ticks; append first, then fold.

    put, write ─► queue ─► one append ─► committed ─► folded, in the order of positions ─► effects

What has not been committed has not happened. If the log refuses, nothing more is folded: known is what is in the log;
the servers still have the rest, and the next process resumes from both.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import force_setattr

from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.catalogue import Disk
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.counters import WAITS, Histogram
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import ClientClosed, LogError
from comfy_fsm.live.engine.responsiveness import paused, undisturbed
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.log.chain import LogRow

__all__ = ["Appends", "Ingest", "Noted", "refold"]

_logger = logging.getLogger(__name__)
_DROPPED = 1_000  # rows after which what they want is dropped: in a log of a year it would be millions
_TOLD = 3  # damaged places that are told one by one
_ROOM = 8 * 1024 * 1024
"""Bytes of lines that may wait for the disk before the sockets wait too: below the log's own limit, so that it never
is the log that makes a reader wait."""
_LINE_COST = 1024  # what a line that waits takes beside its bytes: so ROOM is 8,000 lines of tiny frames as well
_LONG = 64 * 1024  # bytes of a line from which on it is not scrubbed in the application's loop
_SLICE = 0.01  # seconds of folding in one turn of the loop, which is the application's loop, too


def refold(
    records: Iterable[LogRow], board: Board, path: str, folded: Callable[[int, AnyObservation], object] | None = None
) -> int:
    """Fold the rows of a log without performing effects, and return the position of the last row."""
    at, position, damaged = 0.0, 0, 0
    for count, record in enumerate(records):
        if not count % _DROPPED:
            board.drain()  # wanted by a process that is gone; `resume` wants it anew
        position = max(position, record.position)
        told: list[AnyObservation] = []
        if record.line is not None:
            told.append(codec.read(record.line, at))
            at = told[0].at
        if record.damage is not None:
            damaged += 1
            if damaged <= _TOLD:
                _logger.warning("%s, position %d: %s", path, record.position, record.damage)
            told.append(seen.Damaged(at=at, data=seen.DamageData("damaged", record.damage)))
        for observation in told:
            board.fold_observation(record.position, observation)
            if folded is not None:
                folded(record.position, observation)
    if damaged > _TOLD:
        _logger.warning("%s: %d more places are damaged; a replay names them all", path, damaged - _TOLD)
    board.drain()
    return position


class Appends(Protocol):
    """Log, as far as an ingest needs it."""

    async def append(self, *lines: bytes) -> int: ...


class Noted(Struct):
    """Observation as it is folded and delivered, complete; `kept` is its line for the log, empty before it is known."""

    line: bytes
    observation: AnyObservation
    image: bytes = b""
    folded: asyncio.Future[int] | None = None
    kept: bytes = b""


class Ingest:
    """Ingest of one log; `folded` is called with each entry after the board, `performed` once after each commit."""

    def __init__(
        self,
        log: Appends,
        board: Board,
        redactor: Redactor,
        folded: Callable[[int, Noted], None],
        committed: Callable[[], None],
    ) -> None:
        self._log = log
        self._board = board
        self._redactor = redactor
        self._folded = folded
        self._committed = committed
        self._waiting: list[Noted] = []
        self._taken: list[Noted] = []  # of the commit that runs
        self._weight = 0
        self._work = asyncio.Event()
        self._freed = asyncio.Event()
        self._failure: Exception | None = None
        self._closing = False
        self.commits = Histogram(WAITS)
        self._time = asyncio.get_running_loop().time
        self._writer = asyncio.create_task(self._write(), name="ingest")
        self._writer.add_done_callback(self._ended)

    def put(self, line: bytes, observation: AnyObservation, image: bytes = b"", kept: bytes = b"") -> bool:
        """Take a frame at once; returns False if the queue is full: await `room` before the next.

        `kept` is what `clean` returned for its line.
        """
        return self.put_all([Noted(line, observation, image, kept=kept)])

    def put_all(self, noted: Sequence[Noted]) -> bool:
        """Take frames that came together, in the same way."""
        self._take(noted, sum([len(each.image) for each in noted]))
        return self._weight < _ROOM

    async def clean(self, line: bytes) -> bytes:
        """Redact a long line in another thread, since that may take half a second a megabyte; empty for a short one,
        which is redacted when it is taken.
        """
        if len(line) <= _LONG:
            return b""
        return await asyncio.to_thread(undisturbed, partial(self._redactor.aside(), line))

    async def room(self) -> None:
        while self._weight >= _ROOM and self._failure is None:
            self._freed.clear()
            await self._freed.wait()

    async def write(self, observation: AnyObservation, logged: AnyObservation | None = None, extra: int = 0) -> int:
        """Take an observation of ours, and return its position once it is committed and folded.

        `logged` is what the log gets instead; `extra` is by how many bytes the complete one is larger.
        """
        folded: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        line = codec.encode(observation if logged is None else logged)
        noted = Noted(line, observation, folded=folded)
        try:
            noted.kept = await self.clean(line)
        except asyncio.CancelledError:
            self._take((noted,), extra)
            raise
        self._take((noted,), extra)
        return await folded

    def hides(self, text: str) -> bool:
        """Return whether the text contains a secret that must not be logged."""
        return self._redactor.hides(text)

    def shown(self, value: object) -> object:
        """Return JSON of the application without what must not be logged."""
        return self._redactor.value(value)

    def _take(self, noted: Sequence[Noted], extra: int) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise ClientClosed("the client was closed, so this was not written; open another on the same log")
        scrubbed = iter(self._redactor.scrub_all([each.line for each in noted if not each.kept]))
        mono = int(self._time() * 1e9)  # of a monotonic clock, by which silence is measured
        stamp = b'{"mono":%d,' % mono
        weight = extra + _LINE_COST * len(noted)
        for each in noted:
            kept, line = each.kept or next(scrubbed), each.line
            if kept is not line:
                weight += len(line)
                read = codec.read(kept, each.observation.at)
                if type(read) is not type(each.observation):  # nothing of it was kept: a replay could not fold it
                    each.observation = read
            # Texts are folded whole and logged without what may not be written down: no decision is made by them.
            each.kept = stamp + kept[1:] if len(kept) < _LONG else b"".join((stamp, memoryview(kept)[1:]))
            if kept is line:
                each.line = each.kept
            force_setattr(each.observation, "mono", mono)
            weight += len(each.kept)
        self._waiting += noted
        self._weight += weight
        self._work.set()

    async def _write(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
                continue
            self._taken, self._waiting, self._weight = self._waiting, [], 0
            self._freed.set()
            try:
                began = time.perf_counter()
                position = await self._log.append(*[noted.kept for noted in self._taken]) - len(self._taken)
                self.commits.observe(time.perf_counter() - began)
                await self._fold(position)
            except Exception as error:
                return self._fail(error)

    async def _fold(self, position: int) -> None:
        """Fold what was committed, in order, with a pause whenever it takes long; effects are performed after each
        part.
        """
        began = time.perf_counter()
        for noted in self._taken:
            position += 1
            with paused() if len(noted.line) > _LONG else nullcontext():
                self._board.fold_observation(position, noted.observation)
            self._folded(position, noted)
            if noted.folded is not None and not noted.folded.done():
                noted.folded.set_result(position)
            if time.perf_counter() - began > _SLICE:
                self._committed()
                await asyncio.sleep(0)
                began = time.perf_counter()
        self._committed()

    def _ended(self, writer: asyncio.Task[None]) -> None:
        if writer.cancelled():  # by whoever ends the whole loop: what still comes must not wait for it
            self._fail(ClientClosed("the client was ended, so this was not written; open another on its log"))

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._freed.set()
        for noted in self._taken + self._waiting:
            if noted.folded is not None and not noted.folded.done():
                noted.folded.set_exception(error)
        self._waiting = []

    @property
    def disk(self) -> Disk:
        """State of the log file; being closed by us is not a failure."""
        failed = self._failure is not None and not isinstance(self._failure, ClientClosed)
        return Disk(self.commits, len(self._waiting), self._weight, failed)

    @property
    def failure(self) -> Exception | None:
        return self._failure

    async def failed(self) -> LogError | Exception | None:
        """Wait for the end of recording, and return what went wrong; None if it was closed."""
        await asyncio.wait([self._writer])
        return self._failure

    async def close(self) -> None:
        """Write and fold what was taken; take nothing more."""
        self._closing = True
        self._work.set()
        await asyncio.wait([self._writer])  # if this is cancelled, it goes on and ends all the same
