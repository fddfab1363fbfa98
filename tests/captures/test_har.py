"""A browser's HAR is judged as the trace of the same incident would be, as far as a HAR can tell."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.captures.reading import read_capture
from comfy_fsm.core.machine import SETTLED, State
from comfy_fsm.errors import NotATrace
from comfy_fsm.log.trace import Packed
from comfy_fsm.report.player import Replay, replay
from tests.support.hars import har_of
from tests.support.processes import ENVIRONMENT

ROOT = Path(__file__).parents[2] / "fixtures" / "recordings"
RECORDINGS = sorted(ROOT.glob("*/*.jsonl.gz"))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines() if line.strip()]


def through(lines: list[dict[str, Any]], folder: Path, **options: Any) -> Replay:
    path = folder / "incident.har"
    path.write_text(json.dumps(har_of(lines, **options)), encoding="utf-8")
    return replay(path)


def states(found: Replay, window: str | None = None) -> dict[Any, str]:
    return {
        (task.prompt_id, task.server): str(task.state)
        for task in found.tasks
        if window is None or task.window == window
    }


each = pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
OURS = "live-client"
"""Logs of our own client: its servers were killed, which close codes prove, and a HAR has none."""


def disagree(found: dict[Any, str], right: dict[Any, str], path: Path) -> list[Any]:
    """Tasks with another state than they should have; a HAR may leave one open that close codes decide."""
    return [
        key for key, state in found.items()
        if key in right and state != right[key] and not (OURS in path.name and State(state) not in SETTLED)
    ]  # fmt: skip


@each
@pytest.mark.parametrize("precise", [False, True], ids=["chrome", "mitmproxy"])
def test_each_recording_keeps_its_states_through_a_har(path: Path, tmp_path: Path, precise: bool) -> None:
    found, right = states(through(lines_of(path), tmp_path, precise=precise)), states(replay(path))
    assert found.keys() == right.keys()
    assert disagree(found, right, path) == []


@each
def test_the_har_of_a_single_tab_keeps_the_states_of_its_own_tasks(path: Path, tmp_path: Path) -> None:
    lines = lines_of(path)
    for window in {line.get("window") for line in lines} - {None}:
        alone = [line for line in lines if line.get("window") == window]
        try:
            found = through(alone, tmp_path)
        except NotATrace:  # it neither opened a socket nor posted
            continue
        assert disagree(states(found, window), states(replay([json.dumps(line) for line in alone]), window), path) == []


def frame(at: float, kind: str, **data: Any) -> dict[str, Any]:
    return {"type": "receive", "time": at, "opcode": 1, "data": json.dumps({"type": kind, "data": data})}


def socket(*frames: dict[str, Any], url: str = "ws://127.0.0.1:8188/ws?clientId=tab", **fields: Any) -> dict[str, Any]:
    return {
        "_resourceType": "websocket", "_webSocketMessages": list(frames), "startedDateTime": "2026-01-02T03:04:05.678Z",
        "time": 0, "request": {"method": "GET", "url": url}, "response": {"status": 101, "content": {}},
    } | fields  # fmt: skip


def exchange(url: str, method: str = "GET", answer: object = None, **fields: Any) -> dict[str, Any]:
    return {
        "startedDateTime": "2026-01-02T03:04:05.700Z", "time": 12.5, "request": {"method": method, "url": url},
        "response": {"status": 200, "content": {"text": json.dumps(answer)}},
    } | fields  # fmt: skip


def written(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "incident.har"
    path.write_text(json.dumps({"log": {"version": "1.2", "entries": list(entries)}}), encoding="utf-8")
    return path


AT = 1_767_323_046.0
RUN = [
    frame(AT, "status", sid="tab", status={"exec_info": {"queue_remaining": 0}}),
    frame(AT + 1, "execution_start", prompt_id="p"),
    frame(AT + 2, "execution_success", prompt_id="p"),
]
POST = exchange("http://127.0.0.1:8188/api/prompt", "POST", {"prompt_id": "p", "number": 1, "node_errors": {}})


def test_the_traffic_of_other_sites_is_passed_over_and_counted(tmp_path: Path) -> None:
    found = replay(written(tmp_path, POST, socket(*RUN), *[exchange("https://example.org/queue")] * 7))
    assert [task.server for task in found.tasks] == ["http://127.0.0.1:8188"]
    assert any("7 other exchanges were passed over" in note for note in found.notes)


def test_an_address_that_is_none_is_passed_over(tmp_path: Path) -> None:
    found = replay(written(tmp_path, POST, socket(*RUN), exchange("http://["), socket(url="ws://[x/ws?clientId=tab")))
    assert [task.outcome for task in found.tasks] == [State.COMPLETED]


@pytest.mark.parametrize("entries", [[], [exchange("https://example.org/")], [socket(url="wss://example.org/chat")]])
def test_a_har_without_a_comfyui_is_no_trace_and_says_why(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    with pytest.raises(NotATrace, match="nothing to judge"):
        replay(written(tmp_path, *entries))


@pytest.mark.parametrize(("url", "server"), [
    ("ws://127.0.0.1:8188/ws?clientId=tab", "http://127.0.0.1:8188"),
    ("wss://comfy.example/ws?clientId=tab", "https://comfy.example"),
    ("wss://farm.example/gpu/2/ws?clientId=tab", "https://farm.example/gpu/2"),
    ("wss://farm.example/gpu/2/api/ws?clientId=tab", "https://farm.example/gpu/2"),
    ("ws://user:secret@127.0.0.1:8188/ws?clientId=tab", "http://127.0.0.1:8188"),
])  # fmt: skip
def test_a_server_is_named_by_the_address_of_its_socket(tmp_path: Path, url: str, server: str) -> None:
    base = url.replace("ws", "http", 1).partition("/ws?")[0].removesuffix("/api")
    post = exchange(f"{base}/api/prompt", "POST", {"prompt_id": "p", "number": 1, "node_errors": {}})
    (task,) = replay(written(tmp_path, post, socket(*RUN, url=url))).tasks
    assert (task.server, task.outcome, task.window) == (server, State.COMPLETED, "tab")


def test_a_socket_without_a_client_id_is_named_by_its_first_status(tmp_path: Path) -> None:
    found = replay(written(tmp_path, socket(*RUN, url="ws://127.0.0.1:8188/ws")))
    assert found.trace.windows == ["tab"]


def test_what_a_har_holds_of_secrets_and_workflows_is_not_in_the_trace(tmp_path: Path) -> None:
    body = {
        "client_id": "tab", "prompt": {"1": {"class_type": "A", "inputs": {"text": "a private wish"}}},
        "extra_data": {"api_key_comfy_org": "comfyui-5ecret-key"},
    }  # fmt: skip
    post = POST | {
        "request": {
            "method": "POST", "url": "http://127.0.0.1:8188/prompt?token=5ecret-token",
            "headers": [{"name": "Cookie", "value": "session=5ecret-cookie"}], "postData": {"text": json.dumps(body)},
        }
    }  # fmt: skip
    echo = frame(AT + 1.5, "executed", prompt_id="p", node="1", output={"text": ["it said comfyui-5ecret-key"]})
    path = written(tmp_path, post, socket(*RUN[:2], echo, RUN[2]))
    with path.open("rb", buffering=0) as file:
        capture = read_capture(Packed(file), "incident.har")
    assert capture is not None
    whole = b"".join(capture.lines)
    assert b"5ecret" not in whole
    assert b"private wish" not in whole


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_a_har_that_is_cut_off_is_read_as_far_as_it_goes_and_says_so(tmp_path: Path, kept: float) -> None:
    path = written(tmp_path, socket(*RUN), POST, *[exchange("https://example.org/" + "x" * 200)] * 5)
    text = path.read_text(encoding="utf-8")
    path.write_text(text[: int(len(text) * kept)], encoding="utf-8")
    found = replay(path)
    assert [finding.code for finding in found.findings if finding.code == "damaged"]
    assert found.exit_status == 1


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, bytes], ids=["gzip", "zstd", "plain"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "with a byte order mark"])
def test_a_har_is_known_by_its_content_however_it_is_packed(
    tmp_path: Path, pack: Callable[[bytes], bytes], mark: bytes
) -> None:
    path = written(tmp_path, socket(*RUN))
    path.write_bytes(pack(mark + path.read_bytes()))
    assert replay(path).notes


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})


@given(st.data())
def test_an_odd_field_of_a_har_is_passed_over_or_named_and_nothing_else(data: st.DataObject) -> None:
    entries = json.loads(json.dumps([socket(*RUN), POST, exchange("http://127.0.0.1:8188/history/p", answer={})]))
    for _ in range(data.draw(st.integers(1, 3))):
        where = entries
        while True:
            key = data.draw(st.sampled_from(list(where) if isinstance(where, dict) else range(len(where))))
            deeper = where[key]
            if not isinstance(deeper, dict | list) or not deeper or data.draw(st.booleans()):
                where[key] = data.draw(ODD)
                break
            where = deeper
    content = json.dumps({"log": {"version": "1.2", "entries": entries}}).encode()
    with suppress(NotATrace):
        capture = read_capture(Packed(io.BytesIO(content)), "odd.har")
        assert capture is not None
        replay(capture.lines)


_PEAK = r"""
import re, sys
from contextlib import closing, suppress
from comfy_fsm.captures.reading import read_capture
from comfy_fsm.errors import NotATrace
from comfy_fsm.log.trace import open_packed
with suppress(NotATrace), closing(open_packed(sys.argv[1])) as packed:
    read_capture(packed, sys.argv[1])
with open("/proc/self/status") as status:  # the usage of a process begins with what its parent held when it forked
    print(re.search(r"VmHWM:\s+(\d+)", status.read())[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process itself")
@pytest.mark.parametrize("text", ["", "x" * 1_000_000], ids=["many", "long"])
def test_what_is_of_no_comfyui_takes_no_memory_however_much_it_is(text: str, tmp_path: Path) -> None:
    entry = json.dumps({
        "startedDateTime": "2026-11-29T17:00:00.000Z", "time": 1.5,
        "request": {"method": "GET", "url": "https://shop.example/assets/index.js"},
        "response": {"status": 200, "content": {"text": text}},
    })  # fmt: skip
    peaks = []
    for size in (2_000_000, 20_000_000):
        path = tmp_path / f"{size}.har"
        path.write_text('{"log":{"entries":[' + ",".join([entry] * (size // len(entry))) + "]}}", encoding="utf-8")
        done = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, check=True, env=ENVIRONMENT)
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] + 10_000, "kilobytes"
