"""`comfy-replay diff`, as its users run it: two traces, two policies, two releases."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from replay.comparison.reports import report_by, report_of
from tests.support.fixtures import FIXTURES
from tests.support.processes import BAD_DATA, DONE, NO_INPUT, NOT_DONE, USAGE
from tests.support.replaying import run, told

NEW, OLD = (FIXTURES / "recordings" / version / "socket-drop.jsonl.gz" for version in ("0.3.64", "0.3.10"))
KILLED = FIXTURES / "recordings" / "0.3.64" / "server-killed.jsonl.gz"
FAILED = FIXTURES / "made" / "end-by-execution_error-confirmed.jsonl"
SUCCEEDED = FIXTURES / "made" / "end-by-execution_success-confirmed.jsonl"

STUB = """
import json, sys
assert sys.argv[1] == "-P", sys.argv
if sys.argv[2] == "-c":
    print("0.0.7")
    sys.exit()
assert sys.argv[2:6] == ["-m", "replay", "--format", "json"], sys.argv
report = json.load(open({report!r}))
{change}
json.dump(report, sys.stdout)
"""
"""A Python that has another release: it changes the report of this one."""
TOLD_BY_OTHERS = {
    "a state": ("task['state'] = 'expired'", "state"),
    "how certain it is": ("task['confidence'] = 'inferred'", "confidence"),
    "a finding that it does not know": ("task['findings'] = ['of-old']", "finding"),
    "fields that it does not have yet": ("task.pop('error', 0); report.pop('metrics', 0); report['more'] = 1", None),
}
UNFIT = {
    "an older report, without signals": ("del task['signals']", "required field `signals`"),
    "another version of the report": ("report['report'] = 2", "`$.report`"),
    "no JSON": ("print('Warning: old')", "JSON is malformed"),
    "a trace that it does not know": (
        "sys.exit(print('replay: not a trace', file=sys.stderr) or 65)",
        "comfy-replay import",
    ),
    "a fault of its own": ("raise KeyError('x')", "exit status 1: KeyError: 'x'); {python} -P -m replay {trace} tells"),
    "silence": ("sys.exit(0)", "exit status 0: it said nothing"),
    "escapes": ("sys.exit('\\x1b[31mred')", "\\x1b[31mred"),
}


def other_release(folder: Path, trace: Path, change: str) -> Path:
    report, python = folder / "report.json", folder / "python"
    report.write_text(run(folder, trace, "--format", "json").stdout, encoding="utf-8")
    change = f"for task in report['tasks']:\n    {change}"
    python.write_text(f"#!{sys.executable}\n{STUB.format(report=str(report), change=change)}", encoding="utf-8")
    python.chmod(0o755)
    return python


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


@pytest.mark.parametrize(("change", "kind"), TOLD_BY_OTHERS.values(), ids=TOLD_BY_OTHERS)
def test_another_release_judges_for_itself(tmp_path: Path, change: str, kind: str | None) -> None:
    python = other_release(tmp_path, NEW, change)
    changed = told(tmp_path, "diff", NEW, "--python", sys.executable, "--python", python)["tasks"]
    assert {task["class"] for task in changed} == ({kind} if kind is not None else set())


@pytest.mark.parametrize(("change", "says"), UNFIT.values(), ids=UNFIT)
def test_a_release_that_gives_no_report_is_named_with_cause_and_next_step(
    tmp_path: Path, change: str, says: str
) -> None:
    python = other_release(tmp_path, NEW, change)
    done = run(tmp_path, "diff", NEW, "--python", python)
    assert (done.returncode, done.stdout) == (BAD_DATA, "")
    assert done.stderr.startswith(f"replay: comfy-fsm 0.0.7 of {python} ")
    assert says.format(python=python, trace=NEW) in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.strip().isprintable()


def test_no_folder_of_the_environment_stands_in_for_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "replay.py").write_text("raise SystemExit('not what is installed')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert report_by(sys.executable, str(NEW)) == report_of(str(NEW))


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
        (USAGE, "has no comfy-fsm installed", (NEW, "--python", "/bin/false")),
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
