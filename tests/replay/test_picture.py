"""Tests of `comfy-replay picture`: the file that it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from replay.__main__ import main
from tests.support.fixtures import RECORDINGS, name_of
from tests.support.pictures import run

DROP = next(path for path in RECORDINGS if name_of(path) == "0.3.64/socket-drop")


def test_a_picture_is_written_whole_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    assert main(["picture", str(DROP), "-o", str(report)]) == 0
    assert report.read_text("utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().out == f"{report}: 88 observations, {report.stat().st_size / 1000:,.0f} kB\n"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_answer_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.html"
    assert main(["picture", str(DROP), "-o", str(report), "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"picture": 1, "observations": 88, "bytes": report.stat().st_size}


@pytest.mark.parametrize("option", [["--format", "perfetto"], ["--as", "perfetto", "--format", "json"]])
def test_spans_for_perfetto(option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace.json"
    assert main(["picture", str(DROP), "-o", str(trace), *option]) == 0
    assert json.loads(trace.read_text("utf-8"))["traceEvents"]


def test_a_picture_does_not_tell_in_which_folder_a_trace_lies(tmp_path: Path) -> None:
    trace, report = tmp_path / "zaphod" / "night.jsonl", tmp_path / "report.html"
    trace.parent.mkdir()
    trace.write_bytes(b"\n".join(run()))
    assert main(["picture", str(trace), "-o", str(report)]) == 0
    assert "<h1>night.jsonl</h1>" in report.read_text("utf-8")
    assert "zaphod" not in report.read_text("utf-8")


def test_standard_output_has_the_picture_alone(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["picture", str(DROP), "-o", "-"]) == 0
    assert capsysbinary.readouterr().out.endswith(b"</html>\n")


def test_a_part_is_drawn_and_the_rest_is_told(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    assert main(["picture", str(DROP), "-o", str(report), "--task", "d34", "--until", "+1"]) == 0
    assert "outside of the time that was asked for" in report.read_text("utf-8")


def test_an_anonymised_picture_tells_no_name(tmp_path: Path) -> None:
    trace, report = tmp_path / "zaphod.jsonl", tmp_path / "report.html"
    trace.write_bytes(b"\n".join(run("zaphod-1", window="zaphod")))
    assert main(["picture", str(trace), "-o", str(report), "--anonymize"]) == 0
    page = report.read_text("utf-8")
    assert "zaphod" not in page.lower()
    assert "every task is decided: 1 completed" in page


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        ([str(DROP)], 64, "--output"),
        (["-o", "x.html"], 64, "name a trace"),
        ([str(DROP), "-o", str(DROP)], 64, "over the trace"),
        ([str(DROP), "-o", "no-such-folder/x.html"], 64, "cannot write"),
        (["no-such-trace", "-o", "x.html"], 66, "no-such-trace"),
        (["pyproject.toml", "-o", "x.html"], 65, "not a trace"),
        ([str(DROP), "-o", "x.html", "--as", "svg"], 64, "svg"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(
    arguments: list[str], status: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["picture", *arguments]) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert word in told.err
    assert told.err.count("\n") == 1
    assert not Path("x.html").exists()


def test_ten_thousand_observations_take_less_than_half_a_megabyte(tmp_path: Path) -> None:
    trace, report = tmp_path / "long.jsonl", tmp_path / "report.html"
    trace.write_bytes(b"\n".join(each for n in range(1_250) for each in run(f"p-{n:04}", 1.7e9 + n)))
    assert main(["picture", str(trace), "-o", str(report)]) == 0
    assert report.stat().st_size < 500_000
