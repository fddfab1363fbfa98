"""`comfy-replay min`, as its users run it: the smaller trace, the test that it writes, and what it refuses."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
from pathlib import Path

import pytest

from comfy_fsm import Log
from replay import replay
from tests.support.fixtures import FIXTURES
from tests.support.hars import har_of
from tests.support.installed import installed_wheel
from tests.support.processes import BAD_DATA, DONE, NO_INPUT, NOT_DONE, USAGE
from tests.support.replaying import run, told

RECORDINGS = FIXTURES / "recordings" / "0.3.64"
DROP = RECORDINGS / "socket-drop.jsonl.gz"
KILLED = RECORDINGS / "server-killed.jsonl.gz"


def codes(trace: Path) -> list[str]:
    return [str(finding.code) for finding in replay(trace).findings]


def test_the_smaller_trace_shows_the_finding_and_is_told_of_in_numbers(tmp_path: Path) -> None:
    report = told(tmp_path, "min", DROP, "--finding", "missed-end", "-o", "small.jsonl")
    small = (tmp_path / "small.jsonl").read_bytes()
    assert "missed-end" in codes(tmp_path / "small.jsonl")
    assert (report["min"], report["finding"], report["test"]) == (1, "missed-end", None)
    assert (report["lines_before"], report["lines_after"]) == (88, small.count(b"\n"))
    assert report["bytes_after"] == len(small)
    assert report["folds"] > 0
    assert report["minimal"]


def test_without_a_file_it_goes_to_standard_output_and_the_numbers_beside_it(tmp_path: Path) -> None:
    done = run(tmp_path, "min", "-", "--finding", "missed-end", given=DROP.read_bytes())
    assert done.returncode == DONE
    assert "missed-end" in [finding.code for finding in replay(done.stdout.splitlines()).findings]
    assert done.stderr.startswith("replay: 88 lines of")


def test_a_trace_that_is_minimal_already_stays_as_it_is(tmp_path: Path) -> None:
    for before, after in ((DROP, "once.jsonl"), ("once.jsonl", "twice.jsonl")):
        assert run(tmp_path, "min", before, "--finding", "socket-gap", "-o", after).returncode == DONE
    assert (tmp_path / "once.jsonl").read_bytes() == (tmp_path / "twice.jsonl").read_bytes()


def test_a_finding_that_is_not_there_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    for kept in (("--finding", "lost"), ("--finding", "missed-end", "--task", "zzz"), ("--state", "lost")):
        done = run(tmp_path, "min", DROP, *kept, "-o", "small.jsonl")
        assert (done.returncode, done.stdout) == (NOT_DONE, "")
        assert "shows no" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "says", "arguments"),
    [
        (USAGE, "name what to keep", (DROP,)),
        (USAGE, "name what to keep", (DROP, "--finding", "lost", "--state", "lost")),
        (USAGE, "did you mean missed-end?", (DROP, "--finding", "missedend")),
        (USAGE, "did you mean lost?", (DROP, "--state", "los")),
        (USAGE, "about the file", (DROP, "--finding", "damaged")),
        (USAGE, "name its file by --output", (DROP, "--finding", "missed-end", "--test", "test_it.py")),
        (USAGE, "name its file by --test", (DROP, "--finding", "missed-end", "--expect", "pass")),
        (USAGE, "three files", (DROP, "--finding", "missed-end", "-o", "a", "--test", "a")),
        (USAGE, "three files", (DROP, "--finding", "missed-end", "-o", DROP)),
        (USAGE, "--budget", (DROP, "--finding", "missed-end", "--budget", "0")),
        (NO_INPUT, "No such file", ("nowhere.jsonl", "--finding", "lost")),
        (BAD_DATA, "not a trace", (__file__, "--finding", "lost")),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    tmp_path: Path, status: int, says: str, arguments: tuple[object, ...]
) -> None:
    done = run(tmp_path, "min", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_test_of_somebody_else_is_not_overwritten_and_one_of_ours_is(tmp_path: Path) -> None:
    words = ("min", DROP, "--finding", "missed-end", "-o", "small.jsonl", "--test", "test_it.py")
    (tmp_path / "test_it.py").write_text("def test_mine(): ...\n", encoding="utf-8")
    assert run(tmp_path, *words).returncode == USAGE
    (tmp_path / "test_it.py").unlink()
    assert [run(tmp_path, *words).returncode for _ in range(2)] == [DONE, DONE]


def test_a_test_that_would_pass_already_is_refused(tmp_path: Path) -> None:
    words = ("min", DROP, "--finding", "missed-end", "-o", "small.jsonl", "--test", "test_it.py")
    done = run(tmp_path, *words, "--expect", "completed")
    assert done.returncode == USAGE
    assert "judged so already" in done.stderr
    assert list(tmp_path.iterdir()) == []


EXPECTED = (
    (DROP, "--finding", "missed-end", "absent"),
    (DROP, "--finding", "missed-end", "failed"),
    (KILLED, "--finding", "lost", "pass"),
    (KILLED, "--finding", "lost", "clean"),
    (KILLED, "--state", "lost", "absent"),
    (KILLED, "--state", "lost", "cancelled"),
)


def test_what_is_written_fails_under_the_installed_package_until_the_cause_is_mended(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One pytest for all: each test fails at its assertion; on a trace without the cause, the same tests pass."""
    python = installed_wheel(tmp_path_factory)
    tests = tmp_path / "tests"
    tests.mkdir()
    for number, (trace, *kept, expected) in enumerate(EXPECTED):
        files = ("-o", f"traces/{number}.jsonl", "--test", f"test_{number}.py", "--expect", expected)
        (tests / "traces").mkdir(exist_ok=True)
        assert run(tests, "min", trace, *kept, *files).returncode == DONE
    failed = pytest_by(python, tests)
    assert f"{len(EXPECTED)} failed" in failed
    assert failed.count("AssertionError") >= len(EXPECTED)
    for number, (_, *_, expected) in enumerate(EXPECTED):
        (tests / "traces" / f"{number}.jsonl").write_bytes(b"".join(mended(expected)))
    assert f"{len(EXPECTED)} passed" in pytest_by(python, tests)


