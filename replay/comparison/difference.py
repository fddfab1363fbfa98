"""Differences of two reports: which tasks are judged otherwise, in what, and from which signal on.

A report (JSON, version 1) is all that is compared: so it may come of another trace, another policy or another release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

__all__ = ["Class", "Difference", "Facts", "First", "Judged", "Pairing", "Report", "Told", "differences", "pair"]

Class = Literal["state", "outcome", "confidence", "source", "finding", "time"]


class Told(Struct, frozen=True):
    """Signal that a task was told, and the line that told it."""

    signal: str
    line: int


class Judged(Struct, frozen=True):
    """Judgement of a task in a report, as far as it is compared."""

    prompt_id: str | None
    window: str | None
    server: str
    state: str
    outcome: str | None
    confidence: str | None
    completion_source: str | None
    settled_at: float | None
    signals: tuple[Told, ...]
    findings: tuple[str, ...]


class Facts(Struct, frozen=True):
    """Facts that a report states about its trace: the policy, if the header of a log has another than the default."""

    policy: dict[str, float] | None = None


class Report(Struct, frozen=True):
    """JSON report of a replay."""

    report: Literal[1]
    trace: Facts
    verdict: str
    tasks: tuple[Judged, ...]


class Pairing(Struct, frozen=True):
    """Tasks of two reports that are the same; None where the other has none."""

    pairs: tuple[tuple[Judged | None, Judged | None], ...]
    by: Literal["id", "order"]


class First(Struct, frozen=True):
    """First signal in which they differ: line and signal of the one, and of the other; none where it has no more."""

    line: int | None
    signal: str | None
    other_line: int | None
    other_signal: str | None


class Difference(Struct, frozen=True, rename={"kind": "class"}):
    """Task that is judged otherwise: in what, the gravest first, with both values."""

    prompt_id: str | None
    kind: Class
    a: object
    b: object
    first: First | None


def pair(one: Sequence[Judged], other: Sequence[Judged]) -> Pairing:
    """Pair the tasks by prompt id, or, if no id is common to both, by order.

    Two recordings of one scenario share no id and no window: there the n-th task of the n-th window is the same.
    """
    common = {task.prompt_id for task in one} & {task.prompt_id for task in other}
    by_id = bool(common) or not one or not other
    left, right = (_by_id(one), _by_id(other)) if by_id else (_by_place(one), _by_place(other))
    keys = dict.fromkeys((*left, *right))
    return Pairing(tuple((left.get(key), right.get(key)) for key in keys), "id" if by_id else "order")


def differences(pairing: Pairing, *, same_lines: bool) -> list[Difference]:
    """Return the tasks that are judged otherwise; `same_lines`: both judged one trace, so lines and times count."""
    found = (_difference(one, other, same_lines) for one, other in pairing.pairs)
    return [each for each in found if each is not None]


def _difference(one: Judged | None, other: Judged | None, same_lines: bool) -> Difference | None:
    if one is None or other is None:
        known = one or other
        name = None if known is None else known.prompt_id
        return Difference(name, "state", one and one.state, other and other.state, None)
    for kind, a, b in _compared(one, other):
        if a != b and (kind != "time" or same_lines):
            return Difference(one.prompt_id, kind, a, b, _first(one.signals, other.signals, same_lines))
    return None


def _compared(one: Judged, other: Judged) -> list[tuple[Class, object, object]]:
    return [
        ("state", one.state, other.state),
        ("outcome", one.outcome, other.outcome),
        ("confidence", one.confidence, other.confidence),
        ("source", one.completion_source, other.completion_source),
        ("finding", sorted(set(one.findings)), sorted(set(other.findings))),
        ("time", one.settled_at, other.settled_at),
    ]


def _first(one: Sequence[Told], other: Sequence[Told], same_lines: bool) -> First | None:
    for n in range(max(len(one), len(other))):
        a, b = one[n] if n < len(one) else None, other[n] if n < len(other) else None
        if a is None or b is None or a.signal != b.signal or (same_lines and a.line != b.line):
            return First(*_place(a), *_place(b))
    return None


def _place(told: Told | None) -> tuple[int | None, str | None]:
    return (None, None) if told is None else (told.line, told.signal)


def _by_id(tasks: Sequence[Judged]) -> dict[object, Judged]:
    counts: Counter[str | None] = Counter()
    found: dict[object, Judged] = {}
    for task in tasks:
        found[task.prompt_id, counts[task.prompt_id]] = task
        counts[task.prompt_id] += 1
    return found


def _by_place(tasks: Sequence[Judged]) -> dict[object, Judged]:
    windows = list(dict.fromkeys(task.window for task in tasks))
    counts: Counter[str | None] = Counter()
    found: dict[object, Judged] = {}
    for task in tasks:
        found[windows.index(task.window), counts[task.window]] = task
        counts[task.window] += 1
    return found
