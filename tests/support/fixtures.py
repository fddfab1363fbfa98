"""The fixtures of this repository: recordings and made traces, what they hold, and what they must be judged as."""

from __future__ import annotations

import gzip
import io
import json
from functools import cache, lru_cache
from pathlib import Path

import pytest

from comfy_fsm.core.observations import Entry
from comfy_fsm.log.trace import Packed, read_file
from replay import Replay, replay

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
RECORDINGS = sorted((FIXTURES / "recordings").glob("*/*.jsonl.gz"))
MADE = sorted((FIXTURES / "made").glob("*.jsonl"))
assert len(RECORDINGS) > 100, "a green run over no recordings proves nothing"
assert len(MADE) > 50, "a green run over no made traces proves nothing"
SAMPLE = 40
how_many = pytest.mark.parametrize("most", [SAMPLE, pytest.param(150, marks=pytest.mark.long)])
"""Up to how many entries of a trace each single cut or repeat is tried; of a longer one, SAMPLE of them."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name.partition('.jsonl')[0]}"


def expected_of(path: Path) -> dict:
    return json.loads(path.with_name(path.name.partition(".jsonl")[0] + ".expected.json").read_text(encoding="utf-8"))


def bytes_of(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def read(content: bytes, name: str) -> list[Entry]:
    blocks = read_file(Packed(io.BytesIO(content)), name)
    return [Entry(*pair) for block in blocks for pair in zip(block.positions, block.observations, strict=True)]


@cache
def entries_of(path: Path) -> tuple[Entry, ...]:
    return tuple(read(bytes_of(path), path.name))


@lru_cache(maxsize=2)  # pytest runs the tests of one path together where it is parametrised by module
def replayed(path: Path) -> Replay:
    """What a replay of a fixture finds, which the tests that share it only read."""
    return replay(path)


def some(count: int, most: int = SAMPLE) -> list[int]:
    """Every index of at most so many, else an even sample with both ends."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / SAMPLE) for i in range(SAMPLE + 1)})
