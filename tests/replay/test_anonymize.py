"""Tests of `comfy-replay anonymize`, and of `--anonymize`: other names, the same verdict."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from replay import replay
from replay.__main__ import main
from tests.support.fixtures import RECORDINGS, name_of
from tests.support.judgements import judgement
from tests.support.lines import fill
from tests.support.pictures import run

DROP = next(path for path in RECORDINGS if name_of(path) == "0.3.64/socket-drop")


def test_an_anonymised_trace_is_written_and_judged_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "out.jsonl"
    assert main(["anonymize", str(DROP), "-o", str(written)]) == 0
    assert capsys.readouterr().out == f"{written}: 88 lines; look through it before you send it\n"
    assert judgement(replay(written)) == judgement(replay(DROP))
    assert b"03a8ae19" in gzip.decompress(DROP.read_bytes())
    assert b"03a8ae19" not in written.read_bytes()


def test_the_answer_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["anonymize", str(DROP), "-o", str(tmp_path / "out.jsonl"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"anonymize": 1, "lines": 88}


def test_a_log_is_anonymised_as_a_trace(tmp_path: Path) -> None:
    log, written = fill(tmp_path / "bot.log", *run("zaphod", window="zaphod")), tmp_path / "out.jsonl"
    assert main(["anonymize", str(log), "-o", str(written)]) == 0
    assert b"zaphod" not in written.read_bytes()
    assert [task.state for task in replay(written).tasks] == ["completed"]


@pytest.mark.parametrize("format", ["text", "json", "markdown"])
def test_a_report_can_be_anonymised(format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "zaphod.jsonl"
    trace.write_bytes(b"\n".join(run("zaphod", window="zaphod-1")))
    html, junit = tmp_path / "report.html", tmp_path / "report.xml"
    beside = ["--html", str(html), "--junit", str(junit)]
    assert main([str(trace), "--anonymize", "--format", format, *beside]) == 0
    told = capsys.readouterr()
    assert "completed" in told.out
    for text in (told.out, told.err, html.read_text("utf-8"), junit.read_text("utf-8")):
        assert "zaphod" not in text


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["pyproject.toml", "-o", "x.jsonl"], 65), (["none", "-o", "x.jsonl"], 66), ([str(DROP), "-o", str(DROP)], 64)],
)
def test_what_is_no_trace_is_refused(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["anonymize", *arguments]) == status
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("x.jsonl").exists()
