"""Tests of `run` as a process, with a real log and a fake ComfyUI; each end has its exit status and its words."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from comfy_fsm.log import reader as rows
from comfy_fsm.log import sqlite_file
from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.processes import (
    BAD_DATA,
    DONE,
    ESCAPES,
    GUARD,
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
    line_of,
    names,
    said,
    until,
    untouched,
    write,
)
from tests.support.stage import graph, with_node

LEFT_BY_A_LOG = {LOG, f"{LOG}.lock"}


SEEDS = itertools.count(1)  # nothing comes from the server's cache


Refuse = Callable[..., str]


@pytest.fixture(scope="module", autouse=True)
def slow(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Whoever gives up only after a while, begun at once and asked about later."""
    begun = {}
    for name, url in (("nothing listens", NOWHERE), ("a page of HTML", servers.page.url)):
        folder = tmp_path_factory.mktemp("slow")
        write(folder, "w.json", graph())
        begun[name] = begin("run", "w.json", "--server", url, cwd=folder)
    yield begun
    for process in begun.values():
        process.kill()
        process.communicate()


@pytest.fixture
def unposted(comfy: FakeComfy, tmp_path: Path) -> Refuse:
    """Runs what must be refused, in a folder with a good workflow: one line, no POST, no file but the log."""

    def refuse(status: int, *arguments: object, **settings: Any) -> str:
        before, posts = names(tmp_path), comfy.posts.total()
        found = said(command(*arguments, cwd=tmp_path, **settings), status)
        assert names(tmp_path) - before <= LEFT_BY_A_LOG
        assert comfy.posts.total() == posts
        return found

    write(tmp_path, "good.json", graph())
    return refuse


def test_run_saves_what_workflows_produce_and_prints_where(comfy: FakeComfy, tmp_path: Path) -> None:
    files = [write(tmp_path, f"{number}.json", graph(next(SEEDS))) for number in (1, 2)]
    found = command("run", *files, "--server", comfy.url, "--output", "new/folder", cwd=tmp_path)
    assert (found.returncode, found.stderr) == (DONE, "")
    places = found.stdout.splitlines()
    assert len(set(places)) == 2
    assert {Path(place).name for place in places} == names(tmp_path / "new/folder")
    assert all((tmp_path / place).read_bytes().startswith(b"\x89PNG") for place in places)
    assert replay(tmp_path / LOG).verdict == "pass"


FAILING: dict[str, tuple[dict[str, Any], str, str]] = {
    "fails": ({"1": {"class_type": "FakeFail", "inputs": {"message": "out of luck"}}}, "out of luck", "safe to run it"),
    "is rejected": ({"1": {"class_type": "NoSuchNode", "inputs": {}}}, "NoSuchNode", "safe to submit it"),
    "fails in escapes": ({"1": {"class_type": "FakeFail", "inputs": {"message": ESCAPES}}}, "red", "safe to run it"),
    "is rejected in escapes": ({"1": {"class_type": ESCAPES, "inputs": {}}}, "red", "safe to submit it"),
}


