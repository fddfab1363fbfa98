"""Tables of rows as Parquet files. The one module that knows pyarrow."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["Columns", "count", "encode", "read", "total"]

Columns = dict[str, Any]
"""Columns of a table, in their order, each with the Python type of what it holds."""
_KINDS = {str: pa.string(), int: pa.int64(), float: pa.float64(), list[str]: pa.list_(pa.string())}


def encode(columns: Columns, rows: Sequence[tuple[Any, ...]]) -> bytes:
    """Return the rows as a Parquet file; the same rows give the same bytes."""
    schema = pa.schema({name: _KINDS[kind] for name, kind in columns.items()})
    held = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [_array(values, field.type) for values, field in zip(held, schema, strict=True)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file, compression="zstd")
    return file.getvalue()


def read(path: str, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one file, of these columns, in their order."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=list(columns)):
            yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)


def count(path: str, columns: Sequence[str]) -> Counter[tuple[Any, ...]]:
    """Count the rows of one file by what stands in these columns."""
    grouped = _held(path, columns).group_by(list(columns)).aggregate([([], "count_all")])
    keys = zip(*(grouped.column(name).to_pylist() for name in columns), strict=True)
    return Counter(dict(zip(keys, grouped.column("count_all").to_pylist(), strict=True)))


def total(path: str, column: str) -> tuple[int, int, int]:
    """Return the rows of one file, those that have a value in this column, and the sum of whole numbers in it."""
    values = _held(path, [column]).column(column)
    numbers = pc.sum(values).as_py() if pa.types.is_integer(values.type) else 0
    return len(values), len(values) - values.null_count, numbers or 0


def _held(path: str, columns: Sequence[str]) -> Any:
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns), use_threads=False)


def _array(values: Sequence[Any], kind: Any) -> Any:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # half of a surrogate pair: JSON may hold one, and a file's name bytes that are no text
        return pa.array([_plain(value) for value in values], kind)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
