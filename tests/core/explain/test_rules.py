"""Rules: each state has a sentence for whatever is left, and each row names only words that there are."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from comfy_fsm.core.explain.facts import Facts
from comfy_fsm.core.explain.rules import MISSING, NEXT, SAYS, Rule, StepRule
from comfy_fsm.core.machine import OPEN, State

ROWS: list[Rule | StepRule] = [*SAYS, *MISSING, *NEXT]


def words(text: str) -> list[str]:
    return [name.removeprefix("c.") for _, name, _, _ in Formatter().parse(text) if name is not None]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.text[:50])
def test_a_sentence_names_words_of_the_facts_and_ends_as_one(row: Rule | StepRule) -> None:
    assert row.states
    of_facts = [name for name in words(row.text) if not name.startswith("task.")]
    assert all(isinstance(getattr(Facts, name), property) for name in of_facts)
    assert re.search(r"[.?!}]\Z", row.text)


@pytest.mark.parametrize("state", State)
def test_every_state_has_a_sentence_for_the_rest(state: State) -> None:
    assert [row for row in SAYS if state in row.states][-1].when is Facts.always


@pytest.mark.parametrize("state", OPEN)
def test_of_a_task_that_is_not_settled_something_is_always_missing(state: State) -> None:
    assert [row for row in MISSING if state in row.states]


def test_a_step_names_a_command_that_there_is() -> None:
    assert {row.command for row in NEXT} <= {"", "recover", "history", "consistency", "diagnose", "resume"}