@pytest.mark.parametrize(("nodes", "cause", "advice"), FAILING.values(), ids=FAILING)
def test_a_workflow_that_comes_to_nothing_says_why_and_whether_to_try_again(
    comfy: FakeComfy, tmp_path: Path, nodes: dict[str, Any], cause: str, advice: str
) -> None:
    sink = {"2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    write(tmp_path, "bad.json", nodes | sink)
    write(tmp_path, "good.json", graph())
    found = command("run", "bad.json", "good.json", "--server", comfy.url, cwd=tmp_path)
    line = line_of(found.stderr)
    assert found.returncode == NOT_DONE
    assert line.startswith("comfy_fsm: bad.json: ")
    assert cause in line
    assert advice in line
    assert (tmp_path / found.stdout.strip()).is_file()  # the other one is not held up


NAMED = {  # what the server calls a file, and where it then is, below the folder
    ("../../x", ""): None, ("/x", "../.."): None, ("x", "C:/../y"): None,  # which no server hands over
    ("a/b.png", ""): "a/b.png", ("a.png", "video/ltx"): "video/ltx/a.png", ("a:b.png", "x*"): "x_/a_b.png",
    ("con.png", "aux"): "_aux/_con.png", (".hidden", "..x"): "_.x/_hidden",
    (f"{'x' * 300}.png", ""): f"{'x' * 251}.png",
    (f"{ESCAPES}.png", ""): f"{'_'.join(re.split('[^ -~]', ESCAPES))}.png",
}  # fmt: skip


@pytest.mark.parametrize(("named", "place"), NAMED.items(), ids=ascii)
def test_a_name_that_the_server_gives_decides_no_path(
    comfy: FakeComfy, tmp_path: Path, named: tuple[str, str], place: str | None
) -> None:
    name, subfolder = named
    nodes = {"1": {"class_type": "FakeNamed", "inputs": {"filename": name, "subfolder": subfolder}}}
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(inner, "w.json", nodes)
    found = command("run", "w.json", "--server", comfy.url, "--output", "c", cwd=inner)
    if place is None:
        assert "so nothing was saved" in said(found, NOT_DONE)
    else:
        assert (found.returncode, found.stdout.strip()) == (0, str(Path("c", place)))
        assert ("saved as" in found.stderr) is (place != "/".join(filter(None, (subfolder, name))))
    assert (names(tmp_path), names(tmp_path / "a")) == ({"a"}, {"b"})
    there = [path.relative_to(inner / "c").as_posix() for path in (inner / "c").rglob("*") if path.is_file()]
    assert there == [place] * (place is not None)
    assert names(inner) == {"w.json", "c", *LEFT_BY_A_LOG}


@pytest.mark.parametrize(
    ("content", "status", "cure"),
    [
        (b'{"nodes": [{"id": 1, "type": "SaveImage"}], "links": [], "version": 0.4}', BAD_DATA, "Export (API)"),
        (b"a workflow", BAD_DATA, "export"),
        (b"[]", BAD_DATA, "Export (API)"),
        (b"{}", BAD_DATA, "Export (API)"),
        (b'{"1": {"inputs": {}}}', BAD_DATA, "Export (API)"),
        (b"", BAD_DATA, "export"),
        (b"\x89PNG\r\n\x1a\n\0\xff", BAD_DATA, "Export (API)"),
        (b"[" * 100_000, BAD_DATA, "export"),
        (b'{"\xff": 1}', BAD_DATA, "export"),
        (None, NO_INPUT, "No such file"),
    ],
    ids=["canvas", "text", "list", "no-node", "no-class", "empty", "picture", "deep", "utf-8", "missing"],
)
def test_what_is_no_workflow_is_told_before_any_is_submitted(
    unposted: Refuse, comfy: FakeComfy, tmp_path: Path, content: bytes | None, status: int, cure: str
) -> None:
    if content is not None:
        (tmp_path / "bad.json").write_bytes(content)
    line = unposted(status, "run", "good.json", "bad.json", "--server", comfy.url)
    assert "bad.json" in line
    assert cure in line


def test_a_folder_is_no_workflow(unposted: Refuse, comfy: FakeComfy, tmp_path: Path) -> None:
    (tmp_path / ESCAPES).mkdir()
    assert "red" in unposted(NO_INPUT, "run", ESCAPES, "--server", comfy.url)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["good.json", "--server", "ftp://127.0.0.1:8188"], "http://host:8188"),
        (["good.json", "--server", "ws://127.0.0.1:8188"], "http://host:8188"),
        (["good.json", "--server", "127.0.0.1"], "http://host:8188"),
        (["good.json", "--server", ""], "http://host:8188"),
        (["good.json", "--server", "http://"], "http://host:8188"),
        (["good.json", "--server", "http://127.0.0.1:99999"], "http://host:8188"),
        (["good.json", "--server", NOWHERE, "--token-env", "NO_SUCH_TOKEN"], "NO_SUCH_TOKEN"),
        (["--server", NOWHERE], "name a workflow file"),
        (["good.json"], "--server"),
        (["good.json", "--servr", NOWHERE], "--servr"),
    ],
    ids=lambda value: " ".join(value).removeprefix("good.json --server ") if isinstance(value, list) else "",
)
def test_wrong_usage_is_said_to_be_that(unposted: Refuse, arguments: list[str], says: str) -> None:
    assert says in unposted(USAGE, "run", *arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bogus"], "there is no command 'bogus'; `python -m comfy_fsm --help` shows more"),
        (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
        (["run", "--servr", NOWHERE], "Did you mean --server?"),
        (["run"], "run needs --server; `python -m comfy_fsm run --help` shows more"),
        (["watch"], "watch needs LOG; `python -m comfy_fsm watch --help` shows more"),
        (["history"], "history needs ID; `python -m comfy_fsm history --help` shows more"),
        (["recover", "a", "b", "--server", NOWHERE], "'b' is one word too many"),
        (["serve", LOG, "--port", "many"], 'unable to convert "many" into int; `python'),
        (["diagnose", ".", "a", "b"], "name a log"),
        (["diagnose", __file__, "46305da1"], f"the log comes last: diagnose 46305da1 {__file__}"),
    ],
)
def test_wrong_usage_of_any_command_says_what_it_needs(tmp_path: Path, arguments: list[str], says: str) -> None:
    assert says in said(command(*arguments, cwd=tmp_path), USAGE)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "fault", [{"token": "open sesame"}, {"refuse_sockets": (99, 403)}], ids=["no token", "no socket"]
)
def test_a_server_that_wants_other_credentials_is_told_apart(
    unposted: Refuse, comfy: FakeComfy, fault: dict[str, object]
) -> None:
    comfy.faults.turn(fault)
    assert "token" in unposted(UNREACHABLE, "run", "good.json", "--server", comfy.url, "--sockets", "require")


