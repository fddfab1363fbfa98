"""Tests of every scenario against the fake, run together, each judged by a test of its own; real servers by the
command.

Times are twenty times shorter than with the default policy, or less where the machine is too busy for that. How soon a
verdict comes is told by the table that `python -m tests.faults` draws, and asserted by no test: that would measure the
machine.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.faults.rig import Row, play_patiently
from tests.faults.table import SCENARIOS, Scenario

PACES = (0.05, 0.2, 0.5)  # the slower ones where the machine stalls
AT_ONCE = 16
BY_LOOKS = ("tests.faults.lies", "tests.faults.clocks")
LOOKED_FOR = [
    played
    for played in SCENARIOS
    if not played.heavy
    and (played.story.__module__ in BY_LOOKS or "own ids" in played.name or "history" in played.name)
]
"""Scenarios that end by looks: servers with jobs are asked otherwise than those without."""


def _play(request: pytest.FixtureRequest, named: str, version: str) -> dict[str, Row]:
    """All that are wanted under this name, played beside each other."""
    params = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {each.params[named].name for each in params if each is not None and named in each.params}
    chosen = [played for played in SCENARIOS if played.name in wanted]
    logging.disable(logging.ERROR)
    try:
        return {row.scenario.name: row for row in asyncio.run(play_patiently(chosen, PACES, AT_ONCE, version))}
    finally:
        logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> dict[str, Row]:
    return _play(request, "played", "0.3.64")


@pytest.fixture(scope="module")
def rows_by_jobs(request: pytest.FixtureRequest) -> dict[str, Row]:
    return _play(request, "looked_for", "0.33.0")


def _name(played: Scenario) -> str:
    return played.name.replace(" ", "-")


@pytest.mark.parametrize("played", SCENARIOS, ids=_name)
def test_under_this_fault_the_truth_is_told_once_and_nothing_runs_twice(played: Scenario, rows: dict[str, Row]) -> None:
    row = rows[played.name]
    assert not row.wrong, row


@pytest.mark.parametrize("looked_for", LOOKED_FOR, ids=_name)
def test_so_it_is_at_a_server_with_jobs(looked_for: Scenario, rows_by_jobs: dict[str, Row]) -> None:
    row = rows_by_jobs[looked_for.name]
    assert not row.wrong, row


def test_there_are_scenarios_enough_and_each_has_a_name_of_its_own() -> None:
    names = [played.name for played in SCENARIOS]
    assert len(names) == len({*names})
    assert len(names) >= 41
    assert {played.kind for played in SCENARIOS} >= {"A", "I", "L"}
