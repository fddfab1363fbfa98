"""Work of a worker on a chunk: it asks each trace, and one that cannot be read becomes a row too."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from msgspec import Struct

from comfy_fsm import __version__
from comfy_fsm.core import machine as core
from comfy_fsm.errors import LogError, TraceError
from replay.corpora.analyses.analysis import TRACES, Analysis, Row
from replay.corpora.analyses.catalogue import ANALYSES
from replay.corpora.chunks import Chunk
from replay.corpora.discovery import Unit, at_hand
from replay.corpora.parquet import encode

__all__ = ["Part", "machine", "work"]

_FATAL = "a worker died of it, each time that it was replayed alone; it may need more memory than there is"


class Part(Struct, frozen=True):
    """Rows of one chunk, as the Parquet files of its tables, by their names."""

    machine: str
    files: dict[str, bytes]


@cache
def machine() -> str:
    """Return the version of the machine that judges: the release, and a digest of the code of the core."""
    code = hashlib.sha256()
    for path in sorted(Path(core.__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    return f"{__version__}+{code.hexdigest()[:12]}"


def work(name: str, chunk: Chunk, fatal: frozenset[str] = frozenset()) -> Part:
    """Ask each trace of a chunk what this analysis asks; those that are `fatal`, by their addresses, are only told."""
    analysis = ANALYSES[name]
    rows: dict[str, list[Row]] = {table: [] for table in analysis.tables}
    for unit in chunk.units:
        if unit.url in fatal:
            rows[TRACES].append(_failure(analysis, unit, _FATAL))
            continue
        path = unit.url
        try:
            with at_hand(unit) as path:
                answer = analysis.ask(path)
        except Exception as error:  # whatever it is, the other traces are asked
            rows[TRACES].append(_failure(analysis, unit, _reason(error).replace(path, unit.name)))
            continue
        whose = (unit.name, machine())
        rows[TRACES].append((*whose, unit.size, None, *answer.trace))
        for table, some in answer.rows.items():
            rows[table] += [whose + row for row in some]
    return Part(machine(), {table: encode(columns, rows[table]) for table, columns in analysis.tables.items()})


def _failure(analysis: Analysis, unit: Unit, why: str) -> Row:
    return (unit.name, machine(), unit.size, why, *[None] * len(analysis.traces))


def _reason(error: Exception) -> str:
    match error:
        case TraceError() | LogError():
            return str(error)
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return f"our own fault: {type(error).__name__}: {error}"
