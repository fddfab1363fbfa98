"""Tests of an excerpt: the line that a finding cites, from a trace or a log, broken or not."""

from __future__ import annotations

import json
import re
from pathlib import Path

from comfy_fsm.report.excerpt import excerpt
from replay import replay
from tests.support.hars import har_of
from tests.support.lines import fill, line
from tests.support.pictures import run
from tests.support.processes import NO_INPUT, USAGE, begin, finish


def shown(*arguments: object, cwd: Path) -> tuple[int, str]:
    found = finish(begin("show", *arguments, module="replay", cwd=cwd))
    return found.returncode, found.stdout


def test_the_line_that_a_finding_cites_is_shown_from_a_trace_and_from_a_log(tmp_path: Path) -> None:
    rows = [line("tick", {}, at=1_798_761_600.0 + n) for n in range(5)]
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    fill(tmp_path / "t.log", *rows)
    for source in ("t.jsonl", "t.log"):
        status, page = shown(source, 3, "--context", 1, "--utc", cwd=tmp_path)
        assert status == 0
        assert re.findall(r"^(.) +(\d) +(\S+)", page, re.MULTILINE) == [
            (" ", "2", "00:00:01.000"), (">", "3", "00:00:02.000"), (" ", "4", "00:00:03.000"),
        ]  # fmt: skip
        document = json.loads(shown(source, 3, "--format", "json", cwd=tmp_path)[1])
        assert document["show"] == 1
        assert [(each["line"], each["at"]) for each in document["lines"]] == [(3, 1_798_761_602.0)]
        assert json.loads(document["lines"][0]["text"])["kind"] == "tick"
    assert shown("t.jsonl", 6, cwd=tmp_path) == (USAGE, "")
    assert shown("none.jsonl", 1, cwd=tmp_path) == (NO_INPUT, "")


def test_a_line_that_is_broken_is_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"at":1,"kind":"tick"}\n\x1b[31m\xff\n')
    assert excerpt(str(tmp_path / "t.jsonl"), 2).lines[0].text == "\x1b[31m\\xff"
    assert shown("t.jsonl", 2, cwd=tmp_path)[0] == 0


def test_of_a_capture_the_line_is_that_of_the_trace_which_findings_cite(tmp_path: Path) -> None:
    har = tmp_path / "tab.har"
    har.write_text(json.dumps(har_of([json.loads(each) for each in run()])), encoding="utf-8")
    found = replay(har)
    (task,) = found.tasks
    for told in task.signals:
        (one,) = excerpt(str(har), told.position).lines
        assert one.at == told.at
        assert json.loads(one.text)["kind"] in ("ws.message", "http.response")