def test_a_token_is_taken_from_the_environment_and_never_written_down(comfy: FakeComfy, tmp_path: Path) -> None:
    comfy.faults.token = "0pen-sesame"
    write(tmp_path, "w.json", graph())
    arguments = ["run", "w.json", "--server", comfy.url, "--token-env", "COMFY"]
    found = command(*arguments, cwd=tmp_path, env={"COMFY": "0pen-sesame"})
    assert (found.returncode, found.stderr) == (DONE, "")
    assert b"0pen-sesame" not in (tmp_path / LOG).read_bytes()


def test_a_token_that_no_header_may_hold_is_wrong_usage(tmp_path: Path) -> None:
    write(tmp_path, "w.json", graph())
    arguments = ["run", "w.json", "--server", NOWHERE, "--token-env", "COMFY"]
    found = command(*arguments, cwd=tmp_path, env={"COMFY": "0pen-sesame\n"})
    assert found.returncode == USAGE
    assert "a line end perhaps" in found.stderr
    assert "0pen-sesame" not in found.stderr


async def test_a_log_that_somebody_writes_is_left_to_him(unposted: Refuse, comfy: FakeComfy, tmp_path: Path) -> None:
    async with await Log.open(tmp_path / LOG) as log:
        await log.append(b'{"at":1,"kind":"tick"}')
        assert f"process {os.getpid()}" in await asyncio.to_thread(
            unposted, BAD_DATA, "run", "good.json", "--server", comfy.url
        )


