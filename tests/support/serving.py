"""A page of `serve`, by a process of its own, and a log for it to show."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.lines import frame, line
from tests.support.processes import (
    GUARD,
    LOG,
    begin,
    finish,
)

NOW = time.time()
RUNNING = [
    line("ws.open", {}, NOW),
    frame("execution_start", NOW, prompt_id="prompt-one", timestamp=1),
    frame("progress", NOW, prompt_id="prompt-one", node="7", value=1, max=2),
]
DISCOVERED = line("ws.undecodable", {"error": "no JSON"}, NOW + 1)


class Page:
    """A page that is served, by its address."""

    def __init__(self, cwd: Path, *options: str) -> None:
        self.process = begin("serve", LOG, *(options or ("--port", "0")), cwd=cwd)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://"), self.process.communicate()

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://").rstrip("/")

    def get(self, path: str = "", method: str = "GET", **headers: str) -> httpx.Response:
        return httpx.request(method, self.url + path, headers=headers, timeout=GUARD, trust_env=False)

    @contextmanager
    def feed(self, **headers: str) -> Iterator[Iterator[tuple[str, Any]]]:
        with httpx.stream("GET", self.url + "feed", headers=headers, timeout=GUARD, trust_env=False) as response:
            assert response.status_code == 200
            assert response.headers["content-type"].startswith("text/event-stream")
            yield messages_of(response.iter_lines())


def messages_of(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    kind = ""
    for each in lines:
        name, _, value = each.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


@contextmanager
def serving(cwd: Path, *options: str) -> Iterator[Page]:
    served = Page(cwd, *options)
    try:
        yield served
    finally:
        served.process.terminate()
        found = finish(served.process)
        assert (found.returncode, found.stderr) == (128 + signal.SIGTERM, "")
