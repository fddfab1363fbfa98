"""Tests of the state machine: all states, all signals, few allowed answers."""

from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from comfy_fsm.core.machine import (
    CONCLUDABLE,
    FINAL,
    MOVES,
    OPEN,
    REASONS,
    RECOVERABLE,
    SETTLED,
    TABLE,
    Signal,
    State,
    diagram,
    step,
)
from tests.support.reference import differences

ROOT = Path(__file__).resolve().parents[2]
PAIRS = list(product(State, Signal))


def reachable(start: State, *, without: frozenset[Signal] = frozenset()) -> set[State]:
    found, edge = {start}, [start]
    while edge:
        state = edge.pop()
        for signal in Signal:
            if signal not in without and step(state, signal) not in found:
                found.add(step(state, signal))
                edge.append(step(state, signal))
    return found


def test_every_state_has_one_row_for_every_signal_and_no_second() -> None:
    """`transitions` keeps quiet about a second row for the same pair, and takes the first."""
    assert Counter((row.state, row.signal) for row in TABLE) == Counter(PAIRS)


def test_the_table_is_what_the_design_says() -> None:
    assert differences(MOVES) == []


def test_every_row_gives_its_reason() -> None:
    assert REASONS.keys() == set(PAIRS)
    assert all(row.why.strip() == row.why and row.why for row in TABLE)


def test_every_state_is_open_final_or_recoverable_and_only_one_of_these() -> None:
    assert Counter((*OPEN, *FINAL, *RECOVERABLE)) == Counter(State)
    assert frozenset((*FINAL, *RECOVERABLE)) == SETTLED


def test_every_state_can_be_reached_from_submitting() -> None:
    assert reachable(State.SUBMITTING) == set(State)


@pytest.mark.parametrize("state", OPEN)
def test_from_every_open_state_every_settled_state_but_rejected_can_be_reached(state: State) -> None:
    assert reachable(state) >= SETTLED - {State.REJECTED}


@pytest.mark.parametrize("state", FINAL)
def test_a_final_state_is_left_by_nothing_but_what_takes_a_conclusion_back(state: State) -> None:
    left = {signal for signal in Signal if step(state, signal) is not state}
    assert left == ({Signal.REOPEN} if state in CONCLUDABLE else set())


@pytest.mark.parametrize("state", RECOVERABLE)
def test_lost_and_expired_are_left_by_a_command_or_late_evidence_alone(state: State) -> None:
    ways = frozenset({Signal.RECOVER, Signal.ADOPT, Signal.REOPEN})
    assert {signal for signal in Signal if step(state, signal) is not state} == ways
    assert reachable(state, without=ways) == {state}


def test_recover_moves_nothing_that_is_not_lost_or_expired() -> None:
    assert {state for state in State if step(state, Signal.RECOVER) is not state} == set(RECOVERABLE)


def test_what_was_found_elsewhere_begins_anew_there_unless_it_is_final() -> None:
    assert {state for state in State if step(state, Signal.ADOPT) is State.UNCERTAIN} == set(State) - set(FINAL)


def test_nothing_becomes_submitting_again() -> None:
    assert State.SUBMITTING not in {row.next for row in TABLE if row.state is not State.SUBMITTING}


def test_the_drawing_in_the_docs_is_drawn_from_the_table() -> None:
    remedy = "python -m docs.render"
    text = (ROOT / "docs" / "reference" / "machine.md").read_text(encoding="utf-8")
    drawings = [block.partition("```")[0] for block in text.split("```mermaid\n")[1:]]
    assert [drawing.strip() for drawing in drawings] == [diagram().strip()], f"put in the output of: {remedy}"
