"""Tests that the fake is true: compared with real recordings, frame by frame; each fact of the protocol is shown
somewhere.

What one healthy server can show is played by tests/conformance, against the fake and against real servers alike.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfy_fsm.testing import PROFILES, FakeComfy
from comfy_fsm.testing.execution.nodes import CLASSES
from comfy_fsm.testing.profiles import profile_of
from replay import replay
from tests.conformance import addresses, asking, ending, running, submitting
from tests.conformance.protocol import Server
from tests.conformance.scenario import scenarios_of
from tests.conftest import FIXTURES
from tests.support.fake_stage import Graph, chain, play

TWINS = {
    "BarAsyncSleep": "FakeAsync", "BarExpand": "FakeExpand", "BarFail": "FakeFail", "BarOutputNothing": "FakeNothing",
    "BarOutputText": "FakeText", "BarSleepSilent": "FakeSleep", "BarSleepWithProgress": "FakeProgress",
    "TestExecutionBlocker": "FakeBlock",
}  # fmt: skip
"""The nodes of the recordings that no ComfyUI has built in, and ours that do the same."""


def recorded(version: str) -> Iterator[tuple[Graph, list[dict[str, Any]]]]:
    """What was posted to a real server, and what its owner was told of it: wherever time and chance had no part."""
    for path in sorted((FIXTURES / "recordings" / version).glob("*.jsonl*")):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        if lines[0]["kind"] != "trace":  # a log of our client, whose graphs are shortened to their links
            continue
        asked = {line["data"]["id"]: line["data"].get("body") for line in lines if line["kind"] == "http.request"}
        opened = Counter(line["window"] for line in lines if line["kind"] == "ws.open")
        told = [(line.get("window"), line["data"]) for line in lines if line["kind"] == "ws.message"]
        for line in lines:
            posted = asked.get(line["data"].get("id"))
            if line["kind"] == "http.response" and line["data"]["status"] == 200 and "prompt" in (posted or {}):
                prompt_id, owner = line["data"]["body"]["prompt_id"], posted.get("client_id")
                frames = [frame for window, frame in told if window == owner and of(prompt_id)(frame)]
                if opened[owner] == 1 and is_whole(frames) and (graph := twin(posted["prompt"])):
                    yield graph, frames


def of(prompt_id: str) -> Callable[[dict[str, Any]], bool]:
    return lambda frame: frame["data"].get("prompt_id") == prompt_id


def is_whole(frames: list[dict[str, Any]]) -> bool:
    """Told from start to end, once, with nothing cached, and nobody or nothing but its nodes had a hand in it."""
    types = [frame["type"] for frame in frames]
    alone = types[:1] == ["execution_start"] and types.count("execution_start") == 1
    odd = "execution_interrupted" in types or any("OutOfMemory" in str(frame) for frame in frames)
    return alone and not odd and frames[-1]["data"].get("node", "") is None and frames[1]["data"]["nodes"] == []


def twin(graph: Graph) -> Graph | None:
    """The same of nodes that we have, in no time; None if we lack one, or a server would choose the order."""
    kinds = [TWINS.get(node["class_type"], node["class_type"]) for node in graph.values()]
    outputs = [kind for kind in kinds if kind in CLASSES and CLASSES[kind].is_output]
    if not {*kinds} <= {*CLASSES} - {"FakeAsync"} or len(outputs) != 1:
        return None
    return {
        name: {"class_type": kind, "inputs": {k: v for k, v in node["inputs"].items() if k != "seconds"} | SECONDS}
        for (name, node), kind in zip(graph.items(), kinds, strict=True)
    }


SECONDS = {"seconds": 0}


def shape(frame: dict[str, Any]) -> tuple[Any, ...]:
    """All of a frame that is not an id, a time, the number of a file or a place in the source."""
    kind, data = frame["type"], frame["data"]
    nodes = data["nodes"].items() if kind == "progress_state" else ()
    states = {name: (node["state"], node["value"], node["max"]) for name, node in nodes}
    exact = ("node", "display_node", "value", "max", "node_id", "exception_message", "exception_type")
    return kind, sorted(data), states, {name: data.get(name) for name in exact}


@pytest.mark.parametrize("version", ["2023-10-14", "2024-08-17", "0.3.10", "0.3.50", "0.3.64"])
async def test_a_prompt_is_told_frame_by_frame_as_a_real_server_told_it(version: str) -> None:
    cases = [*recorded(version)]
    assert len(cases) >= 10
    for graph, real in cases:
        async with FakeComfy(version) as comfy, aiohttp.ClientSession() as http:
            server = Server(comfy.url, http)
            async with server.socket() as window:
                prompt_id = await server.run(graph, window)
        told = [{"type": frame.type, "data": frame.data} for frame in window.heard]
        assert [shape(frame) for frame in told if of(prompt_id)(frame)] == [shape(frame) for frame in real]


@pytest.mark.parametrize("version", PROFILES)
def test_a_run_of_every_version_replays_to_a_verified_end(version: str) -> None:
    lines: list[str] = []

    def note(kind: str, **data: Any) -> None:
        lines.append(
            json.dumps({"at": float(len(lines)), "kind": kind, "window": "me", "server": "http://s", "data": data})
        )

    async def ask(server: Server, method: str, path: str, body: Any = None) -> Any:
        note("http.request", id=f"{len(lines)}", method=method, path=path, body=body)
        asked = json.loads(lines[-1])["data"]["id"]
        answer = await (server.post(path, body) if method == "POST" else server.get(path))
        note("http.response", id=asked, status=answer.status, body=answer.body)
        return answer.body

    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket("me") as window:
            note("ws.open")
            prompt_id = (await ask(server, "POST", "/prompt", {"prompt": chain(), "client_id": "me"}))["prompt_id"]
            await window.ended(prompt_id)
            for frame in window.heard:
                note("ws.message", type=frame.type, data=frame.data)
            await ask(server, "GET", f"/history/{prompt_id}")
            note("ws.close", code=1000, reason="")

    play(story, version)
    (task,) = replay(lines).tasks
    confidence = "verified" if profile_of(version).history_has_status else "inferred"
    assert (task.state, task.outcome, task.confidence) == ("completed", "completed", confidence)


def test_every_fact_of_the_protocol_is_shown_by_a_scenario_or_by_a_test_beside_this() -> None:
    rooms = (addresses, asking, ending, running, submitting)
    played = {fact for room in rooms for scenario in scenarios_of(room) for fact in scenario.facts}
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    assert {f"P{number}" for number in range(1, 36)} - played <= {*re.findall(r"P\d+", "".join(texts))}
