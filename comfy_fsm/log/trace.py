"""Reader of traces, as files or streams: plain, gzip or zstandard, recognised by their first bytes.

What a file can do to its reader is bounded here: the length of a line, and how far a file may unpack.
"""

from __future__ import annotations

import errno
import gzip
import itertools
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, BinaryIO, NamedTuple, cast

import msgspec
import zstandard

from comfy_fsm.core.observations import AnyObservation, DamageCode, Damaged, DamageData, Header
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import NotATrace, TraceError, TraceVersionError

__all__ = [
    "LINE_FREE",
    "MAX_RATIO",
    "Block",
    "Packed",
    "blocks",
    "damage",
    "most_known",
    "open_packed",
    "opening",
    "raw_lines",
    "read_file",
    "read_lines",
]

_VERSION = 1
_MAX_LINE = 64 * 1024 * 1024
"""Bytes of the longest line that is read: twice the largest frame seen in the field; longer ones are passed over."""
MAX_RATIO = 400
"""How many times its own size a file may unpack to, once past MAX_FREE: recordings reach 60."""
_MAX_FREE = 64 * 1024 * 1024
LINE_FREE = 4 * 1024 * 1024
"""Bytes of a line that a compressed file of any size may hold; a longer one, up to MAX_RATIO times what was read."""
_HEAD_BYTES = 4096
_HEAD_LINES = 20
"""A file none of whose first lines is an observation is no trace."""
_MAX_WINDOW = 128 * 1024 * 1024
_UNITS = ((1e11, 1e14, 1e3), (1e14, 1e17, 1e6), (1e17, 1e20, 1e9))
"""From which number on, and below which, a time is surely of how small a part of a second."""
_BLOCK = 64 * 1024
_GZIP, _ZSTD, _SQLITE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"SQLite format 3\0"
_UNPACKING = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


class Block(NamedTuple):
    """Sequence of entries; a position is a line number, counted from 1, or the position in a log."""

    positions: Sequence[int]
    observations: Sequence[AnyObservation]
    damaged: int = 0
    """How many of these stand for places that could not be read."""


def most_known(packed: int) -> int:
    """Return how many tasks, windows and servers a compressed file of this size may name.

    Each of them takes thousands of bytes in memory, while real ids and times cannot be packed into fewer bytes than
    these: so a file that is small on disk stays small in memory.
    """
    return 10_000 + packed // 64


class Packed:
    """Bytes of a file on their way to the decompressor, counted for the progress bar and against zip bombs."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.head = b""
        while len(self.head) < _HEAD_BYTES and (part := raw.read(_HEAD_BYTES - len(self.head))):
            self.head += part
        self._unread = self.head
        self.count = 0
        self.is_compressed = self.head.startswith((_GZIP, _ZSTD))

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end."""
        if self._unread:
            block, self._unread = self._unread[:size], self._unread[size:]
        else:
            block = self._raw.read(size)
        self.count += len(block)
        return block

    @property
    def longest_line(self) -> int:
        """Largest length of a line, in bytes, given what was read so far."""
        return min(_MAX_LINE, max(LINE_FREE, self.count * MAX_RATIO)) if self.is_compressed else _MAX_LINE

    def close(self) -> None:
        if self._raw is not sys.stdin.buffer:
            self._raw.close()


def open_packed(path: str) -> Packed:
    """Open the file at `path`, or standard input if it is `-`."""
    if path == "-":
        return Packed(sys.stdin.buffer)
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "is a directory, not a trace or a log", path)
    return Packed(open(path, "rb", buffering=0))


def read_file(packed: Packed, name: str) -> Iterator[Block]:
    """Yield the entries of one file or stream, in order; raises TraceError if it is not a trace at all."""
    return _with_head(_observe(raw_lines(packed, name)), name)


def raw_lines(packed: Packed, name: str) -> Iterator[tuple[list[bytes | str], bool]]:
    """Yield the lines of one file or stream, each as bytes or as a description of its damage; False marks a last line
    without an end.
    """
    return _split(blocks(packed, name), packed)


def opening(packed: Packed) -> bytes:
    """Return the first bytes of what is in it, which tell what it is; empty where they cannot be unpacked."""
    try:
        if packed.head.startswith(_GZIP):
            return zlib.decompressobj(wbits=31).decompress(packed.head, 4 * _HEAD_BYTES)
        if packed.head.startswith(_ZSTD):
            unpacking = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(packed.head)
            return unpacking.read(4 * _HEAD_BYTES)
    except _UNPACKING:
        return b""
    return packed.head


def blocks(packed: Packed, name: str) -> Iterator[bytes | str]:
    """Blocks as they are unpacked; a text, as the last one, says how the file is damaged."""
    stream: Packed | gzip.GzipFile | zstandard.ZstdDecompressionReader = packed
    if packed.head.startswith(_GZIP):
        stream = gzip.GzipFile(fileobj=cast("IO[bytes]", packed))
    elif packed.head.startswith(_ZSTD):
        stream = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(
            cast("IO[bytes]", packed), read_across_frames=True
        )
    elif packed.head.startswith(_SQLITE):
        raise NotATrace(f"{name}: a log cannot be read from a stream; name the file")
    return _blocks(stream, packed, name)


def read_lines(lines: Iterable[bytes | str], name: str = "lines") -> Iterator[Block]:
    """Yield the entries in lines that are in memory."""
    raw = (line.encode("utf-8", "surrogatepass") if isinstance(line, str) else bytes(line) for line in lines)
    return _with_head(_observe(([line.rstrip(b"\r\n")], True) for line in raw), name)


