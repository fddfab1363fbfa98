"""`comfy-replay diff`, as its users run it: two traces, two policies, two releases."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.fixtures import FIXTURES
from tests.support.processes import BAD_DATA, DONE, NO_INPUT, NOT_DONE, USAGE
from tests.support.replaying import run, told

NEW, OLD = (FIXTURES / "recordings" / version / "socket-drop.jsonl.gz" for version in ("0.3.64", "0.3.10"))
KILLED = FIXTURES / "recordings" / "0.3.64" / "server-killed.jsonl.gz"
FAILED = FIXTURES / "made" / "end-by-execution_error-confirmed.jsonl"
SUCCEEDED = FIXTURES / "made" / "end-by-execution_success-confirmed.jsonl"

OTHER_RELEASE = """
import json, sys
assert sys.argv[1:4] == ["-P", "-m", "replay"], sys.argv
report = json.load(open({report!r}))
for task in report["tasks"]:
    task["confidence"] = "inferred"
json.dump(report, sys.stdout)
"""


def test_two_recordings_of_one_scenario_are_paired_by_order_and_agree(tmp_path: Path) -> None:
    report = told(tmp_path, "diff", NEW, OLD)
    assert (report["diff"], report["paired_by"], report["pairs"], report["tasks"]) == (1, "order", 2, [])
    done = run(tmp_path, "diff", NEW, OLD)
    assert done.returncode == DONE
    assert "no id is common" in done.stdout


def test_a_trace_under_another_policy_tells_where_they_part(tmp_path: Path) -> None:
    report = told(tmp_path, "diff", KILLED, "--policy", "absences=3")
    assert (report["paired_by"], report["pairs"]) == ("id", 3)
    first, second = report["tasks"]
    assert (first["class"], first["a"], first["b"]) == ("state", "lost", "in_progress")
    assert (first["first"]["signal"], first["first"]["other_signal"]) == ("queue", None)
    assert (second["a"], second["b"]) == ("lost", "pending")
    assert run(tmp_path, "diff", KILLED, "--policy", "absences=3").returncode == NOT_DONE


def test_what_is_judged_otherwise_is_told_in_words(tmp_path: Path) -> None:
    done = run(tmp_path, "diff", SUCCEEDED, FAILED)
    assert done.returncode == NOT_DONE
    assert "state: completed | failed" in done.stdout
    assert "first: line" in done.stdout


def test_the_release_of_another_python_judges_for_itself(tmp_path: Path) -> None:
    assert told(tmp_path, "diff", NEW, "--python", sys.executable)["tasks"] == []
    (tmp_path / "report.json").write_text(run(tmp_path, NEW, "--format", "json").stdout, encoding="utf-8")
    other = tmp_path / "python"
    source = OTHER_RELEASE.format(report=str(tmp_path / "report.json"))
    other.write_text(f"#!{sys.executable}\n{source}", encoding="utf-8")
    other.chmod(0o755)
    changed = told(tmp_path, "diff", NEW, "--python", sys.executable, "--python", other)["tasks"]
    assert {(task["class"], task["b"]) for task in changed} == {("confidence", "inferred")}


@pytest.mark.parametrize(
    ("status", "says", "arguments"),
    [
        (USAGE, "name two traces", (NEW,)),
        (USAGE, "is no NAME=VALUE", (NEW, "--policy", "absence=1")),
        (USAGE, "is no number", (NEW, "--policy", "absences=many")),
        (USAGE, "not standard input", ("-", NEW)),
        (USAGE, "once or twice", (NEW, "--python", "a", "--python", "b", "--python", "c")),
        (USAGE, "one after the other", (NEW, "--python", "a", "--policy", "absences=1")),
        (NO_INPUT, "No such file", (NEW, "nowhere.jsonl")),
        (NO_INPUT, "No such file", (NEW, "--python", "nowhere/python")),
        (BAD_DATA, "not a trace", (NEW, __file__)),
        (BAD_DATA, "gave no report", (NEW, "--python", "/bin/false")),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    tmp_path: Path, status: int, says: str, arguments: tuple[object, ...]
) -> None:
    done = run(tmp_path, "diff", *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_json_holds_no_letter_that_drives_a_terminal(tmp_path: Path) -> None:
    for number, state in enumerate((SUCCEEDED, FAILED)):
        prompt = json.dumps("p\u202e\x1b[31m")[1:-1]
        text = state.read_text("utf-8")
        (known,) = {task["prompt_id"] for task in json.loads(run(tmp_path, state, "--format", "json").stdout)["tasks"]}
        (tmp_path / f"{number}.jsonl").write_text(text.replace(known, prompt), encoding="utf-8")
    for extra in ((), ("--format", "json")):
        done = run(tmp_path, "diff", "0.jsonl", "1.jsonl", *extra)
        assert done.stdout.replace("\n", "").isprintable()
