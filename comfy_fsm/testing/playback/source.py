"""Source of a playback: the lines of a recorded trace in a file, packed or not, a log, or memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, cast

from comfy_fsm.core.wire import codec
from comfy_fsm.log import opening, sqlite_file, trace
from comfy_fsm.log.postgres.address import is_address

__all__ = ["Line", "Source", "read"]

Source = str | os.PathLike[str] | Iterable[bytes | str]
Line = dict[str, Any]
_DEEPEST = 200
_MOST = 256 * 1024 * 1024
"""Bytes of a trace that a test may load; of a packed one, after unpacking."""


def read(source: Source) -> list[Line]:
    """Return every observation as decoded JSON; raises ValueError if it is not a trace, or too long for a test."""
    name = opening.shown(source) if isinstance(source, str | os.PathLike) else "the trace"
    lines: list[Line] = []
    total = 0
    for number, raw in enumerate(_raw(source), 1):
        total += len(raw)
        if total > _MOST:
            raise ValueError(
                f"{name} is longer than {_MOST >> 20} MiB, which is too much for a test: cut out what matters"
            )
        if not raw.strip() or raw.lstrip().startswith(b"#"):
            continue
        lines.append(_line(raw, f"{name}:{number}"))
    if not lines:
        raise ValueError(f"{name} has no observation in it")
    return lines


def _line(raw: bytes, place: str) -> Line:
    try:
        line = codec.loads(raw)
    except codec.Unreadable as error:
        raise ValueError(f"{place} is no line of a trace: {error}; a trace is JSON Lines") from None
    if _depth(line) > _DEEPEST:
        raise ValueError(f"{place} cannot be played: it is nested deeper than {_DEEPEST} levels")
    if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
        raise ValueError(
            f"{place} is no line of a trace: it has no `kind`; a trace is JSON Lines with `at`, `kind`, `data`"
        )
    return cast("Line", line)


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        depth += 1
        level = [
            inner for each in level if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]  # fmt: skip
    return depth


def _raw(source: Source) -> Iterator[bytes]:
    if not isinstance(source, str | os.PathLike):
        yield from (line.encode("utf-8", "surrogatepass") if isinstance(line, str) else bytes(line) for line in source)
    elif is_address(source) or sqlite_file.is_sqlite(os.fspath(source)):
        yield from (record.line for record in opening.read(source) if record.line is not None)
    else:
        packed = trace.open_packed(os.fspath(source))
        try:
            for lines, _ in trace.raw_lines(packed, os.fspath(source)):
                yield from _sound(lines, os.fspath(source))
        finally:
            packed.close()


def _sound(lines: Iterable[bytes | str], name: str) -> Iterator[bytes]:
    """Yield lines as bytes, without those that stand for damage."""
    for line in lines:
        if isinstance(line, str):
            raise ValueError(f"{name} cannot be played: {line}")
        yield line
