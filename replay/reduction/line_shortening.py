"""Shortens the lines that are left: fields first, then texts, times and names, each only where the finding stays."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.wire import codec
from replay.lines.order import needs
from replay.lines.reading import Line, retold
from replay.reduction.delta_debugging import minimal
from replay.reduction.line_removal import Trials
from replay.reduction.short_names import names_of, renamed, walked

__all__ = ["shorten"]

_ENVELOPE = frozenset({"at", "kind", "window", "server", "data"})
_IDENTITY = frozenset({"type", "id", "prompt_id", "client_id", "method", "path"})
"""Fields that say what a line is, and about what: a line without them would be another, not a shorter one."""
_START = 1.0
"""Time of the first line; 0 would be no time at all."""
_encode = msgspec.json.encode


def shorten(lines: Sequence[Line], trials: Trials) -> list[Line]:
    """Return the same lines with as little in each as holds in these trials, whose goal gets the new names, too."""
    edit = _Edit(lines, trials)
    edit.cut_fields()
    edit.cut_texts()
    edit.round_times()
    edit.rename()
    return edit.lines


class _Edit:
    """Lines, and their JSON values, which are changed in place, and changed back where the finding would be gone."""

    def __init__(self, lines: Sequence[Line], trials: Trials) -> None:
        self.lines = list(lines)
        self._values = [_value_of(line) for line in lines]
        self._kinds = [_kind_of(line.observation) for line in lines]
        self._needs = needs(lines)
        self._trials = trials
        self._open = [index for index in range(len(lines)) if self._tried(index)]
        """Those that can be written anew: what is no JSON object stays as it is."""

    def cut_fields(self) -> None:
        """Cut what no reader needs, from the outside in; from the last line on, as answers are longest."""
        for index in reversed(self._open):
            self._cut(index, self._values[index], _ENVELOPE)

    def _cut(self, index: int, inner: Any, fixed: frozenset[str]) -> None:
        entries = list(inner.items()) if isinstance(inner, dict) else list(inner)
        loose = [n for n, entry in enumerate(entries) if isinstance(inner, list) or entry[0] not in fixed]
        tight = set(range(len(entries))).difference(loose)

        def holds(some: list[int]) -> bool:
            _refill(inner, [entries[n] for n in sorted(tight.union(some))])
            return self._tried(index)

        kept = minimal(loose, holds)
        _refill(inner, [entries[n] for n in sorted(tight.union(kept))])
        for child in inner.values() if isinstance(inner, dict) else inner:
            if isinstance(child, dict | list):
                self._cut(index, child, _IDENTITY)

    def cut_texts(self) -> None:
        """Put a letter in place of each text that only a person reads, and cut the query of a path."""
        for index in self._open:
            for holder, key, shorter in _texts(self._values[index].get("data")):
                text, holder[key] = holder[key], shorter
                if not self._tried(index):
                    holder[key] = text

    def round_times(self) -> None:
        """Let the trace begin at one second, and round to milliseconds; as much of both as can be."""
        if not self.lines:
            return
        times = [line.observation.at for line in self.lines]
        start = min(times) - _START
        for shift, digits in ((start, 3), (start, 6), (0.0, 3)):
            at = [round(time - shift, digits) for time in times]
            if self._replaced([value | {"at": time} for value, time in zip(self._values, at, strict=True)]):
                return

    def rename(self) -> None:
        """Give prompts, windows, servers and requests names of a few letters."""
        for names in names_of(self.lines, self._values):
            goal = self._trials.goal
            self._trials.goal = goal.renamed(partial(renamed, names))
            if not self._replaced([walked(names, value) for value in self._values]):
                self._trials.goal = goal

    def _tried(self, index: int) -> bool:
        """Take the line as its value says now, if it is one of the same kind and what is wanted holds."""
        line = retold(self.lines[index], _encode(self._values[index])) if self._values[index] else None
        if line is None or _kind_of(line.observation) != self._kinds[index]:
            return False
        return self._took([*self.lines[:index], line, *self.lines[index + 1 :]])

    def _replaced(self, values: list[dict[str, Any]]) -> bool:
        """Take all lines as these values say; those that cannot be written anew forbid it."""
        lines = [retold(line, _encode(value)) for line, value in zip(self.lines, values, strict=True)]
        whole = [line for line in lines if line is not None]
        if len(self._open) < len(lines) or len(whole) < len(lines) or not self._took(whole):
            return False
        self._values = values
        return True

    def _took(self, lines: list[Line]) -> bool:
        if needs(lines) != self._needs or not self._trials.holds(lines):
            return False
        self.lines = lines
        return True


def _value_of(line: Line) -> dict[str, Any]:
    try:
        value = codec.strict(json.loads(line.text))
    except (ValueError, RecursionError):
        return {}
    return value | {"at": line.observation.at} if isinstance(value, dict) else {}


def _kind_of(o: AnyObservation) -> tuple[type, type, str]:
    data = getattr(o, "data", None)
    return type(o), type(data), getattr(o, "name", "") or getattr(data, "name", "")


def _refill(inner: Any, entries: list[Any]) -> None:
    inner.clear()
    if isinstance(inner, dict):
        inner.update(entries)
    else:
        inner.extend(entries)


def _texts(value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield where in a value each text stands: what holds it, under which key, and what may stand there instead."""
    entries = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, item in entries:
        if key == "path" and isinstance(item, str):
            yield value, key, item.partition("?")[0]
        elif isinstance(item, str) and key not in _IDENTITY:
            yield value, key, "x"
        elif isinstance(item, dict | list):
            yield from _texts(item)
