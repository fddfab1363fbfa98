"""Tests of what `doctor` finds of this machine and of a log: each fault is named, with a cure."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from comfy_fsm.live.doctor import local_checks
from tests.support.checks import found
from tests.support.lines import fill, line
from tests.support.processes import LOG, NOT_DONE

MOUNTS = r"""
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 0:40 / /srv/my\\040pictures rw - nfs4 nas:/p rw
31 21 0:41 / /srv rw,relatime shared:5 - tmpfs tmpfs rw
"""


def test_a_log_says_what_is_left_open_and_what_is_damaged(tmp_path: Path) -> None:
    post = {"id": "1", "method": "POST", "path": "/prompt", "body": {"prompt_id": "p", "prompt": {}}}
    fill(tmp_path / LOG, line("http.request", post), line("tick", {}))
    assert "resume --known" in found(cwd=tmp_path)[1]["log", "warning"][1]
    with closing(sqlite3.connect(tmp_path / LOG)) as db:
        db.execute("UPDATE log SET line = ? WHERE position = 2", (b'{"at":1,"kind":"tick"}',))
        db.commit()
    status, checks = found(cwd=tmp_path)
    assert status == NOT_DONE
    assert "1 places" in checks["log", "problem"][0]


def test_a_clock_that_was_set_back_shows_by_the_log(tmp_path: Path) -> None:
    fill(tmp_path / LOG, line("tick", {}, at=time.time() + 3600))
    assert "in the future" in found(cwd=tmp_path)[1]["log", "problem"][0]


def test_what_is_no_log_and_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("what I did today\n" * 20, encoding="utf-8")
    assert "no log" in found(cwd=tmp_path)[1]["log", "problem"][0]
    assert "does not exist" in found("--log", "none/x.log", cwd=tmp_path)[1]["folder", "problem"][0]


@pytest.mark.parametrize(
    ("path", "kind"), [("/home", "ext4"), ("/srv/my pictures/log", "nfs4"), ("/srv", "tmpfs"), ("/srvs", "ext4")]
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path, path: str, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS.replace("\\\\", "\\").strip(), encoding="utf-8")
    assert local_checks.file_system_of(path, str(table)) == kind


def test_a_system_that_tells_no_mounts_is_no_fault(tmp_path: Path) -> None:
    assert local_checks.file_system_of("/home", str(tmp_path / "none")) == ""
