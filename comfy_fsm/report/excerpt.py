"""Single lines of a trace or a log, as they stand there: what a finding cites, to be looked at."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import closing

import msgspec
from msgspec import Struct

from comfy_fsm.core.wire import codec
from comfy_fsm.log import logfile, reader
from comfy_fsm.log.trace import open_packed, raw_lines

__all__ = [
    "Excerpt",
    "Shown",
    "encode",
    "excerpt",
]


class Shown(Struct, frozen=True):
    """Line of an excerpt: its number, when it was observed if it tells, and its text."""

    line: int
    at: float | None
    text: str


class Excerpt(Struct, frozen=True):
    """Lines that were asked for, in their order."""

    show: int
    lines: list[Shown]


def excerpt(source: str, line: int, context: int = 0) -> Excerpt:
    """Read one line of a trace, by its number, or of a log, by its position; with so many before and after it.

    A line that is not there is not in the answer. Raises TraceError or LogError where the source cannot be read.
    """
    first, last = max(line - context, 1), line + context
    is_log = source != "-" and not os.path.isdir(source) and logfile.is_sqlite(source)
    found = _of_log(source, first) if is_log else _of_trace(source)
    lines: list[Shown] = []
    for number, text in found:
        if number > last:
            break
        if number >= first:
            lines.append(Shown(number, _at(text), text))
    return Excerpt(1, lines)


def encode(found: Excerpt) -> str:
    """Write it as ASCII JSON: a terminal that shows it is driven by nothing that a server sent."""
    text = msgspec.json.encode(found).decode()
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def _of_trace(source: str) -> Iterator[tuple[int, str]]:
    with closing(open_packed(source)) as packed:
        lines = itertools.chain.from_iterable(block for block, _ in raw_lines(packed, source))
        for number, line in enumerate(lines, 1):
            yield number, line if isinstance(line, str) else line.decode("utf-8", "backslashreplace")


def _of_log(source: str, first: int) -> Iterator[tuple[int, str]]:
    with closing(reader.read(source, first - 1)) as rows:
        for row in rows:
            text = f"damaged: {row.damage}" if row.line is None else row.line.decode("utf-8", "backslashreplace")
            yield row.position, text


def _at(text: str) -> float | None:
    try:
        return codec.parse(text.encode("utf-8", "surrogatepass")).at
    except codec.Unreadable:
        return None


def _escaped(letter: str) -> str:
    if letter.isascii() and letter.isprintable():
        return letter
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
