"""Tests of the command as a process, with a real log and a fake ComfyUI; each end has its exit status and its
message.

By subcommand. A refusal is one line on standard error, nothing on standard output, and no file but the log.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import msgspec
import pyte
import pytest

from comfy_fsm.cli.run import resuming
from comfy_fsm.live.client.client import Client
from comfy_fsm.log import logfile
from comfy_fsm.log import reader as rows
from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy, Faults
from replay import replay
from tests.support.lines import fill
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
    in_a_thread,
    line_of,
    names,
    said,
    until,
    untouched,
    write,
)
from tests.support.stage import QUICK, graph, with_node

LEFT_BY_A_LOG = {LOG, f"{LOG}.lock"}
SEEDS = itertools.count(1)  # nothing comes from the server's cache

Refuse = Callable[..., str]


# the stage


class Servers(NamedTuple):
    comfy: FakeComfy
    page: FakeComfy  # which has a page of HTML for everything


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with in_a_thread() as comfy, in_a_thread() as page:
        page.faults.login_page = True
        yield Servers(comfy, page)


@pytest.fixture
def comfy(servers: Servers) -> Iterator[FakeComfy]:
    """The server that all tests share, without the faults of the one before."""
    yield servers.comfy
    servers.comfy.faults.turn(msgspec.to_builtins(Faults()))


@pytest.fixture(scope="module", autouse=True)
def slow(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
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


# run


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
    found = command(
        "run", *files, "--server", comfy.url, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip
    assert LOG in said(found, BAD_DATA)


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
    if not (path.exists() and logfile.is_log(path)):
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


def with_bars(*words: str, cwd: Path) -> tuple[int, str, bytes]:
    """The exit status of a command, its standard output, and what it draws on the terminal that is its standard
    error.
    """
    terminal, end = os.openpty()
    with open(end, "wb") as stderr:
        process = begin(*words, cwd=cwd, stderr=stderr, env={"TERM": "xterm"})
    with open(terminal, "rb", buffering=0) as reader:
        drawn = b""
        with suppress(OSError):  # how a terminal ends
            while part := reader.read(4096):
                drawn += part
    out, _ = process.communicate(timeout=GUARD)
    return process.returncode, out, drawn


def test_on_a_terminal_bars_are_drawn_there_and_standard_output_is_left_alone(comfy: FakeComfy, tmp_path: Path) -> None:
    write(tmp_path, "w.json", graph(next(SEEDS)))
    write(tmp_path, "bad.json", {"1": {"class_type": "FakeText", "inputs": {}}})
    status, out, drawn = with_bars("run", "w.json", "bad.json", "--server", comfy.url, cwd=tmp_path)
    assert status == NOT_DONE
    assert (tmp_path / out.strip()).is_file()
    shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", drawn)
    assert b" completed " in shown
    screen = pyte.Screen(300, 50)
    pyte.ByteStream(screen).feed(drawn)
    assert [line for line in screen.display if line.startswith("comfy_fsm: bad.json: ")]  # on a line of its own


@pytest.mark.parametrize("name", ["nothing listens", "a page of HTML"])
def test_where_no_comfyui_answers_nothing_is_submitted(slow: dict[str, subprocess.Popen[str]], name: str) -> None:
    line = said(finish(slow[name]), UNREACHABLE)
    assert "nothing was submitted" in line
    assert ("check host and port" if name == "nothing listens" else "check the address and its path") in line


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


# tail, export, and the replay of a log


def test_tail_prints_what_is_there_and_then_what_comes(tmp_path: Path) -> None:
    entries = [b'{"at":%d,"kind":"tick"}' % number for number in range(1, 5)]
    fill(tmp_path / LOG, *entries[:2])
    process = begin("tail", LOG, cwd=tmp_path)
    assert process.stdout is not None
    guard = threading.Timer(GUARD, process.kill)
    guard.start()
    try:
        printed = [process.stdout.readline() for _ in range(2)]
        for entry in entries[2:]:
            fill(tmp_path / LOG, entry)
            printed.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        found = finish(process)
    finally:
        guard.cancel()
    assert [line.encode() for line in printed] == [entry + b"\n" for entry in entries]
    assert (found.returncode, found.stdout, found.stderr) == (128 + signal.SIGINT, "", "")


def test_an_export_is_a_trace_that_is_judged_as_its_log(comfy: FakeComfy, tmp_path: Path) -> None:
    def judged(path: str) -> dict[str, Any]:
        found = command(path, "--format", "json", module="replay", cwd=tmp_path)
        report: dict[str, Any] = json.loads(found.stdout)
        return {name: report[name] for name in ("verdict", "tasks", "findings")}

    comfy.faults.drop_types = {"execution_success", "executing"}  # so that there are findings
    write(tmp_path, "w.json", graph(next(SEEDS)))
    command("run", "w.json", "--server", comfy.url, cwd=tmp_path)
    found = command("export", LOG, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (DONE, "")
    (tmp_path / "trace.jsonl").write_text(found.stdout, encoding="utf-8")
    assert judged("trace.jsonl") == judged(LOG)


def test_what_an_export_prints_drives_no_terminal_and_says_the_same(tmp_path: Path) -> None:
    """`finish` has looked at each letter. JSON lets through what is beyond ASCII, U+009B and its like among it."""
    told = {"at": 1, "kind": "tick", "remark": ESCAPES + "\x7f\u2028 é 漢 \U0001f600 \U000e0001"}
    lines = [json.dumps(told, ensure_ascii=ascii_only) for ascii_only in (True, False)]
    fill(tmp_path / LOG, *(line.encode() for line in lines), b'{"at":2,"kind":"\xff\x9b1m"}')
    printed = command("export", LOG, cwd=tmp_path).stdout.splitlines()
    assert [json.loads(line) for line in printed[:2]] == [told, told]
    assert "é 漢 😀" in printed[1]
    assert len(printed) == 3


async def test_a_log_is_replayed_while_it_is_written(comfy: FakeComfy, tmp_path: Path) -> None:
    def judged() -> int:
        return command(LOG, module="replay", cwd=tmp_path).returncode

    async with Client(comfy.url, log=tmp_path / LOG, policy=QUICK) as client:
        task = await client.window().submit(graph(next(SEEDS), seconds=1.5))
        meanwhile = await asyncio.to_thread(judged)
        await task
        assert (meanwhile, await asyncio.to_thread(judged)) == (3, 0)
