"""Tests that guard the table: for each changed or removed row, the check that guards it fails."""

import random

import pytest

from comfy_fsm.core.machine import TABLE, Row, State, _compile, declare  # _compile too: the very step that is guarded
from tests.support.reference import differences

ROWS = range(len(TABLE))


def name_of(index: int) -> str:
    return f"{TABLE[index].state}-{TABLE[index].signal}"


def check(rows: tuple[Row, ...]) -> list[tuple[str, str]]:
    return differences(_compile(declare(rows)))


def replaced(index: int, *rows: Row) -> tuple[Row, ...]:
    return (*TABLE[:index], *rows, *TABLE[index + 1 :])


def test_the_table_as_it_is_passes_the_check() -> None:
    assert check(TABLE) == []


@pytest.mark.parametrize("index", ROWS, ids=name_of)
def test_a_row_that_leads_elsewhere_is_found(index: int) -> None:
    """To two other states: one drawn, and the one that looks most innocent, to stay where one is."""
    row = TABLE[index]
    others = [state for state in State if state is not row.next]
    for target in {random.Random(index).choice(others), row.state} - {row.next}:
        assert check(replaced(index, row._replace(next=target))) == [(str(row.state), str(row.signal))]


@pytest.mark.parametrize("index", ROWS, ids=name_of)
def test_a_row_that_is_missing_is_found(index: int) -> None:
    row = TABLE[index]
    assert check(replaced(index)) == [(str(row.state), str(row.signal))]
