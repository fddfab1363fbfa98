"""Fixtures: a path for a log, and a gate that holds its transactions."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.log.writer import Writer
from tests.support.gates import Gate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    whole = Writer.executemany

    def held_up(self: Writer, sql: str, lines: Any) -> sqlite3.Cursor:
        gate.entered.set()
        assert gate.open.wait(10)
        return whole(self, sql, lines)

    monkeypatch.setattr(Writer, "executemany", held_up)
    yield gate
    gate.open.set()
