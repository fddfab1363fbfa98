"""`comfy-replay whatif`, as its users run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import FIXTURES
from tests.support.processes import BAD_DATA, DONE, NO_INPUT, NOT_DONE, USAGE
from tests.support.replaying import run, told

DROP = FIXTURES / "recordings" / "0.3.64" / "socket-drop.jsonl.gz"
ALONE = FIXTURES / "made" / "end-by-execution_success.jsonl"
"""Its end is told once, by a frame: line 7."""


def test_a_fault_that_changes_nothing_is_said_and_ends_with_0(tmp_path: Path) -> None:
    done = run(tmp_path, "whatif", DROP, "--drop", 20)
    assert (done.returncode, done.stdout) == (DONE, "line 20 (status) is dropped\n  nothing changes\n")


def test_a_fault_that_changes_something_is_told_with_what_becomes_of_each_task(tmp_path: Path) -> None:
    report = told(tmp_path, "whatif", DROP, "--lose", 87)
    (fault,) = report["faults"]
    assert (report["whatif"], fault["line"], fault["kind"]) == (1, 87, "lose")
    assert [(task["before"], task["after"]) for task in fault["tasks"]] == [("completed", "ending")]
    assert fault["findings_added"] == ["unresolved"]
    done = run(tmp_path, "whatif", DROP, "--lose", 87)
    assert done.returncode == NOT_DONE
    assert "a live client asks again" in done.stdout


def test_a_sweep_says_which_frame_must_not_be_lost(tmp_path: Path) -> None:
    done = run(tmp_path, "whatif", DROP, "--sweep")
    assert (done.returncode, "It survives the loss of any single frame.\n" in done.stdout) == (NOT_DONE, True)
    done = run(tmp_path, "whatif", ALONE, "--sweep")
    assert "It survives the loss of any single frame but line" in done.stdout


def test_a_sweep_that_would_take_hours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.jsonl").write_bytes(b'{"at":1.0,"kind":"tick","data":{}}\n' * 5001)
    done = run(tmp_path, "whatif", "long.jsonl", "--sweep")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "would take hours" in done.stderr
    assert run(tmp_path, "whatif", "long.jsonl", "--drop", 7).returncode == DONE


def test_the_sweep_as_json_tells_each_fault_with_a_consequence_and_counts_all(tmp_path: Path) -> None:
    report = told(tmp_path, "whatif", DROP, "--sweep")
    assert report["tried"]["drop"] == report["tried"]["double"] == report["tried"]["cut"] == 71
    assert all(fault["tasks"] or fault["findings_added"] or fault["findings_gone"] for fault in report["faults"])
    assert {fault["kind"] for fault in report["faults"]} == {"cut", "lose", "forget"}


@pytest.mark.parametrize(
    ("status", "says", "arguments"),
    [
        (USAGE, "name one fault", (DROP,)),
        (USAGE, "name one fault", (DROP, "--drop", 1, "--sweep")),
        (USAGE, "has no line 900", (DROP, "--drop", 900)),
        (USAGE, "is not an answer", (DROP, "--lose", 20)),
        (USAGE, "is not a frame", (DROP, "--cut", 2)),
        (USAGE, "--seconds", (DROP, "--cut", 20, "--seconds", "-1")),
        (NO_INPUT, "No such file", ("nowhere.jsonl", "--sweep")),
        (BAD_DATA, "not a trace", (__file__, "--sweep")),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    tmp_path: Path, status: int, says: str, arguments: tuple[object, ...]
) -> None:
    done = run(tmp_path, "whatif", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("trace", [DROP, ALONE, FIXTURES / "recordings" / "0.18.1" / "history-cleared-jobs.jsonl.gz"])
def test_a_sweep_fits_into_eighty_columns_but_for_a_path_and_a_task_with_its_states(
    trace: Path, tmp_path: Path
) -> None:
    _, *lines = run(tmp_path, "whatif", trace, "--sweep").stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("  task ")) <= 80
