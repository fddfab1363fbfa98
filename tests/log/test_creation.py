"""Tests of the creation of a log: whole or not at all, and nothing that lies there is overwritten."""

import logging
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from comfy_fsm.errors import LogError
from comfy_fsm.log import reader, sqlite_file
from comfy_fsm.log.creation import check_length, create, keep_aside


def test_a_new_log_is_ours_empty_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    create(str(path))
    assert sqlite_file.is_log(str(path))
    assert list(reader.read(str(path))) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [name for name in os.listdir(tmp_path) if "new" in name] == []


def test_what_an_earlier_process_left_half_made_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.log.new").write_bytes(b"half of one")
    create(str(tmp_path / "a.log"))
    assert os.listdir(tmp_path) == ["a.log"]


def test_a_file_that_holds_anything_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="made by another program"):
        create(str(tmp_path / "a.log"))
    assert (tmp_path / "a.log").read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["a.log"]


def test_rows_of_an_earlier_log_are_kept_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.log-wal").write_bytes(b"rows")
    with caplog.at_level(logging.WARNING):
        create(str(tmp_path / "a.log"))
    assert (tmp_path / "a.log-wal.kept-1").read_bytes() == b"rows"
    assert "put it back beside that log" in caplog.text


@pytest.mark.parametrize("copied", [True, False])
def test_what_is_kept_aside_has_a_name_that_was_free(tmp_path: Path, copied: bool) -> None:
    for content in (b"one", b"two"):
        (tmp_path / "a").write_bytes(content)
        keep_aside(str(tmp_path / "a"), copy=copied)
    assert [(tmp_path / f"a.kept-{n}").read_bytes() for n in (1, 2)] == [b"one", b"two"]
    assert (tmp_path / "a").exists() is copied


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises((OSError, sqlite3.Error)):
        create(str(tmp_path / "a.log"))
    assert os.listdir(tmp_path) == []


def test_a_path_that_is_too_long_is_refused_before_anything_is_made() -> None:
    check_length("a.log")
    with pytest.raises(LogError, match="choose a shorter path"):
        check_length("a" * 600)
