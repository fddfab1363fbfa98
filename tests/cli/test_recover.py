"""Tests of `recover`, `consistency` and `history` as processes, with a real log, two fakes and an address where nobody
answers.

The logs are written by hand, so their ids are known: a task that is lost, and one whose POST was never answered. They
state a policy by which an absence is proved a hundred times faster.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy, Faults
from comfy_fsm.testing.execution.pictures import FileKey
from replay import replay
from tests.support.lines import fill
from tests.support.processes import (
    BAD_DATA,
    DONE,
    ESCAPES,
    LOG,
    NO_INPUT,
    NO_LOGS,
    NOT_DONE,
    NOWHERE,
    UNREACHABLE,
    USAGE,
    begin,
    command,
    finish,
    in_a_thread,
    line_of,
    said,
    until,
    untouched,
    write,
)
from tests.support.stage import bytes_of, codes, graph, record

LOST, LEFT, OTHER = (f"{n}f0e1d2c-aaaa-4bbb-8ccc-00000000000{n}" for n in (1, 2, 3))
WINDOW = "w" * 32
QUICK = {"absence_seconds": 0.03, "look_seconds": 0.01, "settle_seconds": 0.02}
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}, "2": {"class_type": "SaveImage", "inputs": {"a": ["1", 0]}}}


class Lines:
    """A log of times long gone, line by line."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.add("trace", {"version": 1, "policy": QUICK})

    def add(self, kind: str, data: dict[str, Any], server: str | None = None) -> None:
        named = {"window": WINDOW, "server": server} if server else {}
        line = {"at": 1_795_000_000.0 + 4 * len(self.lines), **named, "kind": kind, "data": data}
        self.lines.append(json.dumps(line).encode())

    def ask(self, server: str, method: str, path: str, answer: object, body: object = None) -> None:
        request = {"id": f"r{len(self.lines)}", "method": method, "path": path}
        self.add("http.request", request | {"body": body}, server)
        if answer is None:
            self.add("http.error", {"id": request["id"], "error": "ReadTimeout"}, server)
        else:
            self.add("http.response", {"id": request["id"], "status": 200, "body": answer}, server)

    def post(self, server: str, prompt_id: str, *, answered: bool = True) -> None:
        body = {"prompt": GRAPH, "prompt_id": prompt_id, "client_id": WINDOW}
        answer = {"prompt_id": prompt_id, "number": 1, "node_errors": {}}
        self.ask(server, "POST", "/prompt", answer if answered else None, body)

    def lose(self, server: str, prompt_id: str) -> None:
        self.post(server, prompt_id)
        self.ask(server, "GET", "/queue", {"running": [prompt_id], "pending": []})
        for _ in range(4):  # a lone absence must last for five times as long as one that a count agrees with
            self.ask(server, "GET", "/queue", {"running": [], "pending": []})
            self.ask(server, "GET", f"/history/{prompt_id}", {})
        for _ in range(4):
            self.add("tick", {})
        self.add("delivered", {"prompt_id": prompt_id, "state": "lost"}, server)


class Place(NamedTuple):
    one: FakeComfy
    two: FakeComfy
    folder: Path

    def run(self, *arguments: object, servers: int = 2, **settings: Any) -> Any:
        named = [word for comfy in (self.one, self.two)[:servers] for word in ("--server", comfy.url)]
        return command(*arguments, *named, cwd=self.folder, **settings)

    def states(self) -> dict[str | None, tuple[str, str]]:
        return {task.prompt_id: (str(task.state), task.server) for task in replay(self.folder / LOG).tasks}

    def asked(self) -> int:
        return len(self.one.requests) + len(self.two.requests)

    def knows(self, comfy: FakeComfy, *prompt_ids: str) -> None:
        comfy.records.update({prompt_id: record(prompt_id) for prompt_id in prompt_ids})


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[FakeComfy, FakeComfy]]:
    with in_a_thread() as first, in_a_thread() as second:
        yield first, second


