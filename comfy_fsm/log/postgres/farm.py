"""Logs of a database as one: followed while others write them, merged by time, with positions of their own.

Of one log the positions are its own. Of several they count the rows in the order in which they were first read: each
log keeps its order, and what the fold concludes does not depend on how they interleave.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress

import msgspec

from comfy_fsm.errors import NotALog
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.reader import Reader

__all__ = ["Farm"]

_TRUST = 1.0
"""Seconds for which silence is believed: a notification may be lost, and another release may send none."""
_NEVER = float("-inf")
_KEPT = 2_000
"""Rows kept for a follower who asks again for what it had last."""


class _Timed(msgspec.Struct):
    at: float = 0.0


_timed = msgspec.json.Decoder(_Timed).decode


class Farm:
    """Logs of a database, or the one that the address names, for one follower."""

    def __init__(self, address: Address) -> None:
        self.title = address.name or dict(address.settings).get("dbname", "") or str(address)
        self._single = address.name
        self._reader = Reader(address)
        self._looked = _NEVER
        self._began = False
        self._forget()

    def _forget(self) -> None:
        self._after: dict[str, int] = {}
        self._position = 0
        self._recent: deque[LogRow] = deque(maxlen=_KEPT)

    def is_written(self) -> bool:
        """Return whether a session holds any of them now."""
        return self._reader.is_written()

    def wait(self) -> None:
        """Wait until a writer tells of a commit, or a second."""
        if self._reader.wait(_TRUST):
            self._looked = _NEVER

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        """Yield the rows after a position: those of the last reading that are asked for again, then what is new."""
        kept = list(self._recent)
        if kept and kept[0].position > after + 1:  # from further back than what is kept: another reading
            self._forget()
            kept = []
        if not kept and self._single is not None:
            self._after[self._single] = max(after, 0)
        yield from (row for row in kept if row.position > after)
        if self._has_news():
            yield from (row for row in self._new() if row.position > after)

    def _has_news(self) -> bool:
        """Return whether to look: somebody told of a commit, or nobody did for a while, or the last look was broken
        off.
        """
        now = time.monotonic()
        if now - self._looked < _TRUST and not (self._began and self._reader.wait(0.0)):
            return False
        self._began = True
        return True

    def _new(self) -> Iterator[LogRow]:
        looking = time.monotonic()
        self._looked = _NEVER  # until this look has come to its end
        names = [self._single] if self._single is not None else self._reader.names()
        for name, row in self._merged({name: self._rows(name) for name in names}):
            self._after[name] = max(self._after.get(name, 0), row.position)
            self._position = self._position + 1 if self._single is None else row.position
            known = row._replace(position=self._position)
            self._recent.append(known)
            yield known
        self._looked = looking

    def _rows(self, name: str) -> Iterator[LogRow]:
        try:
            yield from self._reader.read(self._after.get(name, 0), name)
        except NotALog:
            if self._single is not None:
                raise  # of several, one that was dropped meanwhile has no more rows

    def _merged(self, logs: dict[str, Iterator[LogRow]]) -> Iterator[tuple[str, LogRow]]:
        """Merge by time, each log in its own order."""
        if len(logs) == 1:
            for name, rows in logs.items():
                yield from ((name, row) for row in rows)
            return
        times = dict.fromkeys(logs, 0.0)
        heads: dict[str, LogRow] = {}
        for name, rows in logs.items():
            _advance(name, rows, heads, times)
        while heads:
            name = min(heads, key=lambda each: (times[each], each))
            yield name, heads.pop(name)
            _advance(name, logs[name], heads, times)

    def close(self) -> None:
        self._reader.close()


def _advance(name: str, rows: Iterator[LogRow], heads: dict[str, LogRow], times: dict[str, float]) -> None:
    row = next(rows, None)
    if row is None:
        return
    heads[name] = row
    with suppress(msgspec.DecodeError, UnicodeDecodeError):  # else it comes with the one before it
        times[name] = _timed(row.line or b"{}").at or times[name]
