"""What a person reads of a replay: what became of each task, first and in any width, at times of the clock.

Of all fixtures, where a property can be said of all.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from comfy_fsm.core.machine import State
from comfy_fsm.report import text
from comfy_fsm.report.clock import Clock
from comfy_fsm.report.excerpt import excerpt
from comfy_fsm.report.player import Replay, replay
from comfy_fsm.report.selection import Selection, narrow
from tests.support.lines import fill, line
from tests.support.processes import BAD_DATA, NO_INPUT, USAGE, begin, finish

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
TRACES = sorted([*FIXTURES.glob("made/*.jsonl"), *FIXTURES.glob("recordings/0.3.64/*.jsonl*")])
SERVER_KILLED = FIXTURES / "recordings" / "0.3.64" / "server-killed.jsonl.gz"
ERRORS = FIXTURES / "recordings" / "0.3.64" / "errors.jsonl.gz"
NO_RESULT = (State.FAILED, State.REJECTED, State.LOST, State.EXPIRED)
each_trace = pytest.mark.parametrize("trace", TRACES, ids=lambda path: path.name.partition(".")[0])


class Screen(io.StringIO):
    """A terminal that only remembers."""

    def isatty(self) -> bool:
        return True


def drawn(found: Replay, *, story: bool = False) -> str:
    page = io.StringIO()
    text.draw(found, page, color=False, story=story, utc=True)
    return page.getvalue()


def on_screen(found: Replay, monkeypatch: pytest.MonkeyPatch, columns: int = 80, lines: int = 45) -> str:
    for name, value in (("COLUMNS", columns), ("LINES", lines)):
        monkeypatch.setenv(name, str(value))
    page = Screen()
    text.draw(found, page, color=False, story=False, utc=True)
    return page.getvalue()


@each_trace
def test_no_pass_is_said_before_the_tasks_that_have_no_result(trace: Path) -> None:
    found = replay(trace)
    first = drawn(found).splitlines()[0]
    for state in {task.state for task in found.tasks} & {*NO_RESULT}:
        assert state in first
        assert first.find("PASS") < 0 or first.index(state) < first.index("PASS")
    assert found.verdict.upper() in first


@each_trace
def test_each_task_without_a_result_is_told_with_its_reason_in_the_words_of_the_server(trace: Path) -> None:
    found = replay(trace)
    shown = " ".join(drawn(found).split())
    for task in found.tasks:
        if task.state in (*NO_RESULT, State.CANCELLED):
            assert f"{task.state.upper()} {task.prompt_id or '(no id)'}" in shown
            if task.error is not None and task.error.message and task.error.message.isascii():
                assert " ".join(task.error.message.split())[:60] in shown


@each_trace
def test_at_eighty_columns_no_word_is_broken_and_no_line_is_too_long(
    trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replay(trace)
    narrow_page, wide = on_screen(found, monkeypatch), drawn(found)
    words = {word.strip("()") for word in wide.split()}
    assert {word.strip("()") for word in narrow_page.split()} <= words | {"known", "inferred"}
    too_long = [line for line in narrow_page.splitlines() if len(line) > 80]
    assert [line for line in too_long if "python -m comfy_fsm" not in line] == []  # which are there to be pasted


def test_a_verdict_that_scrolls_away_stands_last_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = replay(SERVER_KILLED)
    first, *_, last = on_screen(found, monkeypatch, lines=20).splitlines()
    assert first == last
    assert on_screen(found, monkeypatch, lines=400).count(first) == 1


def test_many_files_are_named_by_their_number(tmp_path: Path) -> None:
    assert "4 files: " in drawn(replay(*TRACES[:4]))


def test_line_breaks_of_an_error_are_line_breaks() -> None:
    story = drawn(replay(ERRORS, task="6ccc"), story=True)
    assert "Allocation on device\n" in story
    assert "\\n" not in story


def test_a_tag_is_shown_with_its_task() -> None:
    command = line("command", {"name": "submit", "prompt_id": "p", "tag": {"user": 7}})
    post = {"id": "1", "method": "POST", "path": "/prompt", "body": {"prompt_id": "p", "prompt": {}}}
    found = replay([command, line("http.request", post)])
    assert found.tasks[0].tag
    assert '{"user":7}' in drawn(found).replace(" ", "")


@pytest.mark.parametrize(
    ("named", "seconds"),
    [
        ("+8.5", 8.5),
        ("23:59:58", -2.0),
        ("00:00:10", 10.0),
        ("00:01", 60.0),
        ("2027-01-01T00:00:05Z", 5.0),
        ("2027-01-01 01:00:05+01:00", 5.0),
    ],
)
def test_a_moment_is_named_as_people_name_it(named: str, seconds: float) -> None:
    start = 1_798_761_600.0  # midnight
    assert Clock(start, start + 86_500, utc=True).moment(named) - start in (seconds, seconds + 86_400)


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -1e300, 1e300, -1.0])
def test_a_time_that_no_calendar_has_is_written_as_a_number(at: float) -> None:
    clock = Clock(at, at, utc=True)
    assert float(clock.time(at)) == pytest.approx(at, nan_ok=True)
    assert clock.range()


@each_trace
def test_what_is_narrowed_is_a_part_and_judged_by_itself(trace: Path) -> None:
    found = replay(trace)
    failed = narrow(found, Selection(failed=True))
    assert [task.state for task in failed.tasks] == [
        task.state for task in found.tasks if task.settled and task.state is not State.COMPLETED
    ]
    last = found.trace.last_at or 0.0
    assert narrow(found, Selection(since=last + 1)).tasks == [task for task in found.tasks if not task.settled]
    assert narrow(found, Selection(word="no such word anywhere")).tasks == []
    assert narrow(found, Selection()) is found
    for part in (failed, narrow(found, Selection(until=found.trace.first_at))):
        drawn(part)


def test_a_word_finds_what_was_told_of_a_task() -> None:
    found = replay(ERRORS)
    assert [task.prompt_id for task in narrow(found, Selection(word="allocation ON device")).tasks] == [
        task.prompt_id for task in found.tasks if task.error and "Allocation" in (task.error.message or "")
    ]


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


def test_a_time_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(line("tick", {}) + b"\n")
    found = finish(begin("t.jsonl", "--since", "noon", module="replay", cwd=tmp_path))
    assert (found.returncode, found.stdout) == (USAGE, "")
    assert "19:18" in found.stderr
    assert finish(begin("none", "--since", "noon", module="replay", cwd=tmp_path)).returncode in (NO_INPUT, BAD_DATA)
