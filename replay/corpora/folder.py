"""Folder of a run: a manifest that says what it is a run of, and the parts of each table as they are done.

A part is written whole, under another name first, and its traces last: what is there is done, whatever was killed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from comfy_fsm.exits import Wrong
from replay.corpora import parquet
from replay.corpora.analyses.analysis import TRACES
from replay.corpora.analyses.catalogue import ANALYSES
from replay.corpora.parquet import Columns
from replay.corpora.worker import Part

__all__ = ["Folder", "Manifest"]

_VERSION = 1
_MANIFEST = "corpus.json"
_PART = re.compile(r"part-(\d+)\.parquet")


class Manifest(Struct, frozen=True, kw_only=True):
    """Manifest of a folder, which says what it holds the run of: the analysis, the traces, by number and
    digest, in so many parts, and by whom.
    """

    corpus: int = _VERSION
    analysis: str
    machine: str
    traces: int
    parts: int
    digest: str


class Folder:
    """Folder of one run."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    @property
    def manifest(self) -> Manifest:
        """Return what it holds the run of; raises Wrong if it holds none."""
        try:
            content = (self.path / _MANIFEST).read_bytes()
            return msgspec.json.decode(content, type=Manifest)
        except (OSError, msgspec.DecodeError):
            raise Wrong(f"{self.path} holds no run of a corpus; name the --output of one") from None

    def claim(self, manifest: Manifest) -> None:
        """Begin this run, or go on with it; raises Wrong if the folder holds another one, or anything else."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                self._must_be(manifest)
                return
            for table in ANALYSES[manifest.analysis].tables:
                (self.path / table).mkdir()
        except OSError as error:
            raise Wrong(f"cannot write into {self.path}: {error.strerror}; name another folder") from None
        self._write(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")

    def _must_be(self, manifest: Manifest) -> None:
        held = self.manifest
        if held.analysis != manifest.analysis:
            raise Wrong(
                f"{self.path} was written by `corpus {held.analysis}`, and this is `corpus {manifest.analysis}`; "
                "name a folder that is empty"
            )
        if held != manifest:
            raise Wrong(f"{self.path} holds a run of other traces, or by another version; name a folder that is empty")

    @property
    def done(self) -> set[int]:
        """Numbers of the parts that are there."""
        try:
            names = os.listdir(self.path / TRACES)
        except FileNotFoundError:
            return set()
        return {int(found[1]) for found in map(_PART.fullmatch, names) if found}

    @property
    def is_whole(self) -> bool:
        return len(self.done) == self.manifest.parts

    def keep(self, number: int, part: Part) -> None:
        """Write the rows of one chunk, those of `traces` last."""
        for table, content in part.files.items():
            self._write(_part(table, number), content)

    def rows(self, table: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one table, in the order of the traces."""
        for path in self._parts(table):
            yield from parquet.read(path, columns)

    def count(self, table: str, columns: tuple[str, ...]) -> Counter[tuple[Any, ...]]:
        """Count the rows of one table by what stands in these columns."""
        counted: Counter[tuple[Any, ...]] = Counter()
        for path in self._parts(table):
            counted.update(parquet.count(path, columns))
        return counted

    def total(self, table: str, column: str) -> tuple[int, int, int]:
        """Return the rows of one table, those with a value in this column, and the sum of the values."""
        rows = valued = added = 0
        for path in self._parts(table):
            some = parquet.total(path, column)
            rows, valued, added = rows + some[0], valued + some[1], added + some[2]
        return rows, valued, added

    def write(self, table: str, columns: Columns, rows: list[tuple[Any, ...]]) -> None:
        """Write a table that is of the whole run, such as its differences from a baseline."""
        self._write(f"{table}.parquet", parquet.encode(columns, rows))

    def _parts(self, table: str) -> Iterator[str]:
        return (str(self.path / _part(table, number)) for number in range(self.manifest.parts))

    def _write(self, name: str, content: bytes) -> None:
        whole = self.path / name
        beside = whole.with_name(f"{whole.name}.{os.getpid()}")  # two runs of the same write the same
        try:
            whole.parent.mkdir(exist_ok=True)
            with open(beside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, whole)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise Wrong(
                f"cannot write {whole}: {error.strerror}; mend that, and run the same again: it goes on from there"
            ) from None


def _part(table: str, number: int) -> str:
    return f"{table}/part-{number:06}.parquet"
