"""Tests of what a person reads of a replay: what became of each task, first and in any width."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from comfy_fsm.core.machine import State
from comfy_fsm.report import text
from comfy_fsm.report.player import Replay, replay
from tests.support.lines import line
from tests.support.reports import ERRORS, FIXTURES, TRACES, drawn, each_trace

SERVER_KILLED = FIXTURES / "recordings" / "0.3.64" / "server-killed.jsonl.gz"


NO_RESULT = (State.FAILED, State.REJECTED, State.LOST, State.EXPIRED)


class Screen(io.StringIO):
    """A terminal that only remembers."""

    def isatty(self) -> bool:
        return True


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
