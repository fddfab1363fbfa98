"""Tests of what a notebook shows of a replay."""

from __future__ import annotations

import re

import pytest

from replay import replay
from tests.support.fixtures import RECORDINGS, name_of
from tests.support.hostile import HOSTILE
from tests.support.pictures import MARKUP, hostile, run


def test_a_notebook_shows_the_verdict_and_the_tasks() -> None:
    shown = replay(next(path for path in RECORDINGS if name_of(path) == "0.3.64/interrupts"))._repr_html_()
    assert "FAIL  1 error: foreign-interrupt; tasks: 2 cancelled" in shown
    assert re.findall(r"<td[^>]*>([0-9a-f]{8})</td>", shown) == ["317d5c72", "9175b937", "cb9515ca", "a5799cab"]


def test_a_notebook_shows_no_more_tasks_than_one_can_read() -> None:
    shown = replay([line for number in range(50) for line in run(f"p-{number}")])._repr_html_()
    assert shown.count("<tr>") == 41
    assert "and 10 more tasks" in shown


@pytest.mark.parametrize("name", [*HOSTILE.values(), MARKUP])
def test_hostile_names_are_text(name: str) -> None:
    shown = replay(hostile(name))._repr_html_()
    assert set(re.findall(r"</?(\w+)", shown)) <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
