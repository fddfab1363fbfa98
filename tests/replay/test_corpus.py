"""`comfy-replay corpus run`, as its users run it: the same tables, whoever works and whoever is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.report.player import replay
from tests.support.corpora import fill, written
from tests.support.processes import DONE, ENVIRONMENT, GUARD, NO_INPUT, NOT_DONE, UNREACHABLE, USAGE

parquet = pytest.importorskip("pyarrow.parquet", reason="the extra 'corpus' is not installed: no corpus is tested")
FAILED = 2


def begin(folder: Path, *arguments: object, command: str = "run") -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "replay", "corpus", command, *map(str, arguments)]
    return subprocess.Popen(
        words, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )


def run(folder: Path, *arguments: object, command: str = "run") -> subprocess.CompletedProcess[str]:
    process = begin(folder, *arguments, command=command)
    out, err = process.communicate(timeout=2 * GUARD)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def rows(output: Path, table: str) -> list[dict[str, object]]:
    return [row for path in sorted((output / table).iterdir()) for row in parquet.read_table(path).to_pylist()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of forty traces, with one that is none, and a run over it."""
    folder = tmp_path_factory.mktemp("corpus")
    fill(folder / "traces", 40)
    (folder / "traces" / "odd" / "torn.jsonl").write_text("this is no trace\n", encoding="utf-8")
    done = run(folder, "traces", "-o", "one", "--jobs", 1, "--format", "json")
    assert done.returncode == FAILED, done.stderr
    told = json.loads(done.stdout)
    assert told["corpus"] == 1
    assert (told["traces"], told["failed"]) == (41, 1)
    assert told["tasks"] == len(rows(folder / "one", "tasks"))
    assert "1 file passed over" in done.stderr
    return folder


def test_each_row_is_what_the_report_of_that_trace_says(folder: Path) -> None:
    traces = rows(folder / "one", "traces")
    assert [row["trace"] for row in traces] == sorted(str(row["trace"]) for row in traces)
    for row in traces[:6]:
        report = replay(folder / str(row["trace"]))
        assert row["verdict"] == report.verdict
        tasks = [each for each in rows(folder / "one", "tasks") if each["trace"] == row["trace"]]
        assert [(each["prompt_id"], each["state"]) for each in tasks] == [(t.prompt_id, t.state) for t in report.tasks]
        found = [each for each in rows(folder / "one", "findings") if each["trace"] == row["trace"]]
        assert [(each["code"], each["line"]) for each in found] == [
            (f.code, report.line_of(f)) for f in report.findings
        ]


def test_a_trace_that_cannot_be_read_is_a_row_with_the_reason(folder: Path) -> None:
    [torn] = [row for row in rows(folder / "one", "traces") if row["error"] is not None]
    assert torn["trace"] == "traces/odd/torn.jsonl"
    assert torn["verdict"] is None
    assert str(torn["error"]).startswith("traces/odd/torn.jsonl:1: not a trace")


def test_two_workers_write_the_same_bytes_as_one(folder: Path) -> None:
    assert run(folder, "traces", "-o", "two", "--jobs", 2).returncode == FAILED
    assert written(folder / "two") == written(folder / "one")


def test_a_run_that_was_broken_off_does_only_what_is_left(folder: Path) -> None:
    begun = shutil.copytree(folder / "one", folder / "begun")
    (begun / "traces" / "part-000001.parquet").unlink()
    (begun / "tasks" / "part-000001.parquet").write_bytes(b"torn")
    kept = {path: path.stat().st_ino for path in begun.rglob("*-000000.parquet")}
    assert run(folder, "traces", "-o", "begun").returncode == FAILED
    assert written(begun) == written(folder / "one")
    assert kept == {path: path.stat().st_ino for path in kept}


def test_a_sweep_tells_of_each_fault_what_whatif_tells_whoever_works(few: Path) -> None:
    done = run(few, "few", "-o", "swept", "--jobs", 1, "--format", "json", command="sweep")
    assert done.returncode == FAILED, done.stderr
    told = json.loads(done.stdout)
    assert (told["traces"], told["failed"]) == (4, 1)
    assert run(few, "few", "-o", "swept by two", "--jobs", 2, command="sweep").returncode == FAILED
    assert written(few / "swept") == written(few / "swept by two")
    faults = rows(few / "swept", "faults")
    counted = Counter(str(row["kind"]) for row in faults)
    assert {kind: sum(effects.values()) for kind, effects in told["faults"].items()} == counted
    [trace] = [row["trace"] for row in rows(few / "swept", "traces") if str(row["trace"]).endswith("000.jsonl.gz")]
    alone = whatif(few / str(trace))
    assert [
        (row["text"], row["kind"], row["line"], row["before"], row["after"], row["findings_added"])
        for row in faults
        if row["trace"] == trace and row["effect"] is not None
    ] == [
        (
            each["fault"], each["kind"], each["line"], [task["before"] for task in each["tasks"]],
            [task["after"] for task in each["tasks"]], each["findings_added"],
        )
        for each in alone["faults"]
    ]  # fmt: skip
    assert Counter(row["kind"] for row in faults if row["trace"] == trace) == alone["tried"]


def whatif(trace: Path) -> Any:
    words = [sys.executable, "-m", "replay", "whatif", "--sweep", str(trace), "--format", "json"]
    return json.loads(subprocess.run(words, env=ENVIRONMENT, capture_output=True, encoding="utf-8").stdout)


