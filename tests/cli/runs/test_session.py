"""Tests of a session: what is left can be taken up again, however the process ended."""

from __future__ import annotations

import itertools
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from comfy_fsm.cli.run import resuming
from comfy_fsm.log import reader as rows
from comfy_fsm.log import sqlite_file
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.lines import fill
from tests.support.processes import (
    DONE,
    LOG,
    NOT_DONE,
    NOWHERE,
    begin,
    command,
    finish,
    line_of,
    names,
    until,
    with_bars,
    write,
)
from tests.support.stage import graph

LEFT_BY_A_LOG = {LOG, f"{LOG}.lock"}


SEEDS = itertools.count(1)  # nothing comes from the server's cache


def test_a_file_that_cannot_be_had_now_is_saved_by_resume(comfy: FakeComfy, tmp_path: Path) -> None:
    write(tmp_path, "a.json", graph(next(SEEDS)))
    comfy.faults.html = {"GET /view": 1}
    found = command("run", "a.json", "--server", comfy.url, cwd=tmp_path)
    assert (found.returncode, found.stdout, deliveries(tmp_path / LOG)) == (NOT_DONE, "", 0)
    assert "HTTP 502" in found.stderr
    assert "`resume`" in found.stderr
    again = command("resume", "--server", comfy.url, cwd=tmp_path)
    assert (again.returncode, again.stderr, deliveries(tmp_path / LOG)) == (DONE, "", 1)
    assert (tmp_path / again.stdout.strip()).is_file()


def deliveries(path: Path) -> int:
    """How many results the log says to be handed over."""
    if not (path.exists() and sqlite_file.is_log(path)):
        return 0
    return sum(b'"kind":"delivered"' in (record.line or b"") for record in rows.read(path))


@pytest.mark.parametrize(
    ("words", "resumes"),
    [("run a.json --server http://a --log x.log b.json", "--server http://a --log x.log"),
     ("run --server=http://a a.json --output 'a b'", "--server=http://a --output 'a b'"),
     ("run a.json --server http://u:p@a:1/x", "--server 'http://…@a:1/x'"),
     ("resume --server http://a --server http://b", "--server http://a --server http://b")],
)  # fmt: skip
def test_how_to_resume_is_told_as_it_is_pasted(words: str, resumes: str) -> None:
    told = resuming(["comfy_fsm", *shlex.split(words)])
    assert shlex.split(told) == ["python", "-m", "comfy_fsm", "resume", *shlex.split(resumes)]


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


def sleeping(comfy: FakeComfy, folder: Path, seconds: float) -> tuple[subprocess.Popen[str], str]:
    """A run whose task is being run by the server, and the id of that task."""
    runs = set(comfy.runs)
    write(folder, "w.json", graph(next(SEEDS), seconds=seconds))
    process = begin("run", "w.json", "--server", comfy.url, cwd=folder)
    until(lambda: set(comfy.runs) - runs or process.poll() is not None)
    (prompt_id,) = set(comfy.runs) - runs
    return process, prompt_id


def resumed(comfy: FakeComfy, folder: Path, prompt_id: str) -> None:
    """The log is taken up, and its task is done: once."""
    found = command("resume", "--server", comfy.url, cwd=folder)
    assert (found.returncode, found.stderr) == (DONE, "")
    assert (folder / found.stdout.strip()).read_bytes().startswith(b"\x89PNG")
    assert (comfy.posts[prompt_id], comfy.runs[prompt_id]) == (1, 1)
    assert replay(folder / LOG).verdict == "pass"


@SIGNALS
@pytest.mark.parametrize("times", [1, 3], ids=["once", "thrice"])
def test_a_run_that_is_told_to_end_closes_its_log_and_can_be_resumed(
    comfy: FakeComfy, tmp_path: Path, number: signal.Signals, times: int
) -> None:
    process, prompt_id = sleeping(comfy, tmp_path, 1.0)
    for _ in range(times):  # `timeout` sends it twice, and so does who is impatient
        process.send_signal(number)
        time.sleep(0.001)
    found = finish(process)
    statuses = {128 + number} | ({-number} if times > 1 else set())  # a shell says the same of both
    assert found.returncode in statuses
    assert found.stdout == ""
    if times == 1:
        pasted = line_of(found.stderr).partition("to resume: ")[2]
        assert shlex.split(pasted) == ["python", "-m", "comfy_fsm", "resume", "--server", comfy.url]
        assert "1 task at the server" in found.stderr
    assert names(tmp_path) == {"w.json", *LEFT_BY_A_LOG}  # no -wal: SQLite was closed in order
    assert [task.prompt_id for task in replay(tmp_path / LOG).tasks] == [prompt_id]
    assert replay(tmp_path / LOG).verdict == "incomplete"
    until(lambda: prompt_id in comfy.records)
    resumed(comfy, tmp_path, prompt_id)


# resume


def test_a_killed_run_is_resumed_and_its_task_was_posted_once(comfy: FakeComfy, tmp_path: Path) -> None:
    process, prompt_id = sleeping(comfy, tmp_path, 1.5)
    process.kill()
    assert finish(process).returncode == -signal.SIGKILL
    resumed(comfy, tmp_path, prompt_id)


def test_a_task_that_is_taken_up_again_is_named_by_its_file(comfy: FakeComfy, tmp_path: Path) -> None:
    process, prompt_id = sleeping(comfy, tmp_path, 3.0)
    process.kill()
    finish(process)
    assert " w.json " in command("watch", LOG, cwd=tmp_path).stdout
    _, _, drawn = with_bars("resume", "--server", comfy.url, cwd=tmp_path)
    assert f"w.json ({prompt_id[:8]})".encode() in drawn


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGKILL,
    ],
    ids=lambda number: number.name,
)
def test_a_window_that_is_taken_up_listens_again(comfy: FakeComfy, tmp_path: Path, number: signal.Signals) -> None:
    """However its process ended: else the end of its task is found only by the next look, half a minute later."""
    process, prompt_id = sleeping(comfy, tmp_path, 2.0)
    process.send_signal(number)
    finish(process)
    sockets = comfy.requests.count(("GET", "/ws"))
    process = begin("resume", "--server", comfy.url, cwd=tmp_path)
    until(lambda: comfy.requests.count(("GET", "/ws")) > sockets or prompt_id in comfy.records)
    process.kill()
    finish(process)
    assert prompt_id not in comfy.records
    until(lambda: prompt_id in comfy.records)


def test_a_task_whose_server_is_not_named_is_left_as_it_is(comfy: FakeComfy, tmp_path: Path) -> None:
    process, prompt_id = sleeping(comfy, tmp_path, 1.0)
    process.kill()
    finish(process)
    found = command("resume", "--server", NOWHERE, cwd=tmp_path)
    assert found.returncode == NOT_DONE
    assert f"{comfy.url} is not named" in " ".join(found.stderr.split())
    resumed(comfy, tmp_path, prompt_id)


def test_where_nothing_is_open_there_is_nothing_to_resume(comfy: FakeComfy, tmp_path: Path) -> None:
    fill(tmp_path / LOG)
    found = command("resume", "--server", comfy.url, cwd=tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (DONE, "", "")
