"""Reads a trace, a log or a capture whole, each line with what it says: for those who leave out or change lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing

from msgspec import Struct

from comfy_fsm.captures.reading import read_capture
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import TraceError
from comfy_fsm.log import opening, sqlite_file
from comfy_fsm.log.postgres.address import is_address
from comfy_fsm.log.trace import Block, Packed, open_packed, raw_lines, read_lines

__all__ = ["MAX_HELD", "Line", "Lines", "read", "retold"]

MAX_HELD = 256 * 1024 * 1024
"""Bytes of lines that are held: they take several times as much memory, once they are read."""


class Line(Struct, frozen=True, eq=False):
    """Line of a trace: its number, its text, and the observation that it is."""

    number: int
    text: bytes
    observation: AnyObservation


class Lines(Struct, frozen=True):
    """Lines of one source, all but blank ones and comments, and what of it cannot be held as a line."""

    name: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all lines."""
        return sum(len(line.text) + 1 for line in self.lines)


def read(source: str) -> Lines:
    """Read a source whole; raises TraceError or LogError if it cannot be read, or is too large to be held."""
    notes: list[str] = []
    if is_address(source) or (source != "-" and not os.path.isdir(source) and sqlite_file.is_sqlite(source)):
        numbered = _of_log(source, notes)
    else:
        with closing(open_packed(source)) as packed:
            numbered = _of_file(packed, source, notes)
    name = opening.shown(source)
    return Lines(name, tuple(_observed(numbered, name)), tuple(notes))


def retold(line: Line, text: bytes) -> Line | None:
    """Return the line with another text; None if that is no observation."""
    try:
        return Line(line.number, text, codec.parse(text))
    except codec.Unreadable:
        return None


def _of_log(path: str, notes: list[str]) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    held, name = 0, opening.shown(path)
    with closing(opening.read(path)) as rows:
        for row in rows:
            if row.damage is not None:
                notes.append(f"{name}:{row.position}: damaged, which no line of a trace can show: {row.damage}")
            if row.line is not None:
                found.append((row.position, row.line))
                held = _counted(name, held, row.line)
    return found


def _of_file(packed: Packed, name: str, notes: list[str]) -> list[tuple[int, bytes]]:
    if (capture := read_capture(packed, name)) is not None:
        notes += [f"{name}: {note}" for note in capture.notes]
        return list(enumerate(capture.lines, 1))
    found: list[tuple[int, bytes]] = []
    number = held = 0
    for block, _ in raw_lines(packed, name):
        for text in block:
            number += 1
            if isinstance(text, str):
                notes.append(f"{name}:{number}: left out: {text}")
            elif text.strip() and not text.lstrip().startswith(b"#"):
                found.append((number, text))
                held = _counted(name, held, text)
    return found


def _counted(name: str, held: int, text: bytes) -> int:
    held += len(text)
    if held > MAX_HELD:
        raise TraceError(
            f"{name}: more than {MAX_HELD >> 20} MB of lines, which are not held in memory; "
            "cut out the part that matters first, by its lines"
        )
    return held


def _observed(numbered: list[tuple[int, bytes]], name: str) -> Iterator[Line]:
    """Pair each text with its observation: what has none is told as undecodable, as a replay tells it."""
    observations = _first_of_each(read_lines((text for _, text in numbered), name))
    for index, (number, text) in enumerate(numbered, 1):
        yield Line(number, text, observations[index])


def _first_of_each(blocks: Iterable[Block]) -> dict[int, AnyObservation]:
    found: dict[int, AnyObservation] = {}
    for block in blocks:
        for position, observation in zip(block.positions, block.observations, strict=True):
            found.setdefault(position, observation)
    return found
