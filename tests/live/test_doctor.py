"""What `doctor` finds, of this machine, of a log, and of servers with faults: each is named, with a cure."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import formatdate
from pathlib import Path

import msgspec
import pytest

from comfy_fsm.live.doctor import machine, servers
from comfy_fsm.testing import FakeComfy, Faults
from tests.support.lines import fill, line
from tests.support.processes import DONE, LOG, NOT_DONE, NOWHERE, UNREACHABLE, command, in_a_thread, names

MOUNTS = r"""
21 1 8:1 / / rw - ext4 /dev/sda1 rw
30 21 0:40 / /srv/my\\040pictures rw - nfs4 nas:/p rw
31 21 0:41 / /srv rw,relatime shared:5 - tmpfs tmpfs rw
"""


@pytest.fixture(scope="module")
def served() -> Iterator[FakeComfy]:
    with in_a_thread() as comfy:
        yield comfy


@pytest.fixture
def comfy(served: FakeComfy) -> Iterator[FakeComfy]:
    yield served
    served.faults.turn(msgspec.to_builtins(Faults()))


def found(*arguments: object, cwd: Path) -> tuple[int, dict[tuple[str, str], tuple[str, str]]]:
    """The exit status, and each check that is not well, by subject and level."""
    done = command("doctor", *arguments, "--format", "json", cwd=cwd)
    checks = json.loads(done.stdout)["checks"]
    assert all(check["cure"] for check in checks if check["level"] != "ok"), "each has a cure"
    here = {(each["subject"], each["level"]): (each["found"], each["cure"]) for each in checks if each["level"] != "ok"}
    return done.returncode, here


def test_a_server_that_is_well_passes_and_nothing_is_posted_or_left_behind(comfy: FakeComfy, tmp_path: Path) -> None:
    done = command("doctor", "--server", comfy.url, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (DONE, "")
    assert "problem" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert comfy.posts.total() == 0
    assert names(tmp_path) == set()


FAULTS = {
    "wants a token": ({"token": "sesame"}, ("reachable", "problem"), UNREACHABLE, "--token-env"),
    "shows a login page": ({"login_page": True}, ("reachable", "problem"), UNREACHABLE, "address"),
    "opens no socket": ({"refuse_sockets": (99, 502)}, ("sockets", "warning"), DONE, "/ws"),
    "hides its history": ({"html": {"GET /history": 99}}, ("history", "problem"), NOT_DONE, "/history"),
    "hides its queue": ({"html": {"GET /queue": 99}}, ("queue", "problem"), NOT_DONE, "/queue"),
}


@pytest.mark.parametrize(("fault", "check", "status", "cure"), FAULTS.values(), ids=FAULTS)
def test_a_server_that_has_a_fault_is_told_with_its_cure(
    comfy: FakeComfy, tmp_path: Path, fault: dict[str, object], check: tuple[str, str], status: int, cure: str
) -> None:
    comfy.faults.turn(fault)
    ended, checks = found("--server", comfy.url, cwd=tmp_path)
    assert ended == status
    assert cure in checks[check][1]


NOW = 1_790_000_000.0
CLOCKS = {
    "the same": (0.0, "ok", ""),
    "a slow answer": (-4.0, "ok", ""),
    "ahead": (3_600.0, "warning", "1 h 0 min ahead of"),
    "behind": (-90.0, "warning", "behind"),
}


@pytest.mark.parametrize(("apart", "level", "told"), CLOCKS.values(), ids=CLOCKS)
def test_the_clock_of_a_server_is_compared_with_ours(apart: float, level: str, told: str) -> None:
    (check,) = servers._clock(formatdate(NOW + apart, usegmt=True), NOW, NOW + 0.5)
    assert (check.subject, check.level) == ("clock", level)
    assert told in check.found
    assert bool(check.cure) == (level != "ok")


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 99999 00:00:00 GMT"])
def test_a_server_that_tells_no_time_is_not_judged_by_it(date: str) -> None:
    assert servers._clock(date, NOW, NOW) == []


def test_the_time_that_a_server_tells_is_looked_at(comfy: FakeComfy, tmp_path: Path) -> None:
    done = command("doctor", "--server", comfy.url, "--format", "json", cwd=tmp_path)
    of_server = [check for check in json.loads(done.stdout)["checks"] if check["found"].startswith("it agrees with")]
    assert [check["level"] for check in of_server] == ["ok"]


def test_a_port_where_nobody_listens_is_told(tmp_path: Path) -> None:
    status, checks = found("--server", NOWHERE, cwd=tmp_path)
    assert status == UNREACHABLE
    assert "connection refused" in checks["reachable", "problem"][0]


def test_an_old_server_says_what_would_not_work(tmp_path: Path) -> None:
    with in_a_thread(version="0.3.44") as old:
        status, checks = found("--server", old.url, cwd=tmp_path)
    assert status == DONE
    assert "an interrupt hits whatever runs" in checks["version", "warning"][0]


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
    assert machine.file_system_of(path, str(table)) == kind


def test_a_system_that_tells_no_mounts_is_no_fault(tmp_path: Path) -> None:
    assert machine.file_system_of("/home", str(tmp_path / "none")) == ""
