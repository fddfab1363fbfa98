"""The tables of a corpus, as Parquet: `traces`, `tasks` and `findings`. The one module that knows pyarrow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["COLUMNS", "DIFFERENCES", "FINDINGS", "TABLES", "TASKS", "TRACES", "encode", "read"]

TRACES, TASKS, FINDINGS, DIFFERENCES = "traces", "tasks", "findings", "differences"
TABLES = (FINDINGS, TASKS, TRACES)
"""In the order in which they are written: a part is whole once its traces are there."""

_TEXT, _WHOLE, _TIME = pa.string(), pa.int64(), pa.float64()
_OF_ALL = {"trace": _TEXT, "machine": _TEXT}
_SCHEMAS = {
    TRACES: pa.schema(
        _OF_ALL
        | {"bytes": _WHOLE, "verdict": _TEXT, "error": _TEXT, "observations": _WHOLE, "first_at": _TIME}
        | {"last_at": _TIME}
        | dict.fromkeys(("windows", "servers", "tasks", "findings", "unkept_findings"), _WHOLE)
    ),
    TASKS: pa.schema(
        _OF_ALL
        | dict.fromkeys(("prompt_id", "window", "server", "state", "outcome", "confidence"), _TEXT)
        | dict.fromkeys(("completion_source", "confirmed_by"), _TEXT)
        | dict.fromkeys(("submitted_at", "started_at", "ended_at", "settled_at"), _TIME)
        | {"outputs": _WHOLE, "error_type": _TEXT, "error_message": _TEXT, "findings": pa.list_(_TEXT)}
    ),
    FINDINGS: pa.schema(
        _OF_ALL
        | {"code": _TEXT, "severity": _TEXT, "line": _WHOLE, "at": _TIME}
        | dict.fromkeys(("window", "server", "prompt_id", "text"), _TEXT)
    ),
    DIFFERENCES: pa.schema(dict.fromkeys(("trace", "prompt_id", "what", "before", "after"), _TEXT)),
}
COLUMNS = {table: tuple(schema.names) for table, schema in _SCHEMAS.items()}


def encode(table: str, rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Return the rows as a Parquet file; the same rows give the same bytes."""
    schema = _SCHEMAS[table]
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [_array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file, compression="zstd")
    return file.getvalue()


def read(path: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one file, of these columns, in their order."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=list(columns)):
            yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def _array(values: Sequence[Any], kind: Any) -> Any:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # half of a surrogate pair: JSON may hold one, and a file's name bytes that are no text
        return pa.array([_plain(value) for value in values], kind)


def _plain(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
