"""Trace files and streams to entries: plain, gzip or zstandard, told apart by their first bytes. Streams; holds no trace.

What a file can do to its reader has its bound here: the length of a line, how far it may unpack.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

import zstandard

from comfy_fsm.core import wire
from comfy_fsm.core.observations import AnyObservation, Header
from comfy_fsm.errors import NotATrace, TraceError, TraceVersionError

VERSION = 1
MAX_LINE = 64 * 1024 * 1024
"""Bytes of the longest line that is read: twice the largest frame seen in the field; longer ones are passed over."""
MAX_RATIO = 400
"""How many times its own size a file may unpack to, once past MAX_FREE: recordings reach 60."""
MAX_FREE = 256 * 1024 * 1024
HEAD_LINES = 20
"""A file none of whose first lines is an observation is no trace."""
_BLOCK = 1024 * 1024
_GZIP, _ZSTD, _SQLITE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"SQLite format 3\0"
_UNPACKING = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError)


class Line(NamedTuple):
    """An observation with its line number, counted from 1, or (instead) what is damaged there."""

    number: int
    observation: AnyObservation | None
    damage: str = ""


class Packed(io.RawIOBase):
    """The bytes of a file on their way to the unpacker, counted: for progress, and against bombs."""

    def __init__(self, raw: BinaryIO, head: bytes = b"") -> None:
        self._raw, self._head = raw, head
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        data = self._head or self._raw.read(min(len(view), _BLOCK))
        data, self._head = data[: len(view)], data[len(view) :] if self._head else b""
        view[: len(data)] = data
        self.count += len(data)
        return len(data)


def is_sqlite(path: str) -> bool:
    """Whether these are the bytes of a database, and so perhaps of a log of ours."""
    with open(path, "rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def open_packed(path: str) -> Packed:
    """The file at `path`, or standard input where it is `-`."""
    if path == "-":
        return Packed(sys.stdin.buffer)
    if os.path.isdir(path):
        raise IsADirectoryError(path)
    return Packed(open(path, "rb", buffering=0))  # noqa: SIM115 - closed with the process or by the collector


def read_file(packed: Packed, name: str) -> Iterator[Line]:
    """The lines of one source, in their order; raises TraceError where it is no trace at all."""
    buffered = io.BufferedReader(packed, _BLOCK)
    magic = buffered.peek(len(_SQLITE))
    stream: io.BufferedIOBase | zstandard.ZstdDecompressionReader = buffered
    if magic.startswith(_GZIP):
        stream = gzip.GzipFile(fileobj=buffered)
    elif magic.startswith(_ZSTD):
        stream = zstandard.ZstdDecompressor(max_window_size=128 * 1024 * 1024).stream_reader(
            buffered, read_across_frames=True
        )
    elif magic.startswith(_SQLITE):
        raise NotATrace(f"{name}: an SQLite file cannot be read from a stream; name the file")
    return _observe(_split(_blocks(stream, packed, name)), name)


def read_lines(lines: Iterable[bytes | str], name: str = "lines") -> Iterator[Line]:
    """The same from lines in memory."""
    raw = (line.encode("utf-8", "surrogatepass") if isinstance(line, str) else bytes(line) for line in lines)
    return _observe(((number, line.rstrip(b"\r\n"), True) for number, line in enumerate(raw, 1)), name)


def _blocks(stream: object, packed: Packed, name: str) -> Iterator[bytes | str]:
    """Blocks as they are unpacked; a text, as the last one, says how the file is damaged."""
    total = 0
    read1 = getattr(stream, "read1", None) or stream.read  # type: ignore[attr-defined]
    try:
        while block := read1(_BLOCK):
            total += len(block)
            if total > MAX_FREE and total > packed.count * MAX_RATIO:
                raise TraceError(
                    f"{name}: unpacks to more than {MAX_RATIO} times its size and was not read further; "
                    "a recording never does: look at what made this file"
                )
            yield block
    except _UNPACKING as error:
        yield f"the compressed data ends or breaks here: {error}"


def _split(blocks: Iterator[bytes | str]) -> Iterator[tuple[int, bytes | str, bool]]:
    """Number, line (or what is wrong with it) and whether a newline ended it."""
    number, rest, skipped = 0, b"", 0
    for block in blocks:
        if isinstance(block, str):
            number += 1
            yield number, block, False
            return
        first, *others = block.split(b"\n")
        if skipped or len(rest) + len(first) > MAX_LINE:
            skipped += len(rest) + len(first)
            rest = b""
        else:
            rest += first
        for line in others:
            number += 1
            yield number, f"line of {skipped} bytes: longer than {MAX_LINE}" if skipped else rest, True
            rest, skipped = line, 0
    if skipped:
        yield number + 1, f"line of {skipped} bytes: longer than {MAX_LINE}", False
    elif rest:
        yield number + 1, rest, False


def _observe(lines: Iterable[tuple[int, bytes | str, bool]], name: str) -> Iterator[Line]:
    parse = wire.parse
    at, good = 0.0, False
    bad: list[tuple[int, str]] = []
    held: list[Line] = []
    for number, line, ended in lines:
        try:
            if isinstance(line, str):
                raise wire.Unreadable(line)
            observation = parse(line)
        except wire.Unreadable as error:
            if isinstance(line, bytes) and (not line.strip() or line.lstrip().startswith(b"#")):
                continue
            broken = _broken(number, line, ended, at, str(error))
            if good:
                yield broken
                continue
            bad.append((number, str(error)))
            held.append(broken)
            if len(bad) >= HEAD_LINES:
                break
            continue
        if not good:
            good = True
            yield from held
        at = observation.at
        if type(observation) is Header and observation.data.version != VERSION:
            raise TraceVersionError(
                f"{name}:{number}: trace version {observation.data.version}, while this reads version {VERSION}; "
                "use the release that wrote it, or a newer one of this",
                number,
            )
        yield Line(number, observation)
    if bad and not good:
        number, why = bad[0]
        raise NotATrace(
            f"{name}:{number}: not a trace: {why}; a trace is JSON Lines, each with `at`, `kind` and `data`", number
        )


def _broken(number: int, line: bytes | str, ended: bool, at: float, why: str) -> Line:
    if not ended:
        return Line(number, None, f"truncated: the last line does not end, and cannot be read: {why}")
    return Line(number, wire.undecodable(b"" if isinstance(line, str) else line, at, why))
