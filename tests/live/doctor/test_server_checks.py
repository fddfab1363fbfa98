"""Tests of what `doctor` finds of servers with faults: each is named, with a cure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import msgspec
import pytest

from comfy_fsm.live.doctor import server_checks
from comfy_fsm.testing import FakeComfy, Faults
from tests.support.checks import found
from tests.support.processes import DONE, NOT_DONE, NOWHERE, UNREACHABLE, command, in_a_thread, names


@pytest.fixture(scope="module")
def served() -> Iterator[FakeComfy]:
    with in_a_thread() as comfy:
        yield comfy


@pytest.fixture
def comfy(served: FakeComfy) -> Iterator[FakeComfy]:
    yield served
    served.faults.turn(msgspec.to_builtins(Faults()))


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
    (check,) = server_checks._clock(formatdate(NOW + apart, usegmt=True), NOW, NOW + 0.5)
    assert (check.subject, check.level) == ("clock", level)
    assert told in check.found
    assert bool(check.cure) == (level != "ok")


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 01 Jan 99999 00:00:00 GMT"])
def test_a_server_that_tells_no_time_is_not_judged_by_it(date: str) -> None:
    assert server_checks._clock(date, NOW, NOW) == []


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