def _blocks(
    stream: Packed | gzip.GzipFile | zstandard.ZstdDecompressionReader, packed: Packed, name: str
) -> Iterator[bytes | str]:
    """Yield blocks as they are decompressed; a text, as the last one, describes how the file is damaged."""
    total = 0
    # gzip's read1 gives what it has before it finds the rest missing; its read gives nothing then
    read = stream.read1 if isinstance(stream, gzip.GzipFile) else stream.read
    try:
        while block := read(_BLOCK):
            total += len(block)
            if total > _MAX_FREE and total > packed.count * MAX_RATIO:
                raise TraceError(
                    f"{name}: unpacks to more than {MAX_RATIO} times its size and was not read further; "
                    "a recording never does: look at what made this file"
                )
            yield block
    except _UNPACKING as error:
        yield f"the compressed data ends or breaks here: {error}"


def _split(blocks: Iterator[bytes | str], packed: Packed) -> Iterator[tuple[list[bytes | str], bool]]:
    """Yield the lines of each block, each as bytes or as a description of its damage; False marks a line without an
    end.
    """
    skipped = longest = 0
    rest = bytearray()  # which grows in place: a long line is not copied with each of its blocks
    for block in blocks:
        if isinstance(block, str):
            yield [block], False
            return
        first, *more = block.split(b"\n")
        if skipped or len(rest) + len(first) > (longest := packed.longest_line):
            skipped += len(rest) + len(first)
            rest.clear()
        else:
            rest += first
        if more:
            last = more.pop()
            yield [_overlong(skipped, longest) if skipped else bytes(rest), *more], True
            rest, skipped = bytearray(last), 0
    if skipped or rest:
        yield [_overlong(skipped, longest) if skipped else bytes(rest)], False


def _overlong(length: int, longest: int) -> str:
    return f"a line of {length} bytes, longer than {longest}"


def _observe(blocks: Iterable[tuple[list[bytes | str], bool]]) -> Iterator[Block]:
    """Yield the observations block by block, and line by line only where the fast reader refuses one, which is rare."""
    number, at, told = 0, 0.0, False
    for lines, ended in blocks:
        positions: Sequence[int] = range(number + 1, number + len(lines) + 1)
        damaged = 0
        number += len(lines)
        try:
            observations = list(map(codec.typed, lines))
        except codec.SLOW:
            read = [
                (n, o) for n, line in zip(positions, lines, strict=True) if (o := _read(line, ended, at)) is not None
            ]
            positions, observations = [n for n, _ in read], [o for _, o in read]
            damaged = sum(isinstance(o, Damaged) for o in observations)
        if observations:
            if max(observations[0].at, observations[-1].at) >= _UNITS[0][0]:
                observations = list(map(_in_seconds, observations))
                if not told:  # beside the first of them
                    told, damaged = True, damaged + 1
                    unit = damage("time-unit", "times are in a smaller unit than seconds", observations[0].at)
                    positions, observations = [positions[0], *positions], [observations[0], unit, *observations[1:]]
            at = observations[-1].at
            yield Block(positions, observations, damaged)


def _in_seconds(o: AnyObservation) -> AnyObservation:
    """Convert times in smaller units: seconds have ten digits until the year 2286, milliseconds three more."""
    for least, most, unit in _UNITS:
        if least <= o.at < most:
            changed: AnyObservation = msgspec.structs.replace(o, at=o.at / unit)
            return changed
    return o


def _read(line: bytes | str, ended: bool, at: float) -> AnyObservation | None:
    """Read a line that the fast reader refused: blank lines, comments, odd JSON (P20), and damage."""
    if isinstance(line, str):
        return damage("undecodable" if ended else "damaged", line, at)
    if not line.strip() or line.lstrip().startswith(b"#"):
        return None
    try:
        return codec.parse(line)
    except codec.Unreadable as error:
        if ended:
            return damage("undecodable", str(error), at)
        return damage("damaged", f"truncated: the last line does not end, and cannot be read: {error}", at)


def damage(code: DamageCode, why: str, at: float) -> Damaged:
    """Return the observation that stands for a place that could not be read."""
    return Damaged(at=at, data=DamageData(code, why))


def _with_head(blocks: Iterator[Block], name: str) -> Iterator[Block]:
    """Yield the same blocks, once the first lines show that this is a trace, and of which version."""
    head: list[Block] = []
    broken: list[tuple[int, str]] = []
    for block in blocks:
        head.append(block)
        for position, observation in zip(block.positions, block.observations, strict=True):
            if not isinstance(observation, Damaged):
                _check_version(position, observation, name)
                return itertools.chain(head, blocks)
            broken.append((position, observation.data.why))
            if len(broken) >= _HEAD_LINES:
                break
        if len(broken) >= _HEAD_LINES:
            break
    for position, why in broken[:1]:
        raise NotATrace(
            f"{name}:{position}: not a trace: {why}; a trace is JSON Lines, each with `at`, `kind` and `data`", position
        )
    return iter(())


def _check_version(position: int, observation: AnyObservation, name: str) -> None:
    if isinstance(observation, Header) and observation.data.version != _VERSION:
        raise TraceVersionError(
            f"{name}:{position}: trace version {observation.data.version}, while this reads version {_VERSION}; "
            "use the release that wrote it, or a newer one of this",
            position,
        )
