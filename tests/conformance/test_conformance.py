"""Every scenario, against the fake of every version, and against the real servers that COMFYUI_URLS names.

A real server must be nobody else's: the scenarios clear its queue, interrupt what runs and empty its history.
COMFYUI_CONFORMANCE_REPORT names the page that tells how it went, for docs/reference/conformance.md.
"""

import asyncio
import os
import platform
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest

from comfy_fsm.testing import FakeComfy
from tests.conformance import addresses, asking, ending, jobs, running, submitting
from tests.conformance.protocol import Server
from tests.conformance.report import About, Row, page
from tests.conformance.scenario import Scenario, scenarios_of

URLS = [url for url in os.environ.get("COMFYUI_URLS", "").split(",") if url]
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


class Real(NamedTuple):
    """A server that runs somewhere; another one of the list stands for the wrong one (P26)."""

    url: str

    def __str__(self) -> str:
        return self.url

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Server, About]]:
        async with aiohttp.ClientSession() as http:
            others = [Server(url, http) for url in URLS if url != self.url]
            server = Server(self.url, http, others[0] if others else None)
            stats = (await server.get("/system_stats")).body
            system, (device, *_) = stats["system"], stats["devices"]
            version = system.get("comfyui_version", "unknown")
            python, torch = system["python_version"].split()[0], system["pytorch_version"]
            machine = f"{system['os']}, Python {python}, torch {torch}, {device['type']}"
            yield server, About(f"ComfyUI {version}", version, machine)


class Fake(NamedTuple):
    """A fake of a version, new for each scenario."""

    version: str

    def __str__(self) -> str:
        return f"fake-{self.version}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Server, About]]:
        async with (
            FakeComfy(version=self.version, step_seconds=0.01) as fake,
            FakeComfy(version=self.version) as other,
            aiohttp.ClientSession() as http,
        ):
            about = About(f"fake {self.version}", self.version, f"{os.name}, Python {platform.python_version()}")
            yield Server(fake.url, http, Server(other.url, http)), about


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
def test_the_server_does_as_the_scenario_says(place: Real | Fake, scenario: Scenario, rows: list[Row]) -> None:
    row = Row(scenario, About(str(place)))
    rows.append(row)
    try:
        asyncio.run(play(scenario, place, row))
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