@pytest.fixture
def place(servers: tuple[FakeComfy, FakeComfy], tmp_path: Path) -> Iterator[Place]:
    """Two servers and a log: one task is lost, of one it is not known whether it was accepted, one is done."""
    one, two = servers
    lines = Lines()
    lines.lose(one.url, LOST)
    lines.post(one.url, LEFT, answered=False)
    lines.post(one.url, OTHER)
    lines.ask(one.url, "GET", f"/history/{OTHER}", {OTHER: record(OTHER)})
    lines.add("delivered", {"prompt_id": OTHER, "state": "completed"}, one.url)
    fill(tmp_path / LOG, *lines.lines)
    yield Place(one, two, tmp_path)
    for comfy in servers:
        comfy.faults.turn(msgspec.to_builtins(Faults()))
        comfy.records.clear()


def test_a_dry_run_says_what_an_act_does_and_writes_nothing(place: Place) -> None:
    place.knows(place.one, LEFT)
    place.knows(place.two, LOST)
    before = bytes_of(place.folder / LOG)
    rehearsed = place.run("recover", "--all")
    assert (rehearsed.returncode, rehearsed.stderr) == (DONE, "")
    assert "nothing was written" in rehearsed.stdout
    assert bytes_of(place.folder / LOG) == before
    assert place.run("recover", "--all", "--dry-run").stdout == rehearsed.stdout
    done = place.run("recover", "--all", "--yes")
    assert (done.returncode, done.stderr) == (DONE, "")
    assert done.stdout == re.sub("^dry run.*\n", "", rehearsed.stdout, flags=re.MULTILINE)
    assert place.states() == {
        LOST: ("completed", place.two.url), LEFT: ("completed", place.one.url), OTHER: ("completed", place.one.url),
    }  # fmt: skip
    assert not codes(replay(place.folder / LOG)) & {"wrong-server", "double-delivery"}
    assert place.one.posts.total() == place.two.posts.total() == 0
    again = place.run("recover", "--all", "--yes")
    assert again.returncode == DONE
    assert again.stdout.startswith("DECIDED  no task needs it")


def test_what_is_recovered_is_handed_over_by_resume_and_its_files_are_saved_once(place: Place) -> None:
    place.knows(place.one, LOST, LEFT)
    place.one.state.files.upload(FileKey("kept.png", "", "output"), b"\x89PNG", overwrite=True)
    assert place.run("recover", "--all", "--yes").returncode == DONE
    first, second = (place.run("resume", "--output", "out") for _ in range(2))
    assert (first.returncode, line_of(first.stderr).partition(": ")[2].partition(": ")[2].strip()) == (
        DONE, "saved as 'kept-2.png': the server named it 'kept.png', and that name was taken",
    )  # fmt: skip
    assert {Path(line).name for line in first.stdout.splitlines()} == {"kept.png", "kept-2.png"}  # whichever is first
    assert (second.returncode, second.stdout, second.stderr) == (DONE, "", "")


def test_what_a_diagnosis_prints_runs_as_it_is_printed(place: Place) -> None:
    place.knows(place.two, LOST)
    shown = command("diagnose", LOG, cwd=place.folder).stdout
    commands = re.findall(r"^ +python -m comfy_fsm (.*)$", shown, re.MULTILINE)
    assert {words.split()[0] for words in commands} == {"recover", "consistency"}
    for words in commands:
        found = command(*shlex.split(words), cwd=place.folder)
        assert (found.returncode in (DONE, NOT_DONE), found.stderr) == (True, ""), words


def test_a_task_is_named_by_the_beginning_of_its_id_and_no_other_is_touched(place: Place) -> None:
    place.knows(place.one, LOST, LEFT)
    found = place.run("recover", LOST[:6], "--yes")
    assert found.returncode == DONE
    assert LEFT not in found.stdout
    states = place.states()
    assert states[LOST] == ("completed", place.one.url)
    assert states[LEFT][0] == "uncertain"


