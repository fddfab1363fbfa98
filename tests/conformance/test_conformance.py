"""Every scenario, against the fake, and against the real servers that COMFYUI_URLS names.

A real server must be nobody else's: the scenarios clear its queue, interrupt what runs and empty its history.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

import tests.conformance.addresses
import tests.conformance.asking
import tests.conformance.ending
import tests.conformance.running
import tests.conformance.submitting  # noqa: F401
from tests.conformance.protocol import Server
from tests.conformance.scenario import SCENARIOS, Scenario

URLS = [url for url in os.environ.get("COMFYUI_URLS", "").split(",") if url]


@dataclass(frozen=True)
class Real:
    url: str

    def __str__(self): return self.url

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Server]:
        async with aiohttp.ClientSession() as http:
            others=[Server(u, http) for u in URLS if u != self.url]
            yield Server(self.url, http, (others or [None])[0])

@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
@pytest.mark.parametrize("place", [Real(URLS[0])], ids=str)
def test_scenario(scenario: Scenario, place: Real) -> None:
    async def play() -> None:
        async with place.opened() as server:
            assert await server.queue() == ([], [])
            try:
                await scenario.play(server)
            finally:
                await server.settle()

    asyncio.run(play())
