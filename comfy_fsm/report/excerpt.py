"""Excerpt of a trace or a log: single lines, as they stand there: what a finding cites, to be looked at."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from comfy_fsm.core.wire import codec
from comfy_fsm.report.sources import lines

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

    A line that is not there is not in the answer. Of a capture they are those of the trace that it becomes. Raises
    TraceError or LogError where the source cannot be read.
    """
    first, last = max(line - context, 1), line + context
    shown: list[Shown] = []
    for number, raw in lines(source, first):
        if number > last:
            break
        text = raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")
        shown.append(Shown(number, _at(text), text))
    return Excerpt(1, shown)


def encode(found: Excerpt) -> str:
    """Write it as ASCII JSON: a terminal that shows it is driven by nothing that a server sent."""
    text = msgspec.json.encode(found).decode()
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


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
