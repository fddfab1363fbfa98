"""Comparison of two runs, trace by trace: what an earlier run, or another version, judged otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from replay.corpora.analyses.analysis import TRACES
from replay.corpora.analyses.verdicts import FINDINGS, TASKS
from replay.corpora.folder import Folder

__all__ = ["DIFFERENCES", "Comparison", "Difference", "compare"]

DIFFERENCES = dict.fromkeys(("trace", "prompt_id", "what", "before", "after"), str)

_TASK = ("state", "outcome", "confidence", "completion_source")
_MOST = 1_000_000
"""Differences that are kept; beyond them they are counted."""

_Row = tuple[Any, ...]


class Difference(Struct, frozen=True):
    """Difference in the judgement of a trace, or of a task of it."""

    trace: str
    prompt_id: str | None
    what: str
    before: str | None
    after: str | None


class Comparison(Struct):
    """Differences from a baseline, and how many traces they concern; `new` ones have nothing to be compared with."""

    differences: list[Difference]
    traces: int = 0
    new: int = 0
    unkept: int = 0


def compare(before: Folder, after: Folder) -> Comparison:
    """Compare two runs; both have their traces sorted by name, so neither is held in memory."""
    found = Comparison([])
    old, new = _judged(before), _judged(after)
    left, right = next(old, None), next(new, None)
    while left or right:
        if right is None or (left and left.trace < right.trace):
            assert left is not None
            _add(found, [Difference(left.trace, None, "trace", "there", None)])
            left = next(old, None)
        elif left is None or right.trace < left.trace:
            found.new += 1
            right = next(new, None)
        else:
            _add(found, list(_differences(left, right)))
            left, right = next(old, None), next(new, None)
    return found


class _Judged(Struct, frozen=True):
    """Judgement of one trace."""

    trace: str
    verdict: str | None
    tasks: dict[str | None, _Row]
    findings: Counter[_Row]


def _judged(folder: Folder) -> Iterator[_Judged]:
    tasks = _Rows(folder.rows(TASKS, ("trace", "prompt_id", *_TASK)))
    findings = _Rows(folder.rows(FINDINGS, ("trace", "prompt_id", "code", "line")))
    for trace, verdict in folder.rows(TRACES, ("trace", "verdict")):
        told = {row[0]: row[1:] for row in tasks.of(trace)}
        yield _Judged(trace, verdict, told, Counter(findings.of(trace)))


class _Rows:
    """Rows that are sorted by trace, taken a trace at a time."""

    def __init__(self, rows: Iterator[_Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, trace: str) -> Iterator[_Row]:
        while self._next is not None and self._next[0] == trace:
            yield self._next[1:]
            self._next = next(self._rows, None)


def _differences(before: _Judged, after: _Judged) -> Iterator[Difference]:
    trace = before.trace
    if before.verdict != after.verdict:
        yield Difference(trace, None, "verdict", before.verdict or "not replayed", after.verdict or "not replayed")
    if before.verdict is None or after.verdict is None:
        return
    for prompt_id in dict.fromkeys([*before.tasks, *after.tasks]):
        old, new = before.tasks.get(prompt_id), after.tasks.get(prompt_id)
        if old is None or new is None:
            was, now = (None if task is None else task[0] for task in (old, new))
            yield Difference(trace, prompt_id, "task", was, now)
            continue
        for what, was, now in zip(_TASK, old, new, strict=True):
            if was != now:
                yield Difference(trace, prompt_id, what, was, now)
    for prompt_id, code, line in sorted((before.findings - after.findings).elements(), key=_by_line):
        yield Difference(trace, prompt_id, "finding", f"{code} at line {line}", None)
    for prompt_id, code, line in sorted((after.findings - before.findings).elements(), key=_by_line):
        yield Difference(trace, prompt_id, "finding", None, f"{code} at line {line}")


def _by_line(finding: _Row) -> tuple[int, str, str]:
    prompt_id, code, line = finding
    return line, code, prompt_id or ""


def _add(found: Comparison, differences: list[Difference]) -> None:
    found.traces += bool(differences)
    room = _MOST - len(found.differences)
    found.differences += differences[:room]
    found.unkept += len(differences[room:])
