"""Coverage of a corpus: which rows of the state machine and which findings its traces reach."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from comfy_fsm.core.findings import CODES, Code
from comfy_fsm.core.machine import TABLE, Row, Signal, State
from comfy_fsm.report.player import Replay, replay

__all__ = ["Coverage", "FoundRow", "measure", "reached", "traces_in"]

_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".har", ".har.gz", ".har.zst")


class FoundRow(Struct, frozen=True):
    """Row of the table, with the number of traces that reach it."""

    state: State
    signal: Signal
    next: State
    traces: int

    @property
    def moves(self) -> bool:
        return self.next is not self.state


def reached(found: Replay) -> tuple[list[Row], list[Code]]:
    """Return the rows of the machine that a trace reaches, and the codes of its findings; each once, sorted."""
    moves = {(told.before, told.signalled) for task in found.tasks for told in task.signals}
    codes = {finding.code for finding in found.findings}
    return [row for row in TABLE if (row.state, row.signal) in moves], [code for code in CODES if code in codes]


class Coverage:
    """Counts traces by what they reach; each once, however often it does."""

    def __init__(self) -> None:
        self.traces = 0
        self._rows: Counter[tuple[State, Signal]] = Counter()
        self._codes: Counter[Code] = Counter()

    def add(self, found: Replay) -> None:
        self.traces += 1
        rows, codes = reached(found)
        self._rows.update((row.state, row.signal) for row in rows)
        self._codes.update(codes)

    def add_counted(self, traces: int, counted: Mapping[tuple[Any, ...], int]) -> None:
        """Add many traces: how many reach each state and signal (whatever the next state), or else each code."""
        self.traces += traces
        for (state, signal, code), count in counted.items():
            if code is not None:
                self._codes[Code(code)] += count
            else:
                self._rows[State(state), Signal(signal)] += count

    @property
    def rows(self) -> list[FoundRow]:
        """Return all rows of the table: those that move first, each kind by the number of traces."""
        rows = [FoundRow(row.state, row.signal, row.next, self._rows[row.state, row.signal]) for row in TABLE]
        return sorted(rows, key=lambda row: (not row.moves, -row.traces))

    @property
    def findings(self) -> dict[Code, int]:
        """Return all codes, by the number of traces."""
        return dict(sorted(((code, self._codes[code]) for code in CODES), key=lambda pair: -pair[1]))


def traces_in(path: str) -> Iterator[str]:
    """Yield the trace files below a folder, sorted; or the file itself."""
    if not os.path.isdir(path):
        yield path
        return
    for folder, folders, files in os.walk(path):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(files) if name.endswith(_ENDINGS))


def measure(trace: str, coverage: Coverage) -> None:
    """Count a trace; raises as `replay` does."""
    coverage.add(replay(trace))
