"""Follower of a log that another process may be writing, and the scene to show of it. Only reads, never awaits.

The log may be damaged, grow, be replaced or disappear meanwhile. What was seen stays visible, with what is wrong now.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from hashlib import blake2b

from comfy_fsm.core.observations import Damaged, DamageData
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import LogDamaged, LogError
from comfy_fsm.log import opening
from comfy_fsm.log.chain import LogRow
from comfy_fsm.report import diagnosis_text
from comfy_fsm.watch.projection import Projection
from comfy_fsm.watch.snapshot import Scene
from comfy_fsm.watch.task_details import details

__all__ = ["PORTION", "Follower"]

_ASKING = 0.5
"""Seconds between two looks whether somebody writes the log."""
PORTION = 500
"""Rows between two looks at the clock: some milliseconds of folding."""


class Follower:
    """Follower of one log, from its beginning; each round continues where the one before stopped."""

    def __init__(self, path: str) -> None:
        self.path = opening.shown(path)
        self._log = opening.follow(path)
        self.trouble: str | None = None
        """Why the log cannot be read now; None while it can."""
        self.behind = False
        """There is more to read than the last round had time for."""
        self.written: bool | None = None
        """Whether a process writes the log; None where that cannot be told."""
        self.beginnings = 0
        """How often it began at the first row: a log that was replaced is another log."""
        self._asked = -_ASKING
        self._begin()

    def _begin(self) -> None:
        self.beginnings += 1
        self._projection = Projection()
        self._after, self._mark = 0, b""
        self._told = 0  # rows that are gone are told of under a position, too, and not told again
        self._at = 0.0

    def scene(self, now: float | None = None) -> Scene:
        """Return what to show at the time `now`."""
        view, name = self._projection.view(), self._log.title
        view = view.at_rest() if self.written is False else view
        return Scene(name, view, now, self.trouble, self.behind, self.written)

    def explain(self, number: int, width: int) -> Iterable[diagnosis_text.Line]:
        """Return the diagnosis of the task with this number, in lines of at most so many columns."""
        if (task := self._projection.task(number)) is None:
            return [[("This task is not kept here any more. To read it again: comfy-fsm diagnose ID LOG", "")]]
        return diagnosis_text.of_task(self._projection.board, task, self.path, width)

    def details(self, number: int) -> dict[str, object] | None:
        """Return the same as plain values; None if the task is not kept here any more."""
        task = self._projection.task(number)
        return None if task is None else details(self._projection.board, task, self.path)

    def open(self, seconds: float) -> None:
        """Run the first round; raises LogError or OSError if there is nothing to watch from the start."""
        self._ask()
        self._round(seconds)

    def close(self) -> None:
        """Let go of the log; what was seen can still be shown."""
        self._log.close()

    def _ask(self) -> None:
        """Check whether a process writes the log. This comes before reading, so that a writer's last entry is not taken
        for that of a process which is gone.
        """
        if time.monotonic() - self._asked >= _ASKING:
            self.written, self._asked = self._log.is_written(), time.monotonic()

    def advance(self, seconds: float) -> bool:
        """Read and fold what is new, for about this long; returns whether anything is new, problems included."""
        before = self.trouble, self._told, self.beginnings, self.written
        try:
            self._ask()
            self._round(seconds)
            self.trouble = None
        except (LogError, OSError) as error:
            self.trouble, self.behind = _say(error), False
        return before != (self.trouble, self._told, self.beginnings, self.written)

    def _round(self, seconds: float) -> None:
        """Continue after the last row; if that row has changed, the log was replaced, and is read from the start."""
        until = time.monotonic() + seconds
        with closing(self._log.read(max(self._after - 1, 0))) as records:
            same = not self._after or self._is_last(next(records, None))
            if same and self._read(records, until):
                return
        self._begin()
        with closing(self._log.read()) as records:
            self._read(records, until)

    def _is_last(self, record: LogRow | None) -> bool:
        return record is not None and record.position == self._after and _mark(record.line) == self._mark

    def _read(self, records: Generator[LogRow, None, None], until: float) -> bool:
        """Take what is new; false where a row is there that was told to be gone."""
        told, line, number = self._told, None, 0
        self.behind = False
        try:
            for number, record in enumerate(records, 1):
                if record.line is not None and self._after < record.position <= told:
                    return False
                if record.position > told or not record.position:
                    line = self._take(record) or line
                if not number % PORTION:
                    self._projection.rest()
                    if time.monotonic() > until:
                        self.behind = True
                        return True
            return True
        finally:
            self._projection.rest()
            if line is not None:
                self._mark = _mark(line)

    def _take(self, record: LogRow) -> bytes | None:
        """Fold one row, with what is wrong with it, as a replay does; returns its line."""
        position, line, damage = record
        if not position:
            raise LogDamaged(f"{self.path} is damaged as a whole, and no row of it was read: {damage}", 0)
        if line is not None:
            observation = codec.read(line, self._at)
            self._at = observation.at
            self._projection.take(position, observation, line)
            self._after = max(self._after, position)
        if damage is not None:
            self._projection.take(position, Damaged(at=self._at, data=DamageData("damaged", damage)))
        self._told = max(self._told, position)
        return line


def _mark(line: bytes | None) -> bytes:
    return blake2b(line or b"", digest_size=16).digest()


def _say(error: LogError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or 'cannot be read'}: {error.filename or 'the log'}"
    return str(error)