def test_what_is_not_proved_is_undecided_and_the_status_says_so(place: Place) -> None:
    place.one.faults.login_page = True
    place.knows(place.two, LOST)
    found = place.run("recover", LOST, "--yes")
    assert found.returncode == NOT_DONE
    assert "gave no answer" in found.stdout
    assert place.states()[LOST] == ("lost", place.one.url)
    place.one.faults.login_page = False
    assert place.run("recover", LOST, "--yes").returncode == DONE
    assert place.states()[LOST] == ("completed", place.two.url)


def test_a_server_that_is_not_named_decides_nothing(place: Place) -> None:
    found = command("recover", LOST, "--yes", "--server", place.two.url, cwd=place.folder)
    assert found.returncode == NOT_DONE
    assert place.one.url in found.stdout
    assert place.states()[LOST] == ("lost", place.one.url)


ERRANDS = {"recover": ("recover", LOST), "all": ("recover", "--all"), "act": ("recover", "--all", "--yes"),
           "consistency": ("consistency", LOST), "history": ("history", LOST, "--attempts", "1")}  # fmt: skip
each_errand = pytest.mark.parametrize("arguments", ERRANDS.values(), ids=ERRANDS)


@each_errand
def test_where_nobody_answers_each_server_has_its_line(place: Place, arguments: tuple[str, ...]) -> None:
    place.one.faults.html = {"*": 1_000}
    found = command(*arguments, "--server", place.one.url, "--server", NOWHERE, cwd=place.folder)
    assert (found.returncode, found.stdout) == (UNREACHABLE, "")
    lines = found.stderr.splitlines()
    assert any(place.one.url in line and "HTTP 502" in line for line in lines)
    if arguments[0] != "history":  # which asks the one that it is bound to
        assert any(NOWHERE in line and "ConnectError" in line for line in lines)
        assert len(lines) == 2
    assert place.states()[LOST] == ("lost", place.one.url)


@each_errand
async def test_a_log_in_use_is_read_but_never_written(place: Place, arguments: tuple[str, ...]) -> None:
    place.knows(place.one, LOST, LEFT)
    async with await Log.open(place.folder / LOG):
        found = await asyncio.to_thread(place.run, *arguments)
    if "--yes" in arguments:
        assert f"process {os.getpid()}" in said(found, BAD_DATA)
    else:
        assert found.stderr == ""
        assert found.returncode in (DONE, NOT_DONE)


@each_errand
@pytest.mark.parametrize(("make", "why"), NO_LOGS.values(), ids=NO_LOGS)
def test_what_is_no_log_of_ours_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], make: Callable[[Path], object], why: str
) -> None:
    log = tmp_path / LOG
    make(log)
    with untouched(log):
        line = said(command(*arguments, "--server", NOWHERE, cwd=tmp_path), NO_INPUT if log.is_dir() else BAD_DATA)
    assert why in line


@each_errand
def test_a_log_that_is_not_there_is_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert LOG in said(command(*arguments, "--server", NOWHERE, "--log", LOG, cwd=tmp_path), NO_INPUT)
    assert [*tmp_path.iterdir()] == []