def test_coverage_of_a_corpus_is_what_cover_counts(few: Path) -> None:
    done = run(few, "few", "-o", "covered", "--format", "json", command="cover")
    assert done.returncode == FAILED, done.stderr
    told = json.loads(done.stdout)
    words = [sys.executable, "-m", "replay", "cover", "few", "--format", "json"]
    alone = json.loads(subprocess.run(words, cwd=few, env=ENVIRONMENT, capture_output=True, encoding="utf-8").stdout)
    assert (told["traces"] - told["failed"], told["failed"]) == (alone["traces"], 1)
    assert (told["rows"], told["findings"]) == (alone["rows"], alone["findings"])
    reached = Counter((row["state"], row["signal"], row["next"]) for row in rows(few / "covered", "coverage"))
    assert all(reached[row["state"], row["signal"], row["next"]] == row["traces"] for row in alone["rows"])


@pytest.mark.parametrize("command", ["sweep", "cover"])
def test_a_broken_off_run_of_any_analysis_goes_on_and_none_takes_up_that_of_another(few: Path, command: str) -> None:
    out = f"whole {command}"
    assert run(few, "few", "-o", out, command=command).returncode == FAILED
    begun = shutil.copytree(few / out, few / f"begun {command}")
    (begun / "traces" / "part-000000.parquet").unlink()
    assert run(few, "few", "-o", begun.name, command=command).returncode == FAILED
    assert written(begun) == written(few / out)
    other = run(few, "few", "-o", out)
    assert (other.returncode, other.stdout) == (USAGE, "")
    assert f"was written by `corpus {command}`" in other.stderr


@pytest.fixture(scope="module")
def few(folder: Path) -> Path:
    """Four traces of the corpus, one of which is none."""
    (folder / "few").mkdir()
    for trace in [*sorted((folder / "traces" / "even").iterdir())[:3], folder / "traces" / "odd" / "torn.jsonl"]:
        shutil.copy(trace, folder / "few")
    return folder


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the workers in /proc")
def test_a_worker_that_is_killed_changes_nothing(folder: Path) -> None:
    process = begin(folder, "traces", "-o", "killed", "--jobs", 1)
    worker = _a_worker_of(process.pid)
    os.kill(worker, signal.SIGKILL)
    _, err = process.communicate(timeout=2 * GUARD)
    assert process.returncode == FAILED, err
    assert written(folder / "killed") == written(folder / "one")


def _a_worker_of(parent: int) -> int:
    until = time.monotonic() + GUARD
    while time.monotonic() < until:
        for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes():
                return int(each)
        time.sleep(0.01)
    raise AssertionError("no worker came up")


def test_a_run_is_as_itself_and_one_that_differs_is_told(folder: Path) -> None:
    same = run(folder, "traces", "-o", "again", "--baseline", "one", "--format", "json")
    assert same.returncode == FAILED  # one could not be replayed, now as then
    assert (json.loads(same.stdout)["differ"], json.loads(same.stdout)["new"]) == (0, 0)
    other = shutil.copytree(folder / "traces", folder / "other" / "traces")
    lost = sorted(other.rglob("*.jsonl.gz"))
    lost[0].unlink()
    shutil.copy(lost[2], lost[1])
    (other / "odd" / "torn.jsonl").unlink()
    differs = run(folder / "other", "traces", "-o", "out", "--baseline", folder / "one")
    assert differs.returncode == NOT_DONE
    assert "traces/even/000.jsonl.gz: the trace: trace: there → none" in differs.stdout
    assert re.search(r"^3 traces not as in the baseline$", differs.stdout, re.MULTILINE)
    table = parquet.read_table(folder / "other" / "out" / "differences.parquet").to_pylist()
    assert {row["trace"] for row in table} == {
        "traces/even/000.jsonl.gz", "traces/even/002.jsonl.gz", "traces/odd/torn.jsonl"
    }  # fmt: skip


def test_without_a_failure_and_a_difference_the_status_is_zero(folder: Path) -> None:
    assert run(folder, "traces/even", "-o", "even").returncode == DONE
    assert run(folder, "traces/even", "-o", "even again", "--baseline", "even").returncode == DONE


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["-o", "x"], USAGE, "name what to replay"),
        (["nowhere", "-o", "x"], NO_INPUT, "no such trace or folder"),
        (["gopher-2://x/y", "-o", "x"], USAGE, "gopher-2"),
        (["traces/notes.md/*", "-o", "x"], NO_INPUT, "no such trace or folder"),
        (["traces", "-o", "traces"], USAGE, "holds no run"),
        (["traces/odd", "-o", "one"], USAGE, "a run of other traces"),
        (["traces", "-o", "x", "--baseline", "traces"], USAGE, "holds no run"),
        (["traces", "-o", "one", "--baseline", "one"], USAGE, "name two"),
        (["traces", "-o", "x", "--jobs", "2", "--dask", "tcp://127.0.0.1:9"], USAGE, "one is enough"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_replayed(
    folder: Path, arguments: list[str], status: int, says: str
) -> None:
    done = run(folder, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert done.stderr.count("\n") <= 2
    assert not (folder / "x").exists()


def test_without_its_libraries_the_extra_is_named(folder: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['fsspec'] = None; from replay.__main__ import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "corpus", "run", "traces", "-o", str(tmp_path / "x")]
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8")
    assert done.returncode == UNREACHABLE
    assert "comfy-fsm[corpus]" in done.stderr