COMMANDS = {
    "run": ("run", "good.json", "--server", NOWHERE, "--log", LOG),
    "resume": ("resume", "--server", NOWHERE, "--log", LOG),
    "tail": ("tail", LOG),
    "export": ("export", LOG),
    "diagnose": ("diagnose", LOG),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(("make", "why"), NO_LOGS.values(), ids=NO_LOGS)
def test_what_is_no_log_of_ours_is_not_touched(
    unposted: Refuse, tmp_path: Path, make: Callable[[Path], object], why: str, arguments: tuple[str, ...]
) -> None:
    place = tmp_path / LOG
    make(place)
    status = NO_INPUT if place.is_dir() and arguments[0] != "run" else BAD_DATA
    with untouched(place):
        line = unposted(status, *arguments)
    assert LOG in line
    assert why in line


@pytest.mark.parametrize("name", ["resume", "tail", "export"])
def test_a_log_that_is_not_there_is_not_made(unposted: Refuse, tmp_path: Path, name: str) -> None:
    assert LOG in unposted(NO_INPUT, *COMMANDS[name])
    assert names(tmp_path) == {"good.json"}


@pytest.mark.parametrize("kilobytes", [0, 8, 40, 64, 96])
def test_a_full_disk_ends_the_command_with_one_line(comfy: FakeComfy, tmp_path: Path, kilobytes: int) -> None:
    """However far it had come: at the opening, at the submission, or while two tasks are waited for."""
    size = kilobytes * 1024
    files = [write(tmp_path, f"{number}.json", graph(next(SEEDS), seconds=0.2)) for number in (1, 2)]
    process = begin(
        "run", *files, "--server", comfy.url, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip
    assert LOG in said(finish(process), BAD_DATA)


def test_each_task_is_saved_and_told_when_it_ends_and_not_when_all_have(comfy: FakeComfy, tmp_path: Path) -> None:
    """The one that fails says why, the others run on meanwhile: the last of them until it is interrupted."""
    write(tmp_path, "a.json", graph(next(SEEDS)))
    write(tmp_path, "bad.json", with_node("FakeFail", next(SEEDS), message="of no use"))
    write(tmp_path, "z.json", graph(next(SEEDS), seconds=1000))
    process = begin("run", "a.json", "bad.json", "z.json", "--server", comfy.url, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    saved, failed = process.stdout.readline().strip(), process.stderr.readline()
    assert process.poll() is None
    assert (tmp_path / saved).read_bytes().startswith(b"\x89PNG")
    assert failed.startswith("comfy_fsm: bad.json: ")
    assert "of no use" in failed
    urlopen(Request(f"{comfy.url}/interrupt", method="POST", data=b"{}")).close()
    found = finish(process)
    assert found.returncode == NOT_DONE
    assert "z.json: " in found.stderr


def test_what_is_delivered_is_on_the_disk_whenever_the_process_dies(comfy: FakeComfy, tmp_path: Path) -> None:
    """Killed when its log tells the first delivery: that file is there, and `resume` saves the other."""
    write(tmp_path, "a.json", graph(next(SEEDS)))
    write(tmp_path, "b.json", graph(next(SEEDS), seconds=1.0))
    process = begin("run", "a.json", "b.json", "--server", comfy.url, cwd=tmp_path)
    until(lambda: deliveries(tmp_path / LOG) or process.poll() is not None)
    process.kill()
    finish(process)
    assert len([*tmp_path.glob("*.png")]) >= deliveries(tmp_path / LOG) >= 1
    found = command("resume", "--server", comfy.url, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (DONE, "")
    assert (len([*tmp_path.glob("*.png")]), deliveries(tmp_path / LOG)) == (2, 2)


def deliveries(path: Path) -> int:
    """How many results the log says to be handed over."""
    if not (path.exists() and sqlite_file.is_log(path)):
        return 0
    return sum(b'"kind":"delivered"' in (record.line or b"") for record in rows.read(path))


def test_a_reader_that_leaves_is_not_blamed_on_the_workflow_and_every_file_is_saved(
    comfy: FakeComfy, tmp_path: Path
) -> None:
    """As of `run … | head -1`."""
    files = [write(tmp_path, f"{number}.json", graph(next(SEEDS))) for number in (1, 2, 3)]
    process = begin("run", *files, "--server", comfy.url, cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, complaints = process.communicate(timeout=GUARD)
    assert complaints == ""
    assert process.returncode == 128 + signal.SIGINT
    assert len([*tmp_path.glob("*.png")]) == 3


@pytest.mark.parametrize("name", ["nothing listens", "a page of HTML"])
def test_where_no_comfyui_answers_nothing_is_submitted(slow: dict[str, subprocess.Popen[str]], name: str) -> None:
    line = said(finish(slow[name]), UNREACHABLE)
    assert "nothing was submitted" in line
    assert ("check host and port" if name == "nothing listens" else "check the address and its path") in line
