"""Sources of a report: traces, logs, captures and lines in memory, opened by what they are and merged by time."""

from __future__ import annotations

import itertools
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from operator import pos

from msgspec import Struct

from comfy_fsm.captures.capture import Capture
from comfy_fsm.captures.reading import read_capture
from comfy_fsm.core.observations import AnyObservation, Damaged
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import NotALog
from comfy_fsm.log import opening, sqlite_file
from comfy_fsm.log.postgres.address import Address, is_address
from comfy_fsm.log.trace import Block, Packed, damage, open_packed, raw_lines, read_file, read_lines

__all__ = ["Lines", "Location", "Origins", "Source", "Sources", "lines"]

Source = str | os.PathLike[str]
_PACE = 4096


class Lines:
    """Lines from elsewhere, under a name, which can be read more than once."""

    def __init__(self, name: str, read: Callable[[], Iterator[bytes | str]]) -> None:
        self.name = name
        self._read = read

    def __iter__(self) -> Iterator[bytes | str]:
        return self._read()


class Location(Struct, frozen=True):
    """Line of a file, counted from 1, or position in a log."""

    line: int
    file: str


class Origins:
    """Map from positions in the merged order back to lines in their files."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._packed = array("Q")
        self.line: Callable[[int], int] = pos if len(names) == 1 else self._line
        """Line of a position; of a single source it is the position, and a report asks for it a million times."""

    @property
    def files(self) -> list[str]:
        return self._names

    def add(self, line: int, index: int) -> int:
        """Return the position of this line of that file in the merged order."""
        self._packed.append(line * len(self._names) + index)
        return len(self._packed)

    def _line(self, position: int) -> int:
        return self.locate(position).line

    def locate(self, position: int) -> Location:
        if len(self._names) == 1:
            return Location(position, self._names[0])
        if not 0 < position <= len(self._packed):
            return Location(0, self._names[0] if self._names else "")
        line, index = divmod(self._packed[position - 1], len(self._names))
        return Location(line, self._names[index])


class Sources:
    """Sources that are read together, once; to be closed."""

    def __init__(self, sources: Iterable[Source | Iterable[bytes | str]]) -> None:
        self._sources = list(itertools.chain.from_iterable(map(_each, sources)))
        self.names = [_name(source, index, len(self._sources)) for index, source in enumerate(self._sources)]
        self.origins = Origins(self.names)
        self.logs: list[str] = []
        self.notes: list[str] = []
        self.packed: list[Packed] = []
        self.size = 0
        """Bytes of the files, as far as they are known."""

    def blocks(self) -> Iterator[Block]:
        """Yield all entries: of one source by its own lines, of several by their positions in the merged order."""
        opened = [self._open(source, name) for source, name in zip(self._sources, self.names, strict=True)]
        yield from opened[0] if len(opened) == 1 else self._merge(opened)

    def close(self) -> None:
        for packed in self.packed:
            packed.close()

    def _open(self, source: Source | Iterable[bytes | str], name: str) -> Iterator[Block]:
        if not isinstance(source, str | os.PathLike):
            return read_lines(source, name)
        path = os.fspath(source)
        if path != "-" and not is_address(path):
            self.size += os.path.getsize(path)
        if _is_log(path):
            self.logs.append(name)
            return _read_log(path)
        packed = open_packed(path)
        self.packed.append(packed)
        if (capture := read_capture(packed, name)) is None:
            return read_file(packed, name)
        self.notes += [f"{name}: {note}" for note in capture.notes]
        return _captured(capture, name)

    def _merge(self, sources: list[Iterator[Block]]) -> Iterator[Block]:
        """Merge by time, each source in its own order; a line number becomes a position in the merged order."""
        flat = [
            ((p, o) for block in source for p, o in zip(block.positions, block.observations, strict=True))
            for source in sources
        ]
        heads = {index: head for index, source in enumerate(flat) if (head := next(source, None)) is not None}
        while heads:
            index = min(heads, key=lambda i: (heads[i][1].at, i))
            line, observation = heads.pop(index)
            damaged = int(isinstance(observation, Damaged))
            yield Block((self.origins.add(line, index),), (observation,), damaged)
            following = next(flat[index], None)
            if following is not None:
                heads[index] = following


def lines(source: Source, first: int = 1) -> Iterator[tuple[int, bytes | str]]:
    """Yield the lines of one source as they stand there, with their numbers, or the rows of a log with their positions;
    of a capture, those of the trace that it becomes. A text stands for what cannot be read.
    """
    path = os.fspath(source)
    if _is_log(path):
        with closing(opening.read(path, first - 1)) as rows:
            for row in rows:
                yield row.position, f"damaged: {row.damage}" if row.line is None else row.line
        return
    with closing(open_packed(path)) as packed:
        capture = read_capture(packed, path)
        found: Iterable[bytes | str] = (
            itertools.chain.from_iterable(block for block, _ in raw_lines(packed, path))
            if capture is None
            else capture.lines
        )
        yield from itertools.islice(enumerate(found, 1), max(first, 1) - 1, None)


def _each(source: Source | Iterable[bytes | str]) -> Iterable[Source | Iterable[bytes | str]]:
    """Yield all logs of a database, where its address names none; anything else is itself."""
    return opening.logs_of(source) if isinstance(source, str | os.PathLike) else [source]


def _is_log(path: str) -> bool:
    return is_address(path) or (path != "-" and not os.path.isdir(path) and sqlite_file.is_sqlite(path))


def _captured(capture: Capture, name: str) -> Iterator[Block]:
    """Yield the entries of what another tool recorded; positions count the lines of the trace that it becomes."""
    at, position = 0.0, 0
    for block in read_lines(capture.lines, name):
        at, position = block.observations[-1].at, block.positions[-1]
        yield block
    if capture.damage is not None:
        yield Block((position + 1,), (damage("damaged", capture.damage, at),), 1)


def _read_log(path: str) -> Iterator[Block]:
    """Yield the entries of a log; another process may be writing it."""
    if not opening.is_log(path):
        raise NotALog(f"{path}: an SQLite file, but no log of this project; name a trace or a log")
    at = 0.0
    records = opening.read(path)
    while some := list(itertools.islice(records, _PACE)):
        positions: list[int] = []
        observations: list[AnyObservation] = []
        for record in some:
            if record.line is not None:
                observation = codec.read(record.line, at)
                at = observation.at
                positions.append(record.position)
                observations.append(observation)
            if record.damage is not None:
                positions.append(record.position)
                observations.append(damage("damaged", record.damage, at))
        yield Block(positions, observations, sum(isinstance(o, Damaged) for o in observations))


def _name(source: Source | Iterable[bytes | str], index: int, many: int) -> str:
    if not isinstance(source, str | os.PathLike):
        return source.name if isinstance(source, Lines) else f"lines {index + 1}"
    return Address.of(source).short() if many > 1 and is_address(source) else opening.shown(source)
