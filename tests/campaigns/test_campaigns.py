"""Tests of the campaigns, run briefly: each finds nothing, and would find what it is for."""

import shutil
import sys
from pathlib import Path

import pytest

from comfy_fsm.log import lock
from tests.campaigns import damage, hostile, kills, power, refusals, runs, secrets, year
from tests.campaigns.writing import judged, lines
from tests.support.lines import fill

strace = pytest.mark.skipif(shutil.which("strace") is None, reason="asks strace")
unix = pytest.mark.skipif(sys.platform == "win32", reason="forks")


@unix
def test_no_damage_is_silent() -> None:
    told, silent = damage.campaign(150, seed=7)
    assert not silent
    assert told > 50


@unix
def test_damage_would_be_silent_if_nothing_were_remembered_beside_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.Mark, "is_about", lambda *_: False)
    _, silent = damage.campaign(150, seed=7)
    assert silent


@unix
def test_what_a_killed_writer_acknowledged_is_there() -> None:
    _, wrong = kills.campaign(10, seed=7)
    assert not wrong


@unix
def test_each_file_of_a_killed_run_is_saved_once() -> None:
    files, wrong = runs.campaign(4, seed=7, processes=4)
    assert not wrong
    assert files


@strace
def test_what_was_acknowledged_before_a_power_cut_is_there() -> None:
    result = power.campaign(150, seed=7)
    assert not result.wrong
    assert result.steps > 100
    assert result.different > 75


@strace
def test_a_power_cut_would_be_noticed_if_a_commit_were_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = power.Disk.do

    def forgetful(disk: power.Disk, step: power.Step) -> None:
        if (step.call, step.name) != ("sync", "a.log-wal"):
            whole(disk, step)

    monkeypatch.setattr(power.Disk, "do", forgetful)
    wrong = power.campaign(100, seed=7).wrong
    assert any("acknowledged, and not there" in each for each in wrong)


@strace
def test_what_an_error_of_the_disk_refused_is_not_there() -> None:
    runs, wrong = refusals.campaign(1, appends=3)
    assert not wrong
    assert runs > 20


@unix
@pytest.mark.parametrize(
    "name",
    [
        "tiny frames",
        "what looks like credentials",
        "a queue of 60,000",
        "frames of 60 MiB",
        "a history that is deep",
        "a history of odd types",
        "a history of messages",
    ],
)
def test_a_hostile_server_takes_no_more_memory_than_there_is_a_bound_for(name: str) -> None:
    measured = hostile.campaign(name, 2.0)
    assert measured.position > 1
    assert measured.memory < 1024


def test_a_log_is_judged_by_what_was_told_of_it(tmp_path: Path) -> None:
    path = fill(tmp_path / "a.log", *lines("a", 0), *lines("a", 1))
    assert judged(path, "kept a 0 1\nkept a 1 2\n") == []
    assert judged(path, "kept a 0 1\nrefused a 1 0\n") == ["refused, and there: a 1"]
    assert judged(path, "kept a 2 3\n") == ["acknowledged, and not there: a 2 at 3"]


def test_no_credential_is_where_anybody_looks() -> None:
    places, found = secrets.campaign(24, seed=7)
    assert not found
    assert places >= 9


def test_a_credential_would_be_found_if_nothing_were_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "DEBUG", secrets.UNSCRUBBED + secrets.DEBUG)
    _, found = secrets.campaign(12, seed=7)
    assert any("the complaints of run" in each for each in found)
    assert any("a.log" in each for each in found)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_client_holds_what_is_under_way_and_the_last_tasks_however_many_there_were() -> None:
    samples = year.campaign(3_000, 100, parts=3)
    assert [sample.tasks // 1_000 for sample in samples] == [1, 2, 3]
    assert all(sample.remembered <= 2 * 100 + 14 for sample in samples)
