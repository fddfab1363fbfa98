"""A page of `serve`, by a process of its own, and a log for it to show."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.lines import frame, line
from tests.support.processes import (
    ENVIRONMENT,
    GUARD,
    LOG,
    WRITES,
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


def answered(at: float) -> list[bytes]:
    """A server with an open socket, which has answered a question."""
    asked, said = {"id": "1", "method": "GET", "path": "/queue"}, {"queue_running": [], "queue_pending": []}
    return [
        line("ws.open", {}, at),
        line("http.request", asked, at),
        line("http.response", {"id": "1", "status": 200, "body": said}, at),
    ]


def gone(at: float, server: str, seconds: int = 150) -> list[bytes]:
    """A server which answers nothing for so many seconds, up to now."""
    asked = {"method": "GET", "path": "/queue"}
    return [
        each
        for second in range(seconds)
        for each in (
            line("http.request", asked | {"id": f"g{second}"}, at - seconds + second, server=server, window=None),
            line("http.error", {"id": f"g{second}", "error": "ConnectError"}, at - seconds + second, server=server),
        )
    ]


@contextmanager
def writing(folder: Path, *lines: bytes) -> Iterator[subprocess.Popen[str]]:
    """A process that has written these lines to a log, and is alive."""
    words = [each.decode() for each in lines]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(folder / LOG), *words], stdout=subprocess.PIPE, encoding="utf-8",
        env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