def test_a_log_without_tasks_needs_nothing_and_knows_no_id(tmp_path: Path) -> None:
    fill(tmp_path / LOG)
    found = command("recover", "--all", "--yes", "--server", NOWHERE, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (DONE, "")
    for name in ("recover", "consistency"):
        assert "knows 0 tasks" in said(command(name, LOST, "--server", NOWHERE, cwd=tmp_path), USAGE)


def test_a_damaged_log_is_read_as_far_as_it_goes_and_says_so(place: Place) -> None:
    log = place.folder / LOG
    with closing(sqlite3.connect(log)) as db:
        db.execute("UPDATE log SET line = ? WHERE position = 13", (b'{"at":1795000011,"kind":"tick"}',))
        db.commit()
    place.knows(place.one, LOST)
    found = place.run("recover", LOST)
    assert "position 13" in line_of(found.stderr)
    assert "completed" in found.stdout


WRONG = {
    "nobody": (["recover", "--server", NOWHERE], "--all"),
    "one and all": (["recover", LOST, "--all", "--server", NOWHERE], "--all"),
    "act and not": (["recover", LOST, "--yes", "--dry-run", "--server", NOWHERE], "--dry-run"),
    "no address": (["recover", "--all", "--server", "ftp://127.0.0.1:8188"], "http://host:8188"),
    "unknown": (["recover", "zz", "--server", NOWHERE], "no task's prompt id begins with"),
    "unknown, consistency": (["consistency", "zz", "--server", NOWHERE], "no task's prompt id begins with"),
    "no attempts": (["history", LOST, "--attempts", "0", "--server", NOWHERE], "at least 1"),
    "no token": (["recover", "--all", "--token-env", "NO_SUCH_TOKEN", "--server", NOWHERE], "NO_SUCH_TOKEN"),
    "an id in escapes": (["recover", ESCAPES, "--server", NOWHERE], "no task's prompt id begins with"),
}


@pytest.mark.parametrize(("arguments", "says"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_said_to_be_that(place: Place, arguments: list[str], says: str) -> None:
    before = bytes_of(place.folder / LOG)
    assert says in said(command(*arguments, cwd=place.folder), USAGE)
    assert bytes_of(place.folder / LOG) == before


@each_errand
def test_who_names_no_server_is_told_which_the_log_names(place: Place, arguments: tuple[str, ...]) -> None:
    assert place.one.url in said(command(*arguments, cwd=place.folder), USAGE)


def test_an_id_that_several_begin_with_is_refused(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, lines = tmp_path_factory.mktemp("alike"), Lines()
    for end in "12":
        lines.post(place.one.url, LOST[:-1] + end, answered=False)
    fill(folder / LOG, *lines.lines)
    for name in ("recover", "consistency", "history"):
        line = said(command(name, LOST[:8], "--server", place.one.url, cwd=folder), USAGE)
        assert "2 prompt ids begin with" in line


def test_hostile_words_of_a_log_and_of_a_server_drive_no_terminal(place: Place) -> None:
    """`command` looks at each letter of what is printed."""
    lines = Lines()
    lines.post(place.one.url, ESCAPES, answered=False)
    lines.post(f"http://{ESCAPES}", LOST, answered=False)
    lines.post(place.one.url, LEFT, answered=False)
    (place.folder / LOG).unlink()
    fill(place.folder / LOG, *lines.lines)
    hostile = record(LEFT, "error")
    hostile["outputs"] = {ESCAPES: {"images": [{"filename": ESCAPES, "subfolder": "../..", "type": ESCAPES}]}}
    error = {"prompt_id": LEFT, "exception_type": ESCAPES, "exception_message": ESCAPES * 100, "node_id": ESCAPES}
    hostile["status"] = {"status_str": ESCAPES, "messages": [["execution_error", error]]}
    place.one.records[LEFT] = hostile
    for arguments in (["recover", "--all"], ["consistency", LEFT], ["history", LEFT], ["consistency", LOST]):
        found = place.run(*arguments)
        assert found.stdout
        assert max(map(len, found.stdout.splitlines())) < 700
    assert "red" in place.run("history", LEFT).stdout
    assert "red" in said(command("recover", "--all", cwd=place.folder), USAGE)


def test_a_recovery_that_is_killed_is_taken_up_by_the_next(place: Place) -> None:
    """At whatever moment: what it wrote down stands, and the next one brings it to its end."""
    place.knows(place.two, LOST, LEFT)
    for requests in (1, 6, 11, 16):
        before = place.asked()
        process = begin(
            "recover", "--all", "--yes", "--server", place.one.url, "--server", place.two.url, cwd=place.folder
        )
        until(lambda asked=before + requests, process=process: place.asked() >= asked or process.poll() is not None)
        process.kill()
        finish(process)
    found = place.run("recover", "--all", "--yes")
    assert (found.returncode, found.stderr) == (DONE, "")
    states = place.states()
    assert states[LOST] == states[LEFT] == ("completed", place.two.url)
    assert not codes(replay(place.folder / LOG)) & {"wrong-server", "double-delivery", "damaged"}


def test_a_token_goes_with_every_question_and_into_no_log(place: Place) -> None:
    place.knows(place.one, LOST)
    place.one.faults.token = place.two.faults.token = "0pen-sesame"
    refused = place.run("recover", LOST, "--yes")
    assert (refused.returncode, refused.stdout) == (UNREACHABLE, "")
    assert "HTTP 401" in refused.stderr
    found = place.run("recover", LOST, "--yes", "--token-env", "COMFY", env={"COMFY": "0pen-sesame"})
    assert found.returncode == DONE
    assert b"0pen-sesame" not in b"".join(bytes_of(place.folder / LOG).values())


def test_consistency_says_who_has_it_and_what_to_do(place: Place) -> None:
    place.knows(place.two, LOST)
    found = place.run("consistency", LOST)
    assert (found.returncode, found.stderr) == (NOT_DONE, "")
    assert found.stdout.startswith("INCONSISTENT  another server has it, and its own denies it\n")
    assert f"bound to {place.one.url}, since it accepted the POST (position 3)" in found.stdout
    place.run("recover", LOST, "--yes")
    found = place.run("consistency", LOST)
    assert (found.returncode, found.stderr) == (DONE, "")
    assert f"bound to {place.two.url}, since a recovery found it there" in found.stdout


def test_history_prints_the_outputs_of_a_valid_record_and_what_another_lacks(place: Place) -> None:
    place.knows(place.one, LOST)
    found = place.run("history", LOST)
    assert (found.returncode, found.stderr) == (DONE, "")
    assert found.stdout.startswith("COMPLETE  the record is valid: completed\n")
    assert "output of node 2: output/kept.png" in found.stdout
    place.one.records[LOST] = record(LOST, status=None)
    found = place.run("history", LOST, "--attempts", "2")
    assert found.returncode == NOT_DONE
    assert found.stdout.startswith("INCOMPLETE")
    assert "missing: it has no status" in found.stdout


def test_history_needs_no_log(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    place.knows(place.two, "somebodys")
    empty = tmp_path_factory.mktemp("empty")
    named = ("--server", place.one.url, "--server", place.two.url)
    found = command("history", "somebodys", *named, cwd=empty)
    assert (found.returncode, found.stderr) == (DONE, "")
    assert place.two.url in found.stdout
    assert [*empty.iterdir()] == []
    assert command("history", "nobodys", *named, "--attempts", "1", cwd=empty).returncode == NOT_DONE


def test_what_is_printed_fits_into_eighty_columns(place: Place) -> None:
    place.knows(place.two, LOST)
    for arguments in (["recover", "--all"], ["consistency", LOST], ["history", LEFT, "--attempts", "1"]):
        assert max(map(len, place.run(*arguments).stdout.splitlines())) <= 80


def test_what_a_killed_process_left_open_is_stuck_at_once_and_while_it_lives_it_is_not(tmp_path: Path) -> None:
    with in_a_thread() as comfy:
        workflow = write(tmp_path, "w.json", graph(seconds=3600))
        process = begin("run", workflow, "--server", comfy.url, cwd=tmp_path)
        until(lambda: comfy.runs or process.poll() is not None)
        asked = ("recover", "--all", "--server", comfy.url)
        (prompt_id,) = comfy.runs
        assert prompt_id not in command(*asked, cwd=tmp_path).stdout
        process.kill()
        process.communicate()
        assert prompt_id in command(*asked, cwd=tmp_path).stdout


def test_an_act_that_is_interrupted_closes_its_log(place: Place) -> None:
    place.one.faults.delay = {"GET /history": 30.0}
    question = ("GET", f"/history/{LOST}")
    before = place.one.requests.count(question)
    process = begin("recover", "--all", "--yes", "--server", place.one.url, cwd=place.folder)
    until(lambda: place.one.requests.count(question) > before)
    process.send_signal(signal.SIGINT)
    found = finish(process)
    assert (found.returncode, found.stdout, found.stderr) == (128 + signal.SIGINT, "", "")
    assert not (place.folder / f"{LOG}-wal").exists()
