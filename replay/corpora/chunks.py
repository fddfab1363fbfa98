"""Chunks: traces that one worker replays together. They follow from the traces alone, never from the workers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from replay.corpora.discovery import Unit

__all__ = ["Chunk", "digest", "split"]

_MOST = 1024
"""Traces of a chunk: so many that a large corpus has no million parts."""
_SHARE = 100
"""Chunks into which a small corpus is split, so that all workers end at about the same time."""
_BYTES = 64 * 1024 * 1024
"""Bytes after which a chunk is closed; a larger trace is a chunk of its own."""


class Chunk(Struct, frozen=True):
    """Traces next to each other in the order of names; the number is that of the part which holds their rows."""

    number: int
    units: tuple[Unit, ...]


def split(units: Sequence[Unit], fewest: int) -> Iterator[Chunk]:
    """Split the traces into chunks, in their order, of at least so many traces if there are more than a few."""
    most = max(fewest, min(_MOST, len(units) // _SHARE))
    number, held, size = 0, list[Unit](), 0
    for unit in units:
        if held and (len(held) >= most or size + unit.size > _BYTES):
            yield Chunk(number, tuple(held))
            number, held, size = number + 1, [], 0
        held.append(unit)
        size += unit.size
    if held:
        yield Chunk(number, tuple(held))


def digest(units: Sequence[Unit]) -> str:
    """Return what tells these traces from any others, and from themselves once they have changed."""
    told = hashlib.sha256()
    for unit in units:
        told.update(msgspec.json.encode([_plain(unit.name), unit.size, unit.stamp]))
    return told.hexdigest()


def _plain(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
