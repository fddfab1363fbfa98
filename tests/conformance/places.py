"""Servers that the scenarios are played against: real ones, and the fake of each version."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp

from comfy_fsm.testing import FakeComfy
from tests.conformance.protocol import Server
from tests.conformance.report import About

URLS = [url for url in os.environ.get("COMFYUI_URLS", "").split(",") if url]


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
    step_seconds: float = 0.01

    def __str__(self) -> str:
        return f"fake-{self.version}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Server, About]]:
        async with (
            FakeComfy(version=self.version, step_seconds=self.step_seconds) as fake,
            FakeComfy(version=self.version) as other,
            aiohttp.ClientSession() as http,
        ):
            about = About(f"fake {self.version}", self.version, f"{os.name}, Python {platform.python_version()}")
            yield Server(fake.url, http, Server(other.url, http)), about
