"""Rows of a log and the chain of their checksums: how a row is sealed, and what is wrong with one that was read.

Each checksum covers the one before it, so a row that was changed, moved or removed shows, in whatever holds the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from hashlib import blake2b
from itertools import count, repeat
from struct import Struct
from typing import NamedTuple

__all__ = [
    "GENESIS",
    "MAX_LINE",
    "LogRow",
    "StoredRow",
    "Stretch",
    "Verification",
    "Verifier",
    "digest",
    "seal",
    "span",
    "summed",
]

MAX_LINE = 128 * 1024 * 1024  # a reader holds one; ComfyUI takes uploads up to 100 MiB, SQLite rows up to 1 GB
_STRETCH = 64 * 1024  # bytes of lines that a reader holds besides, verified and not yet handed on
_ROW_COST = 128  # what a row takes beside its line, so that empty ones are bounded too

_SIZE = 16  # bytes of a checksum; only one that is damaged has more or fewer
_blank = blake2b(digest_size=_SIZE)  # to copy it costs a fifth of making another
_packed = Struct(">q").pack
_link = Struct(f">{_SIZE}sq").pack  # such a checksum and the position after it, in one call

StoredRow = tuple[object, object, object]
"""Position, line and checksum as they were found, of whatever types."""


def seal(before: bytes, position: int, lines: Iterable[bytes]) -> list[bytes]:
    """Return the checksums of lines that stand one after another, the first of them at this position."""
    sums: list[bytes] = []
    for number, line in enumerate(lines, position):
        checksum = _blank.copy()
        checksum.update(before + _packed(number))
        checksum.update(line)
        before = checksum.digest()
        sums.append(before)
    return sums


def digest(before: bytes, position: int, line: bytes) -> bytes:
    """Return the checksum of a row. It covers the checksum of the row before, so a changed, moved or removed row
    shows.
    """
    return seal(before, position, [line])[0]


GENESIS = digest(b"comfy-fsm log", 0, b"")


class LogRow(NamedTuple):
    """Row of a log: verified, or with what is wrong with it.

    `line` is None if nothing could be read; position 0 stands for the log itself.
    """

    position: int
    line: bytes | None
    damage: str | None


_sound_row = partial(tuple.__new__, LogRow)  # takes half as long as a call of the class


class Stretch(NamedTuple):
    """Rows that stand one after another, all of them as they were written."""

    first: int
    lines: list[bytes]

    def rows(self) -> Iterator[LogRow]:
        return map(_sound_row, zip(count(self.first), self.lines, repeat(None)))


class Verification(NamedTuple):
    """Result of checking a whole log: `damaged` counts the places, `reason` describes the first."""

    rows: int
    damaged: int
    first_damaged: int | None
    reason: str | None


def summed(records: Iterable[LogRow | Stretch]) -> Verification:
    """Read rows to their end, and sum up what is wrong with them."""
    rows = damaged = 0
    first: LogRow | None = None
    for record in records:
        if isinstance(record, Stretch):
            rows += len(record.lines)
            continue
        rows += record.line is not None
        if record.damage is not None:
            damaged += 1
            first = first or record
    return Verification(rows, damaged, first.position if first else None, first.damage if first else None)


class Verifier:
    """Verifier of rows in their order: the position that must come next, and the checksums on which its row may
    build.
    """

    def __init__(self, after: int) -> None:
        self.next = max(after, 0) + 1
        self.last: int | None = None
        """The highest position ever given, where the store counts them."""
        self.strays = 0
        """Rows that came after a later one."""
        self._anchors: tuple[bytes, ...] = ()  # two where the row before is damaged, none where it is gone

    def begin(self, anchor: object) -> None:
        """Build on this checksum of the row before the first; on none where that row is gone."""
        self._anchors = (anchor,) if isinstance(anchor, bytes) else ()

    def leap(self, position: int) -> None:
        """Go on with this position; what is before it cannot be read."""
        self.next, self._anchors = position, ()

    def take(self, rows: Iterator[StoredRow], lines: list[bytes]) -> StoredRow | None:
        """Take the rows that come next and are as they were written, a stretch of some 64 KiB; returns the one that is
        not, which must be judged before more are taken.

        It appends as it goes, so that what came before a row that cannot be read is not lost.
        """
        if not self._anchors or len(self._anchors[0]) != _SIZE:
            return next(rows, None)
        here, before, size = self.next, self._anchors[0], 0
        try:
            for position, line, checksum in rows:
                if position != here or type(line) is not bytes or type(position) is not int:
                    return position, line, checksum
                proof = _blank.copy()  # what `seal` does, without a call for each row
                proof.update(_link(before, here))
                proof.update(line)
                expected = proof.digest()
                if checksum != expected:
                    return position, line, checksum
                lines.append(line)
                before = expected
                here += 1
                size += len(line) + _ROW_COST
                if size > _STRETCH:
                    break
        finally:
            if lines:
                self.next, self._anchors = here, (before,)
        return None

    def verified(self, rows: Iterator[StoredRow]) -> Iterator[LogRow]:
        """Yield the rows, each with what is wrong with it."""
        while True:
            sound = Stretch(self.next, [])
            odd = self.take(rows, sound.lines)
            yield from sound.rows()
            if odd is not None:
                yield from self.judge(*odd)
            elif not sound.lines:
                return

    def judge(self, position: object, line: object, checksum: object) -> Iterator[LogRow]:
        """Judge a row that does not simply fit: describe what is wrong, and continue the chain with what is left."""
        here, anchors = self.next, self._anchors
        body = bytes(line) if isinstance(line, bytes | bytearray) else None
        if type(position) is not int or type(line) is not bytes or type(checksum) is not bytes:
            stored = checksum if isinstance(checksum, bytes) else b""  # as a writer that goes on from this row has it
            self.next, self._anchors = (
                here + 1,
                (stored, *(digest(anchor, here, body or b"") for anchor in anchors[:1])),
            )
            yield LogRow(here, body, "its columns are not of the types that were written")
            return
        if position != here:
            if any(digest(anchor, here, line) == checksum for anchor in anchors):
                self.next, self._anchors = here + 1, (checksum,)
                yield LogRow(here, line, f"it stands under position {position}")
                return
            if position < here:
                self.strays += 1
                yield LogRow(position, line, f"it comes after position {here - 1}, out of order")
                return
            if self.last is not None and position > self.last:
                self.next, self._anchors = here + 1, (checksum,)
                yield LogRow(here, line, f"it stands under position {position}, which was never given")
                return
            yield LogRow(here, None, f"{span(here, position - 1)} missing")
        self.next, self._anchors = position + 1, (checksum,)
        if any(digest(anchor, position, line) == checksum for anchor in anchors):
            yield LogRow(position, line, None)
            return
        if position != here or not anchors:
            yield LogRow(position, line, "it cannot be proved, since the row before it is gone")
            return
        # Its line was changed, or its checksum was. The next row was built on what its checksum had been: that is the
        # stored one in the first case, the computed one in the second.
        self._anchors = (checksum, *(digest(anchor, position, line) for anchor in anchors[:1]))
        yield LogRow(position, line, "its checksum does not fit it and the row before")


def span(first: int, last: int) -> str:
    """Name rows as the subject of a sentence."""
    return f"row {first} is" if first == last else f"rows {first} to {last} are"
