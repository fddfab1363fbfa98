"""Tests of every scenario, against the fake of every version, and the real servers that COMFYUI_URLS names.

A real server must be nobody else's: the scenarios clear its queue, interrupt what runs and empty its history.
COMFYUI_CONFORMANCE_REPORT names the page that tells how it went, for docs/reference/conformance.md.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import addresses, asking, ending, jobs, running, submitting
from tests.conformance.places import URLS, Fake, Real
from tests.conformance.report import About, Row, page
from tests.conformance.scenario import Scenario, scenarios_of

REPORT = os.environ.get("COMFYUI_CONFORMANCE_REPORT")
ROOMS = {
    "Addresses and sockets": scenarios_of(addresses),
    "Submitting": scenarios_of(submitting),
    "Running": scenarios_of(running),
    "Ending": scenarios_of(ending),
    "Asking": scenarios_of(asking),
    "Jobs": scenarios_of(jobs),
}
SCENARIOS = [scenario for room in ROOMS.values() for scenario in room]
FAKES = ["latest", "0.33.0", "0.24.0", "0.8.2", "0.3.64", "0.3.50", "0.3.10", "2024-08-17", "2023-10-14"]


CASES: list[tuple[Real | Fake, Scenario]] = [
    *((Real(url), scenario) for url in URLS for scenario in SCENARIOS),
    *((Fake(version), scenario) for version in FAKES for scenario in SCENARIOS if scenario.holds(version)),
]


@pytest.fixture(scope="session")
def rows() -> Iterator[list[Row]]:
    rows: list[Row] = []
    yield rows
    if REPORT:
        Path(REPORT).write_text(page(rows, ROOMS), encoding="utf-8")


@pytest.mark.parametrize(("place", "scenario"), CASES, ids=str)
async def test_the_server_does_as_the_scenario_says(place: Real | Fake, scenario: Scenario, rows: list[Row]) -> None:
    row = Row(scenario, About(str(place)))
    rows.append(row)
    try:
        await play(scenario, place, row)
    except pytest.skip.Exception:
        row.result = "skipped"
        raise
    row.result = "passed"


async def play(scenario: Scenario, place: Real | Fake, row: Row) -> None:
    async with place.opened() as (server, row.about):
        if not scenario.holds(row.about.version):
            pytest.skip(f"it holds since {scenario.since or 'ever'}, until {scenario.until or 'now'}")
        assert await server.queue() == ([], []), "this server has prompts of somebody else"
        try:
            await scenario.play(server)
        finally:
            await server.settle()