def mended(expected: str) -> list[bytes]:
    """A trace that is judged as expected: that of a prompt that ends as it should."""
    whole = (FIXTURES / "made" / "end-by-execution_success-confirmed.jsonl").read_bytes()
    if expected not in ("failed", "cancelled"):
        return [whole]
    end = {"failed": "execution_error", "cancelled": "execution_interrupted"}[expected]
    whole = (FIXTURES / "made" / f"end-by-{end}-confirmed.jsonl").read_bytes()
    (prompt,) = {task.prompt_id for task in replay(whole.splitlines()).tasks}
    return [whole.replace((prompt or "").encode(), b"p1")]


def pytest_by(python: Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    words = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_test_finds_its_trace_wherever_pytest_is_started(tmp_path: Path) -> None:
    for folder in ("tests", "data"):
        (tmp_path / folder).mkdir()
    files = ("-o", "data/small.jsonl", "--test", "tests/test_it.py")
    assert run(tmp_path, "min", DROP, "--finding", "missed-end", *files).returncode == DONE
    assert json.dumps(os.path.join("..", "data", "small.jsonl")) in (tmp_path / "tests" / "test_it.py").read_text(
        "utf-8"
    )


def test_of_two_tasks_the_one_that_is_named_is_kept(tmp_path: Path) -> None:
    trace = FIXTURES / "recordings" / "0.3.64" / "two-windows.jsonl.gz"
    found = replay(trace)
    about = [finding for finding in found.findings if finding.code == "foreign-message" and finding.prompt_id]
    for finding in about[:3]:
        words = ("min", trace, "--finding", "foreign-message", "--task", finding.prompt_id, "-o", "small.jsonl")
        assert run(tmp_path, *words).returncode == DONE
        assert "foreign-message" in codes(tmp_path / "small.jsonl")


def test_a_log_and_a_capture_are_reduced_as_their_trace_is(tmp_path: Path) -> None:
    lines = gzip.decompress(DROP.read_bytes()).splitlines()
    (tmp_path / "tab.har").write_text(json.dumps(har_of([json.loads(line) for line in lines])), encoding="utf-8")

    async def fill() -> None:
        async with await Log.open(tmp_path / "bot.log") as log:
            await log.append(*lines)

    asyncio.run(fill())
    for name in ("bot.log", "tab.har"):
        report = told(tmp_path, "min", name, "--finding", "missed-end", "-o", "small.jsonl")
        assert (report["lines_after"], codes(tmp_path / "small.jsonl")) == (6, ["socket-gap", "missed-end"])
