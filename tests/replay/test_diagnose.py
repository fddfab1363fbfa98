"""`--diagnose` as a command: which argument is an id, which a trace, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.fixtures import FIXTURES, bytes_of

ROOT = FIXTURES.parent


LOST = "fixtures/recordings/0.3.64/server-killed.jsonl.gz"


def run(*arguments: object, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "replay", *map(str, arguments)], cwd=ROOT, capture_output=True, input=given, timeout=60
    )


MERGE = ["fixtures/made/merge-a.jsonl", "fixtures/made/merge-b.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "files", "tasks"),
    [
        ([LOST, "--diagnose"], 1, 3),
        (["--diagnose", LOST], 1, 3),
        ([LOST, "--diagnose", "b07c"], 1, 1),
        (["--diagnose", "b07c", LOST], 1, 1),
        (["--diagnose=b07c", LOST], 1, 1),
        ([LOST, "--diagnose="], 1, 3),
        ([LOST, "--diagnose", "--task", "b07c"], 1, 1),
        ([LOST, "--diagnose", "--window", "e65b"], 1, 3),
        ([MERGE[0], "--diagnose", MERGE[1]], 2, None),
        (["--diagnose", *MERGE], 2, None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_diagnose_takes_an_id_and_swallows_no_trace(arguments: list[str], files: int, tasks: int | None) -> None:
    found = run(*arguments, "--format", "json")
    assert found.stderr == b""
    told = json.loads(found.stdout)
    assert len(told["trace"]["files"]) == files
    assert tasks is None or len(told["tasks"]) == tasks
    assert found.returncode == {"pass": 0, "fail": 1, "incomplete": 3}[told["verdict"]]


def test_diagnose_swallows_no_standard_input() -> None:
    given = bytes_of(ROOT / LOST)
    assert len(json.loads(run("--diagnose", "-", "--format", "json", given=given).stdout)["tasks"]) == 3


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([LOST, "--diagnose", "nobody"], 64),
        ([LOST, "--diagnose", "b07c", "--task", "b07c"], 64),
        (["--diagnose"], 64),
        (["--diagnose", "b07c"], 64),
        (["--diagnose", "gone.jsonl"], 66),
        ([LOST, "--diagnose", "gone.jsonl"], 66),
        (["--diagnose", "LICENSE"], 65),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_refusal_is_one_line_and_its_status(arguments: list[str], status: int) -> None:
    found = run(*arguments)
    assert (found.returncode, found.stdout) == (status, b"")
    assert found.stderr.count(b"\n") == 1


def test_task_alone_tells_the_moves_as_it_did() -> None:
    assert b"Task b07c317d" in run(LOST, "--task", "b07c").stdout


def test_a_trace_without_tasks_says_so() -> None:
    found = run("--diagnose", "-", given=b'{"at":1,"kind":"tick","data":{}}\n')
    assert (found.returncode, found.stderr) == (0, b"")
    assert b"no task was seen" in found.stdout
