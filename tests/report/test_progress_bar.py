"""Tests of the progress bar of a replay: on a terminal alone, and only of what takes long."""

import io
import re

import pytest

from comfy_fsm.report import progress_bar as bars
from comfy_fsm.report.progress_bar import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_where_there_is_no_terminal_there_is_no_bar() -> None:
    page = io.StringIO()
    with progress(page) as watch:
        assert watch is None
    assert page.getvalue() == ""


def test_what_is_done_at_once_draws_nothing() -> None:
    page = Terminal()
    with progress(page) as watch:
        assert watch is not None
        watch(10, 10)
    assert page.getvalue() == ""


def test_what_takes_long_is_drawn_and_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "_PATIENCE", -1.0)
    page = Terminal()
    with progress(page) as watch:
        assert watch is not None
        watch(5, 10)
    assert "replaying" in page.getvalue()


def test_traces_are_counted_from_the_beginning_with_the_time_left_though_some_were_done_before() -> None:
    page = Terminal()
    with progress(page, counting="traces") as watch:
        assert watch is not None
        watch(900, 1000)
        assert "900/1000 traces -:--:-- left" in plain(page)
        watch(950, 1000)
    assert re.search(r"950/1000 traces 0:00:0\d left", plain(page))


def plain(page: Terminal) -> str:
    return " ".join(re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", page.getvalue()).split())
