"""Every scenario against the fake, in one go, each judged by a test of its own; at real servers, by the command.

Times are twenty times shorter than with the default policy. How soon a verdict comes is told by the table that
`python -m tests.faults` draws, and asserted by no test: that would measure the machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from tests.faults.rig import Row, play_all
from tests.faults.table import SCENARIOS, Scenario

SCALE = 0.05
AT_ONCE = 16

NOT_YET: dict[str, str] = {"post 503 for good": "the error does not say that it was never accepted"}
"""Scenarios that do not come out right yet, and what is lacking."""


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> Iterator[dict[str, Row]]:
    """All that are wanted, played beside each other."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {each.params["played"].name for each in params if each is not None and "played" in each.params}
    chosen = [played for played in SCENARIOS if played.name in wanted]
    logging.disable(logging.ERROR)
    try:
        yield {row.scenario.name: row for row in asyncio.run(play_all(chosen, SCALE, AT_ONCE, "0.3.64"))}
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("played", SCENARIOS, ids=lambda played: played.name.replace(" ", "-"))
def test_under_this_fault_the_truth_is_told_once_and_nothing_runs_twice(
    played: Scenario, rows: dict[str, Row], request: pytest.FixtureRequest
) -> None:
    if played.name in NOT_YET:
        request.applymarker(pytest.mark.xfail(reason=NOT_YET[played.name], strict=False))
    row = rows[played.name]
    assert not row.wrong, row


def test_there_are_scenarios_enough_and_each_has_a_name_of_its_own() -> None:
    names = [played.name for played in SCENARIOS]
    assert len(names) == len({*names})
    assert len(names) >= 41
    assert {*NOT_YET} <= {*names}
    assert {played.kind for played in SCENARIOS} >= {"A", "I", "L"}
