"""Contract of an analysis: one trace in, rows of declared tables out. Whatever needs many cores has its place here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from replay.corpora.parquet import Columns

__all__ = ["TRACES", "Analysis", "Answer", "Row"]

TRACES = "traces"
Row = tuple[Any, ...]
_OF_ALL: Columns = {"trace": str, "machine": str}
_OF_EACH_TRACE: Columns = _OF_ALL | {"bytes": int, "error": str}


class Answer(Struct, frozen=True):
    """Findings of an analysis in one trace: its own columns of `traces`, and the rows of its other tables."""

    trace: Row
    rows: dict[str, list[Row]] = field(default_factory=dict)


class Analysis(Struct, frozen=True):
    """Question that is asked of each trace.

    `ask` takes the path of a trace on this machine, and raises if it cannot be read. It knows nothing of other traces,
    of workers or of files to write; trace and machine are added to its rows.
    """

    name: str
    """That of its command."""
    traces: Columns
    """Its own columns of `traces`."""
    others: dict[str, Columns]
    """Its other tables, without the columns that all have."""
    ask: Callable[[str], Answer]
    fewest: int = 16
    """Traces of a chunk in a small corpus: so many that a worker need not wait, one where each takes seconds."""

    @property
    def tables(self) -> dict[str, Columns]:
        """Return all tables, `traces` last: a part is whole once its traces are there."""
        others = {name: _OF_ALL | columns for name, columns in self.others.items()}
        return others | {TRACES: _OF_EACH_TRACE | self.traces}
