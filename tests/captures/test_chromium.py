"""A HAR of real headless Chromium, through the proxy and without it: the traces agree, and so do the verdicts."""

from __future__ import annotations

import gzip
import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.captures.reading import read_capture
from comfy_fsm.log.trace import open_packed
from comfy_fsm.report.player import Replay, replay
from comfy_fsm.testing import ThreadedFake, picture
from tests.support.chromium import BROWSER, DRIVER, browsing
from tests.support.processes import begin
from tests.support.recording import rows

if "CI" not in os.environ:  # there it is installed, or a test fails
    pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed")

SUBMIT = """
    const window_id = crypto.randomUUID(), told = [];
    const socket = new WebSocket('ws://' + location.host + '/ws?clientId=' + window_id);
    await new Promise(opened => socket.onopen = opened);
    const ended = new Promise(end => socket.onmessage = event => {
        if (typeof event.data === 'string' && JSON.parse(event.data).type === 'execution_success') end();
    });
    const body = JSON.stringify({prompt: arguments[0], client_id: window_id});
    const headers = {'Content-Type': 'application/json'};
    const answer = await fetch('/prompt', {method: 'POST', body, headers}).then(each => each.json());
    await ended;
    let record = {};
    while (!record[answer.prompt_id]) {
        record = await fetch('/history/' + answer.prompt_id).then(each => each.json());
    }
    socket.close();
    await new Promise(closed => socket.onclose = closed);
    return answer.prompt_id;
"""


def recorded(url: str) -> tuple[str, dict[str, Any]]:
    """Submit from a page of the server, and export the network tools."""
    with browsing() as browser:
        browser.visit(f"{url}/queue")
        prompt_id = browser.run(SUBMIT, picture())
        assert "error" not in str(prompt_id), prompt_id
        return str(prompt_id), browser.har()


def judged(found: Replay) -> list[tuple[object, ...]]:
    return [(task.state, task.stated, task.confidence) for task in found.tasks]


def told(lines: list[bytes]) -> dict[str, list[object]]:
    """The frames of the sockets and the exchanges, each in their order, without ids and times of the recorder."""
    found: dict[str, list[object]] = {"frames": [], "asked": [], "answered": []}
    for line in map(json.loads, lines):
        match line["kind"]:
            case "ws.message":
                found["frames"].append(line["data"])
            case "http.request":
                found["asked"].append((line["data"]["method"], line["data"]["path"], line["data"].get("body")))
            case "http.response":
                found["answered"].append((line["data"]["status"], line["data"].get("body")))
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The HAR of a run through the proxy with the log of that, and the HAR of a run without it."""
    folder = tmp_path_factory.mktemp("browser")
    with ThreadedFake("0.33.0") as fake:
        with begin("record", "--server", fake.url, "--listen", "0", "--log", "proxy.log", cwd=folder) as process:
            try:
                assert process.stdout is not None
                _, through = recorded(process.stdout.readline().split()[0])
            finally:
                process.terminate()
        _, straight = recorded(fake.url)
    for name, har in (("through", through), ("straight", straight)):
        (folder / f"{name}.har.gz").write_bytes(gzip.compress(json.dumps(har).encode()))
    return {"through": folder / "through.har.gz", "straight": folder / "straight.har.gz", "log": folder / "proxy.log"}


def test_the_browser_and_the_proxy_saw_the_same(runs: dict[str, Path]) -> None:
    with closing(open_packed(str(runs["through"]))) as packed:
        capture = read_capture(packed, "through.har.gz")
    assert capture is not None
    by_browser, by_proxy = told(capture.lines), told(rows(runs["log"]))
    assert by_browser == by_proxy
    assert by_browser["frames"]
    assert len(by_browser["asked"]) >= 3


def test_the_verdicts_with_the_proxy_without_it_and_of_its_log_are_the_same(runs: dict[str, Path]) -> None:
    verdicts = {name: judged(replay(path)) for name, path in runs.items()}
    assert verdicts["through"] == verdicts["straight"] == verdicts["log"]
    [(state, _, confidence)] = verdicts["log"]
    assert (state, confidence) == ("completed", "verified")
    assert not [finding for path in runs.values() for finding in replay(path).findings if finding.severity != "note"]
