"""`comfy-replay cover`, as its users run it: rows and findings that a corpus reaches."""

from __future__ import annotations

import shutil
from pathlib import Path

from comfy_fsm.core.findings import CODES
from comfy_fsm.core.machine import TABLE
from tests.support.fixtures import FIXTURES
from tests.support.processes import DONE, NO_INPUT, USAGE
from tests.support.replaying import run, told

MADE = FIXTURES / "made"


def test_every_row_and_every_finding_is_counted_those_that_move_first(tmp_path: Path) -> None:
    report = told(tmp_path, "cover", MADE)
    rows = [(row["state"], row["signal"], row["next"]) for row in report["rows"]]
    assert sorted(rows) == sorted((str(row.state), str(row.signal), str(row.next)) for row in TABLE)
    moves = [before != after for before, _, after in rows]
    assert moves == sorted(moves, reverse=True)
    assert {row["code"] for row in report["findings"]} == set(map(str, CODES))
    assert report["cover"] == 1
    assert report["traces"] == len(list(MADE.glob("*.jsonl")))


def test_a_trace_counts_once_for_each_row_that_it_reaches(tmp_path: Path) -> None:
    for number in range(3):
        shutil.copy(MADE / "end-by-execution_success-confirmed.jsonl", tmp_path / f"{number}.jsonl")
    (tmp_path / "notes.txt").write_text("no trace", encoding="utf-8")
    report = told(tmp_path, "cover", ".")
    reached = {(row["state"], row["signal"]): row["traces"] for row in report["rows"] if row["traces"]}
    assert (report["traces"], set(reached.values())) == (3, {3})
    assert ("submitting", "accept") in reached


def test_what_is_never_seen_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "cover", MADE / "lost-nothing.jsonl")
    assert done.returncode == NO_INPUT
    done = run(tmp_path, "cover", MADE / "end-by-history.jsonl")
    assert done.returncode == DONE
    assert " never  finding  damaged" in done.stdout
    assert done.stdout.startswith("1 trace: ")


def test_what_is_no_trace_is_left_out_and_said_and_no_trace_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text("odd\n", encoding="utf-8")
    done = run(tmp_path, "cover", ".")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "left out: ./odd.jsonl" in done.stderr
    assert "no trace was found" in done.stderr
