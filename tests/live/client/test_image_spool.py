"""Tests of stored images: kept whole, in bounded memory, and removed when nobody can read them."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.live.client.image_spool import Spool


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()]


@given(images=st.lists(st.binary(max_size=40), max_size=12), memory=st.integers(0, 100))
def test_each_is_read_as_it_came_wherever_it_is(images: list[bytes], memory: int) -> None:
    spool = Spool(memory)
    kept = [spool.keep(image) for image in images]
    assert [one.read() for one in kept] == images
    assert not any(one.lost for one in kept)


def test_memory_is_bounded_and_comes_back(place: Path) -> None:
    spool = Spool(100)
    first, second = spool.keep(b"a" * 60), spool.keep(b"b" * 60)
    assert [path.read_bytes() for path in files(place)] == [b"b" * 60]
    del first
    assert spool.keep(b"c" * 100).read() == b"c" * 100
    assert len(files(place)) == 1
    assert second.read() == b"b" * 60


def test_what_nobody_holds_is_gone_from_the_disk_and_the_folder_with_the_last(place: Path) -> None:
    spool = Spool(0)
    first, second = spool.keep(b"a"), spool.keep(b"b")
    [folder] = place.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    del first
    assert [path.read_bytes() for path in files(place)] == [b"b"]
    del spool
    assert second.read() == b"b"  # while somebody holds it
    del second
    assert list(place.iterdir()) == []


def test_a_full_disk_loses_an_image_and_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(0)
    kept = spool.keep(b"a")
    os.unlink(files(place)[0])
    with pytest.raises(OSError, match="No such file"):
        kept.read()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(place / "missing"))
    assert "could not be kept: No such file" in Spool(0).keep(b"b").lost
