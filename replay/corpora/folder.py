"""Folder of a run: a manifest that says what it is a run of, and the parts of each table as they are done.

A part is written whole, under another name first, and its traces last: what is there is done, whatever was killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from comfy_fsm.exits import Wrong
from replay.corpora.judging import Part
from replay.corpora.tables import DIFFERENCES, TABLES, TRACES, encode, read

__all__ = ["Folder", "Manifest"]

_VERSION = 1
_MANIFEST = "corpus.json"


class Manifest(Struct, frozen=True, kw_only=True):
    """What a folder holds the run of: the traces, by number and digest, in so many parts, and who judged them."""

    corpus: int = _VERSION
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
        """What it holds the run of; raises Wrong if it holds none."""
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
                if self.manifest != manifest:
                    raise Wrong(
                        f"{self.path} holds a run of other traces, or by another version; name a folder that is empty"
                    )
                return
            for table in TABLES:
                (self.path / table).mkdir()
        except OSError as error:
            raise Wrong(f"cannot write into {self.path}: {error.strerror}; name another folder") from None
        self._write(_MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")

    def is_done(self, number: int) -> bool:
        return (self.path / _part(TRACES, number)).exists()

    @property
    def is_whole(self) -> bool:
        return all(map(self.is_done, range(self.manifest.parts)))

    def keep(self, number: int, part: Part) -> None:
        """Write the rows of one chunk."""
        for table in TABLES:
            self._write(_part(table, number), part.files[table])

    def rows(self, table: str, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one table, in the order of the traces."""
        for number in range(self.manifest.parts):
            yield from read(str(self.path / _part(table, number)), columns)

    def keep_differences(self, rows: list[tuple[Any, ...]]) -> None:
        """Write what differs from a baseline."""
        self._write(f"{DIFFERENCES}.parquet", encode(DIFFERENCES, rows))

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
