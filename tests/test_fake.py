"""The fake ComfyUI, over real sockets: whether it is true, what its versions differ in, and each of its knobs.

What one healthy server can show is played by tests/conformance, against the fake and against real servers alike. Here
is what needs more: an old recording beside it, two versions, a fault, a death.
"""

import asyncio
import gzip
import json
import re
import signal
import socket
import struct
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comfy_fsm.testing import PROFILES, Balancer, FakeComfy, Faults
from comfy_fsm.testing.nodes import CLASSES
from comfy_fsm.testing.profiles import profile_of
from replay import replay
from tests.conformance import addresses, asking, ending, running, submitting
from tests.conformance.protocol import Server, Socket
from tests.conformance.scenario import scenarios_of
from tests.conftest import FIXTURES

Graph = dict[str, dict[str, Any]]
Story = Callable[[FakeComfy, Server], Awaitable[None]]
PATIENCE = 60.0  # seconds for what must come; only a failure waits so long
FOR_EVER = 3600.0  # seconds of a node that no test waits for


def play(story: Story, version: str = "0.3.64", **settings: Any) -> None:
    async def told() -> None:
        async with FakeComfy(version, **settings) as comfy, aiohttp.ClientSession() as http:
            async with asyncio.timeout(PATIENCE):
                await story(comfy, Server(comfy.url, http))

    asyncio.run(told())


def chain(*links: tuple[str, dict[str, Any]], output: tuple[str, dict[str, Any]] = ("PreviewImage", {})) -> Graph:
    """An image that no cache knows, some nodes one after another, and an output."""
    picture = {"width": 8, "height": 8, "batch_size": 1, "color": uuid.uuid4().int % 2**24}
    nodes = [("EmptyImage", picture), *links, output]
    wires: list[dict[str, Any]] = [{}, *({"image": [str(at), 0]} for at in range(1, len(links) + 1))]
    wires.append({"images": [str(len(links) + 1), 0]})
    return {
        str(at): {"class_type": kind, "inputs": wire | inputs}
        for at, ((kind, inputs), wire) in enumerate(zip(nodes, wires, strict=True), 1)
    }


def sleeping(seconds: float = FOR_EVER) -> Graph:
    return chain(("FakeSleep", {"seconds": seconds}))


FAILING = ("FakeFail", {"message": "no"})


async def eventually(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110 (what is waited for is no task of ours)
        await asyncio.sleep(0.001)


async def closed(ws: aiohttp.ClientWebSocketResponse) -> int | None:
    """Reads on to the end of a socket; returns its code."""
    async for _ in ws:
        pass
    return ws.close_code


# is it true?

TWINS = {
    "BarAsyncSleep": "FakeAsync", "BarExpand": "FakeExpand", "BarFail": "FakeFail", "BarOutputNothing": "FakeNothing",
    "BarOutputText": "FakeText", "BarSleepSilent": "FakeSleep", "BarSleepWithProgress": "FakeProgress",
    "TestExecutionBlocker": "FakeBlock",
}  # fmt: skip
"""The nodes of the recordings that no ComfyUI has built in, and ours that do the same."""


def recorded(version: str) -> Iterator[tuple[Graph, list[dict[str, Any]]]]:
    """What was posted to a real server, and what its owner was told of it: wherever time and chance had no part."""
    for path in sorted((FIXTURES / "recordings" / version).glob("*.jsonl*")):
        if "socket-drop" in path.name:
            continue
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = [json.loads(line) for line in text.splitlines() if line.strip()]
        asked = {line["data"]["id"]: line["data"].get("body") for line in lines if line["kind"] == "http.request"}
        told = [(line.get("window"), line["data"]) for line in lines if line["kind"] == "ws.message"]
        for line in lines:
            posted = asked.get(line["data"].get("id"))
            if line["kind"] == "http.response" and line["data"]["status"] == 200 and "prompt" in (posted or {}):
                prompt_id, owner = line["data"]["body"]["prompt_id"], posted.get("client_id")
                frames = [frame for window, frame in told if window == owner and of(prompt_id)(frame)]
                if is_whole(frames) and (graph := twin(posted["prompt"])):
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
def test_a_prompt_is_told_frame_by_frame_as_a_real_server_told_it(version: str) -> None:
    cases = [*recorded(version)]
    assert len(cases) > 10

    async def story() -> None:
        for graph, real in cases:
            async with FakeComfy(version) as comfy, aiohttp.ClientSession() as http:
                server = Server(comfy.url, http)
                async with server.socket() as window:
                    prompt_id = await server.run(graph, window)
            told = [{"type": frame.type, "data": frame.data} for frame in window.heard]
            assert [shape(frame) for frame in told if of(prompt_id)(frame)] == [shape(frame) for frame in real]

    asyncio.run(story())


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


def test_every_fact_of_the_protocol_is_shown_here_or_by_a_scenario() -> None:
    rooms = (addresses, asking, ending, running, submitting)
    played = {fact for room in rooms for scenario in scenarios_of(room) for fact in scenario.facts}
    here = {*re.findall(r"P\d+", Path(__file__).read_text(encoding="utf-8"))}
    assert {f"P{number}" for number in range(1, 36)} - played <= here


# what its versions differ in

Probe = Callable[[FakeComfy, Server, Socket], Awaitable[object]]


async def told_of(server: Server, window: Socket, kind: str, graph: Graph | None = None) -> list[dict[str, Any]]:
    return window.told(kind, await server.run(graph or chain(), window))


async def progress_has_a_prompt(_: FakeComfy, server: Server, window: Socket) -> object:
    await server.run(chain(("FakeProgress", {"steps": 1})), window)
    (frame,) = [frame for frame in window.heard if frame.type == "progress"]
    return "prompt_id" in frame.data and frame.data["node"] == "2"


async def history_has_a_status(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.record(await server.run(chain(), window))).get("status")


async def history_is_limited(comfy: FakeComfy, server: Server, window: Socket) -> object:
    return comfy.execution.history_limit == 10_000


async def an_unknown_class_is_400(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server.post("/prompt", {"prompt": {"1": {"class_type": "NoSuchNodeClass", "inputs": {}}}})
    assert answer.status in (400, 500)
    return answer.status == 400


async def routes_are_under_api(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server.get("/api/queue")
    assert answer.status in (200, 404)
    return answer.status == 200


async def a_success_is_stated(_: FakeComfy, server: Server, window: Socket) -> object:
    return await told_of(server, window, "execution_success")


async def a_start_has_a_timestamp(_: FakeComfy, server: Server, window: Socket) -> object:
    return "timestamp" in (await told_of(server, window, "execution_start"))[0]


async def a_node_has_its_display_node(_: FakeComfy, server: Server, window: Socket) -> object:
    return "display_node" in (await told_of(server, window, "executing"))[0]


async def a_cached_output_is_told(_: FakeComfy, server: Server, window: Socket) -> object:
    graph = chain()
    await server.run(graph, window)
    return await told_of(server, window, "executed", graph)


async def history_has_meta(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.record(await server.run(chain(), window))).get("meta")


async def a_failure_is_written_as_a_success(_: FakeComfy, server: Server, window: Socket) -> object:
    status = (await server.record(await server.run(chain(FAILING), window)))["status"]
    assert "execution_error" in dict(status["messages"])
    return status["status_str"] == "success" and status["completed"]


async def a_foreign_origin_is_refused(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/queue", headers={"Origin": "http://elsewhere.example"})).status == 403


async def the_version_is_told(comfy: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/system_stats")).body["system"].get("comfyui_version") == comfy.profile.version


async def node_errors_are_an_object(_: FakeComfy, server: Server, window: Socket) -> object:
    told = (await server.post("/prompt", {"prompt": {"1": chain()["1"]}})).body["node_errors"]
    assert told in ({}, [])
    return isinstance(told, dict)


async def text_is_sent(_: FakeComfy, server: Server, window: Socket) -> object:
    await server.run(chain(("FakeProgress", {"steps": 1, "text": True})), window)
    texts = [frame.payload for frame in window.heard if frame.type == "binary 3"]
    assert texts in ([], [struct.pack(">I", 1) + b"2step 1 of 1"])
    return texts


async def an_own_id_is_honoured(_: FakeComfy, server: Server, window: Socket) -> object:
    chosen = str(uuid.uuid4())
    return await server.submit(chain(), window, prompt_id=chosen) == chosen


async def the_progress_state_is_told(_: FakeComfy, server: Server, window: Socket) -> object:
    return await told_of(server, window, "progress_state")


async def features_are_told(_: FakeComfy, server: Server, window: Socket) -> object:
    answer = await server.get("/features")
    assert answer.status in (200, 404)
    return answer.status == 200


async def a_preview_names_its_prompt(_: FakeComfy, server: Server, window: Socket) -> object:
    await window.say("feature_flags", {"supports_preview_metadata": True})
    await server.run(chain(("FakeProgress", {"steps": 1, "preview": True})), window)
    (kind,) = {frame.type for frame in window.heard if frame.payload}
    assert kind in ("binary 1", "binary 4")
    return kind == "binary 4"


async def progress_names_the_inner_node(_: FakeComfy, server: Server, window: Socket) -> object:
    told = await told_of(server, window, "progress", chain(("FakeExpand", {"count": 1, "steps": 1})))
    assert told[0]["node"] in ("2", "2.0.0.1")
    return told[0]["node"] == "2.0.0.1"


async def keys_are_hidden_in_the_history(_: FakeComfy, server: Server, window: Socket) -> object:
    secret = {"api_key_comfy_org": "none of yours"}
    prompt_id = await server.submit(chain(), window, extra_data=secret)
    return "api_key_comfy_org" not in (await server.record(prompt_id))["prompt"][3]


async def an_interrupt_of_another_id_does_nothing(_: FakeComfy, server: Server, window: Socket) -> object:
    prompt_id = await server.submit(sleeping(0.3), window)
    await window.until("executing", node="2")
    await server.post("/interrupt", {"prompt_id": str(uuid.uuid4())})
    await window.ended(prompt_id)
    return not window.told("execution_interrupted", prompt_id)


async def the_progress_state_is_private(_: FakeComfy, server: Server, window: Socket) -> object:
    async with server.socket() as owner:
        await server.run(chain(), owner)
    await window.quiet()
    return "progress_state" not in {frame.type for frame in window.heard}


async def jobs_are_there(_: FakeComfy, server: Server, window: Socket) -> object:
    return (await server.get("/api/jobs")).status == 200


async def canonical_ids_are_demanded(_: FakeComfy, server: Server, window: Socket) -> object:
    shouted = {"prompt": chain(), "prompt_id": str(uuid.uuid4()).upper()}
    return (await server.post("/prompt", shouted)).status == 400


ROWS: list[tuple[Probe, str, str]] = [
    (history_is_limited, "2023-10-14", "2024-01"),
    (progress_has_a_prompt, "2023-10-14", "2024-01"),
    (history_has_a_status, "2023-10-14", "2024-01"),
    (an_unknown_class_is_400, "2024-01", "2024-08-17"),
    (routes_are_under_api, "2024-01", "2024-08-17"),
    (a_success_is_stated, "2024-07-20", "2024-07-21"),
    (a_start_has_a_timestamp, "2024-07-20", "2024-07-21"),
    (a_node_has_its_display_node, "2024-08-14", "2024-08-17"),
    (a_cached_output_is_told, "2024-08-14", "2024-08-17"),
    (history_has_meta, "2024-08-14", "2024-08-17"),
    (a_failure_is_written_as_a_success, "2024-08-14", "2024-08-17"),
    (a_foreign_origin_is_refused, "2024-08-17", "0.3.10"),
    (the_version_is_told, "0.3.10", "0.3.44"),
    (node_errors_are_an_object, "0.3.27", "0.3.28"),
    (text_is_sent, "0.3.10", "0.3.44"),
    (an_own_id_is_honoured, "0.3.44", "0.3.50"),
    (the_progress_state_is_told, "0.3.44", "0.3.50"),
    (features_are_told, "0.3.44", "0.3.50"),
    (a_preview_names_its_prompt, "0.3.44", "0.3.50"),
    (progress_names_the_inner_node, "0.3.44", "0.3.50"),
    (keys_are_hidden_in_the_history, "0.3.44", "0.3.50"),
    (an_interrupt_of_another_id_does_nothing, "0.3.50", "0.3.57"),
    (the_progress_state_is_private, "0.3.57", "0.3.64"),
    (jobs_are_there, "0.3.64", "jobs"),
    (canonical_ids_are_demanded, "0.3.64", "jobs"),
]


@pytest.mark.parametrize(("probe", "before", "since"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_a_row_of_the_table_holds_since_its_version_and_not_before(probe: Probe, before: str, since: str) -> None:
    for version, expected in ((before, False), (since, True)):

        async def story(comfy: FakeComfy, server: Server, expected: bool = expected) -> None:
            async with server.socket() as window:
                assert bool(await probe(comfy, server, window)) is expected

        play(story, version)


def test_the_week_of_false_successes_ended() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            assert not await a_failure_is_written_as_a_success(comfy, server, window)

    play(story, "2024-08-22")


@pytest.mark.parametrize("wrong", ["", "newest", "0.3", "2024", "0.3.x"])
def test_a_version_that_is_none_is_refused_with_examples(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"no version of ComfyUI.*write '0\.3\.64'"):
        FakeComfy(wrong)


# what no single healthy server shows


def test_a_client_that_stops_reading_delays_the_others_until_it_is_cut() -> None:
    """P6."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.write_seconds = 0.3
        reader, writer = await asyncio.open_connection(*comfy.url.removeprefix("http://").split(":"), limit=1)
        key = "GET /ws?clientId=asleep HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{key}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
        await eventually(lambda: "asleep" in comfy.sockets)
        async with server.socket(max_msg_size=0) as awake:
            big = chain(("FakeBigFrame", {"bytes": 32 * 1024 * 1024}))
            await server.submit(big)  # without an owner, a preview is everybody's (P2)
            await awake.until("status", status={"exec_info": {"queue_remaining": 0}})
        await eventually(lambda: "asleep" not in comfy.sockets)
        writer.close()
        assert reader

    play(story)


def test_a_killed_server_ends_sockets_without_a_word_and_then_refuses() -> None:
    """P8."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            await server.submit(sleeping(), window)
            await comfy.kill()
            assert await closed(window._connection) == 1006
        with pytest.raises(aiohttp.ClientConnectorError):
            await server.get("/queue")
        await comfy.kill()  # once is enough

    play(story)


def test_a_server_that_is_busy_answers_late_and_does_not_refuse() -> None:
    """P8."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.delay = {"POST /prompt": 0.2}
        posting = asyncio.create_task(server.submit(chain()))
        await eventually(lambda: ("POST", "/prompt") in comfy.requests)
        assert await server.queue() == ([], [])
        assert not comfy.posts
        assert await posting in comfy.posts

    play(story)


def test_a_client_that_hung_up_is_served_all_the_same() -> None:
    """P11."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.delay = {"*": 0.1}
        with pytest.raises(TimeoutError):
            await server.post("/prompt", {"prompt": chain()}, timeout=aiohttp.ClientTimeout(total=0.02))
        await eventually(lambda: comfy.runs.total() == 1)

    play(story)


def test_a_node_that_expands_runs_others_in_its_place() -> None:
    """P17."""

    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.run(chain(("FakeExpand", {"count": 3, "steps": 2})), window)
            begun = [(data["node"], data.get("display_node")) for data in window.told("executing", prompt_id)]
            inner = [(f"2.0.0.{n}", "2") for n in (1, 2, 3)]
            assert begun == [("1", "1"), ("2", "2"), *inner, ("3", "3"), (None, None)]
            nodes = window.told("progress_state", prompt_id)[-1]["nodes"]
            assert nodes["2.0.0.1"]["parent_node_id"] == nodes["2.0.0.1"]["real_node_id"] == "2"

    play(story)


def test_async_nodes_run_side_by_side() -> None:
    """P17."""

    async def story(_: FakeComfy, server: Server) -> None:
        graph = chain(("FakeAsync", {"steps": 3, "seconds": 0.01}))
        graph |= {"8": {"class_type": "FakeAsync", "inputs": {"image": ["1", 0], "steps": 3, "seconds": 0.01, "x": 1}}}
        graph |= {"9": {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}}
        async with server.socket() as window:
            prompt_id = await server.run(graph, window)
            steps = [data["node"] for data in window.told("progress", prompt_id)]
            assert sorted(steps) == ["2", "2", "2", "8", "8", "8"]
            assert steps != sorted(steps)

    play(story)


@pytest.mark.parametrize("owned", [True, False])
def test_a_blocked_error_is_no_end_and_not_in_the_history(owned: bool) -> None:
    """P19, and of a prompt that nobody owns everybody hears it (P2)."""

    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.submit(chain(("FakeBlock", {"message": "not here"})), window if owned else None)
            record = await server.record(prompt_id)
            error = (await window.until("execution_error", prompt_id=prompt_id)).data
            assert (error["node_id"], error["exception_type"]) == ("3", "ExecutionBlocked")
            assert "timestamp" not in error
            assert record["status"]["status_str"] == "success"
            assert "execution_error" not in dict(record["status"]["messages"])
            assert record["outputs"] == {}

    play(story)


def test_half_a_surrogate_and_NaN_come_as_they_are() -> None:
    """P20."""

    async def story(_: FakeComfy, server: Server) -> None:
        odd = chain(("FakeProgress", {"values": [[0.5, 3], [float("nan"), 7]]}))
        odd["4"] = {"class_type": "FakeText", "inputs": {"text": "half \ud800"}}
        async with server.socket() as window:
            prompt_id = await server.run(odd, window)
            (half,) = (data["output"]["text"] for data in window.told("executed", prompt_id) if data["node"] == "4")
            assert half == ["half \ud800"]
            assert str([(d["value"], d["max"]) for d in window.told("progress", prompt_id)]) == "[(0.5, 3), (nan, 7)]"

    play(story)


def test_an_answer_of_500_may_be_that_of_a_prompt_that_runs() -> None:
    """P11: a tie of number and id makes the heap compare graphs, after it took the item in."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        await server.submit(sleeping(0.2))
        await eventually(lambda: comfy.runs)
        chosen = str(uuid.uuid4())
        answers = [
            await server.post("/prompt", {"prompt": chain(), "prompt_id": chosen, "number": 7}) for _ in range(2)
        ]
        assert [answer.status for answer in answers] == [200, 500]
        await eventually(lambda: comfy.runs[chosen] == comfy.posts[chosen] == 2)

    play(story)


@pytest.mark.parametrize("keep", [True, False])
def test_a_restart_forgets_queue_and_history_unless_kept(keep: bool) -> None:
    """P27."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        done = await server.submit(chain())
        await server.record(done)
        runs, waits = await server.submit(sleeping()), await server.submit(chain())
        await eventually(lambda: comfy.runs[runs])
        url = comfy.url
        await comfy.restart(keep)
        assert comfy.url == url
        assert bool(await server.entry(done)) is keep
        await eventually(lambda: comfy.runs[runs] == (2 if keep else 1))  # what ran begins again
        assert (await server.queue()) == (([runs], [waits]) if keep else ([], []))

    play(story)


def test_the_oldest_entry_goes_where_the_history_is_full() -> None:
    """P27."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.execution.history_limit = 2  # entries before one more is written
        ids = [await server.submit(chain()) for _ in range(5)]
        await server.record(ids[-1])
        assert [*comfy.records] == ids[-3:]
        assert [*(await server.get("/history?max_items=2")).body] == ids[-2:]
        assert [*(await server.get("/history?max_items=1&offset=0")).body] == ids[-3:-2]

    play(story)


def test_a_state_moves_to_another_server() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        done = await server.submit(chain())
        await server.record(done)
        await comfy.kill()
        async with FakeComfy("0.3.50", state=comfy.state) as other, aiohttp.ClientSession() as http:
            assert await Server(other.url, http).entry(done) is not None

    play(story)


def test_a_dead_worker_accepts_prompts_and_runs_nothing() -> None:
    """P34: what ran stands still, and goes on when the knob is turned back."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            stands = await server.submit(chain(("FakeProgress", {"steps": 1000, "seconds": 0.001})), window)
            await window.until("progress")
            comfy.faults.dead_worker = True
            waits = await server.submit(chain(), window)
            await asyncio.sleep(0.05)
            await window.quiet()
            assert await window.quiet() == []
            assert await server.queue() == ([stands], [waits])
            comfy.faults.dead_worker = False
            await window.ended(waits)

    play(story)


def test_a_stranger_runs_before_us_and_is_heard_by_nobody_but_itself() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            theirs = comfy.stranger(seconds=FOR_EVER)
            ours = await server.submit(chain(), window)
            assert await server.queue() == ([theirs], [ours])
            await server.post("/interrupt", {"prompt_id": theirs})
            await window.ended(ours)
            assert window.types(theirs) == []

    play(story)


def test_jobs_tell_every_status_and_are_cancelled_by_id() -> None:
    """P32."""

    async def story(_: FakeComfy, server: Server) -> None:
        done, failed = await server.submit(chain()), await server.submit(chain(FAILING))
        await server.record(failed)
        runs, waits = await server.submit(sleeping()), await server.submit(chain())
        await server.begun(runs)

        async def status(prompt_id: str) -> Any:
            return (await server.get(f"/api/jobs/{prompt_id}")).body["status"]

        ids = [done, failed, runs, waits]
        assert [await status(each) for each in ids] == ["completed", "failed", "in_progress", "pending"]
        assert (await server.get(f"/api/jobs/{failed}")).body["execution_error"]["exception_message"] == "no\n"
        listed = (await server.get("/api/jobs")).body
        assert {job["id"] for job in listed["jobs"]} == {*ids}
        assert len((await server.get("/api/jobs?limit=1")).body["jobs"]) == 1
        for prompt_id in (waits, runs):
            assert (await server.post(f"/api/jobs/{prompt_id}/cancel")).body == {"cancelled": True}
        await server.record(runs)
        assert await status(runs) == "cancelled"
        assert (await server.post(f"/api/jobs/{done}/cancel")).body == {"cancelled": False}
        assert (await server.get(f"/api/jobs/{waits}")).status == 404
        assert (await server.post(f"/api/jobs/{waits}/cancel")).status == 404

    play(story, "jobs")


# what a graph may be wrong in


def lora(rank: object, kind: str) -> dict[str, Any]:
    return {
        "class_type": "LoraSave",
        "inputs": {"filename_prefix": "x", "bias_diff": True, "rank": rank, "lora_type": kind},
    }


def shown(link: list[Any]) -> dict[str, Any]:
    return {"class_type": "PreviewImage", "inputs": {"images": link}}


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        ({"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}, "required_input_missing"),
        (shown(["1", 1]), "exception_during_inner_validation"),
        (shown(["7", 0]), "exception_during_inner_validation"),
        (shown(["1", 0, 0]), "bad_linked_input"),
        (shown(["3", 0]), "return_type_mismatch"),
        (lora("x", "standard"), "invalid_input_type"),
        (lora(0, "standard"), "value_smaller_than_min"),
        (lora(9999, "standard"), "value_bigger_than_max"),
        (lora(8, "odd"), "value_not_in_list"),
    ],
)  # fmt: skip
def test_a_bad_output_is_dropped_with_the_reason(node: dict[str, Any], kind: str) -> None:
    """P9."""

    async def story(_: FakeComfy, server: Server) -> None:
        latent = {"class_type": "EmptyLatentImage", "inputs": {"width": 8, "height": 8, "batch_size": 1}}
        graph = {**chain(), "3": latent, "4": node}
        answer = await server.post("/prompt", {"prompt": graph})
        (error,) = answer.body["node_errors"]["4"]["errors"]
        assert (answer.status, error["type"]) == (200, kind)
        assert answer.body["node_errors"]["4"]["dependent_outputs"] == ["4"]
        assert (await server.record(answer.body["prompt_id"]))["prompt"][4] == ["2"]

    play(story)


def test_a_file_that_nobody_uploaded_is_no_input_and_the_same_name_twice_gets_a_number() -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}
        graph["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}  # type: ignore[dict-item]
        refused = await server.post("/prompt", {"prompt": graph})
        assert refused.body["node_errors"]["1"]["errors"][0]["type"] == "custom_validation_failed"
        names = []
        for content in (b"one", b"one", b"two"):
            form = aiohttp.FormData()
            form.add_field("image", content, filename="a.png")
            names.append((await server.post("/upload/image", data=form)).body["name"])
        assert names == ["a.png", "a.png", "a (1).png"]
        await server.record(await server.submit(graph))
        outside = aiohttp.FormData()
        outside.add_field("image", b"x", filename="a.png")
        outside.add_field("subfolder", "../elsewhere")
        assert (await server.post("/upload/image", data=outside)).status == 400

    play(story)


@pytest.mark.parametrize("body", ["[]", "{", '"x"', '{"prompt": []}', '{"prompt": {"1": 1}}', '{"prompt": {"1": {}}}'])
def test_a_body_that_nobody_expected_is_answered_500(body: str) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        headers = {"Content-Type": "application/json"}
        assert (await server._ask("POST", "/prompt", data=body, headers=headers)).status == 500
        assert not comfy.posts

    play(story)


def test_a_circle_fails_as_it_is_run() -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        circle: Graph = {
            "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        }
        async with server.socket() as window:
            (error,) = await told_of(server, window, "execution_error", circle)
            assert error["exception_type"] == "graph.DependencyCycleError"

    play(story)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b.png", "<b>.png", "x" * 5000, "\u202egnp.exe", ""])
def test_an_output_may_have_any_name_and_view_shows_what_is_inside(name: str) -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            (told,) = await told_of(server, window, "executed", chain(output=("FakeNamed", {"filename": name})))
            (image,) = told["output"]["images"]
            assert image == {"filename": name, "subfolder": "", "type": "output"}
            if len(name) < 100:
                assert (await server.get("/view", params=image)).status == (400 if ".." in name else 200)

    play(story)


# knobs: answers


@pytest.mark.parametrize(
    ("knob", "status", "kind"),
    [
        ({"html": {"GET /queue": 2}}, 502, "text/html"),
        ({"too_many": {"*": 2}, "retry_after": "7"}, 429, "application/octet-stream"),
        ({"garbage": {"GET /queue": 2}}, 200, "application/json"),
        ({"login_page": True}, 200, "text/html"),
        ({"token": "secret"}, 401, "text/plain"),
    ],
)
def test_an_answer_goes_wrong_as_asked_and_as_often(knob: dict[str, Any], status: int, kind: str) -> None:
    """P33."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.turn(knob)
        async with aiohttp.ClientSession() as http:
            for _ in range(2):
                async with http.get(comfy.url + "/api/queue") as answer:
                    assert (answer.status, answer.content_type) == (status, kind)
                    assert answer.headers.get("Retry-After") == knob.get("retry_after")
                    with pytest.raises(ValueError, match="Expecting"):
                        json.loads(await answer.text())
        comfy.faults.turn({"login_page": False, "token": None})
        assert await server.queue() == ([], [])

    play(story)


def test_a_route_that_is_not_named_is_answered_well() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.html = {"GET /history": 1}
        assert (await server.get("/queue")).status == 200
        assert (await server.get("/history/some")).status == 502

    play(story)


def test_a_cut_answer_ends_in_the_middle() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.cut_answer = {"GET /system_stats": 1}
        with pytest.raises(aiohttp.ClientPayloadError):
            await server.get("/system_stats")
        assert (await server.get("/system_stats")).status == 200

    play(story)


def test_frames_come_before_an_answer_that_is_late() -> None:
    """P12."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.late = {"POST /prompt": 0.2}
        async with server.socket() as window:
            posting = asyncio.create_task(server.submit(chain(), window))
            ended = await window.until("executing", node=None)
            assert not posting.done()
            assert await posting == ended.data["prompt_id"]

    play(story)


def test_a_token_is_asked_of_requests_and_handshakes_alike() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.token = "secret"
        right = {"Authorization": "Bearer secret"}
        assert (await server.get("/queue", headers={"Authorization": "Bearer wrong"})).status == 401
        assert (await server.get("/queue", headers=right)).status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            async with server.socket():
                pass
        async with server.socket(headers=right):
            pass

    play(story)


@pytest.mark.parametrize(
    ("knob", "status", "queued"),
    [("swallow_post", None, 1), ("drop_post", None, 0), ("post_500_queued", 500, 1), ("post_500", 500, 0)],
)
def test_a_post_that_is_not_answered_well_was_queued_or_not(knob: str, status: int | None, queued: int) -> None:
    """P11."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        setattr(comfy.faults, knob, 1)
        prompt_id = str(uuid.uuid4())
        try:
            answered = (await server.post("/prompt", {"prompt": chain(), "prompt_id": prompt_id})).status
        except aiohttp.ClientError:
            answered = None
        assert answered == status
        assert comfy.posts[prompt_id] == queued
        await eventually(lambda: comfy.runs[prompt_id] == queued)
        await server.submit(chain())  # once

    play(story)


# knobs: sockets


@pytest.mark.parametrize("status", [401, 403, 503, 200])
def test_handshakes_are_refused_as_often_as_asked(status: int) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.refuse_sockets = (2, status)
        for _ in range(2):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                async with server.socket():
                    pass
            assert refusal.value.status == status
        async with server.socket():
            pass

    play(story)


def test_a_deaf_socket_hears_its_first_status_answers_pings_and_nothing_more() -> None:
    """P3."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.deaf = 1
        async with server.socket() as deaf, server.socket() as hears:
            assert comfy.sockets == [hears.client_id]
            await server.run(chain(), hears)
            await server.record(await server.submit(chain(), deaf))
            assert await deaf.quiet() == []

    play(story)


def test_an_id_is_in_the_table_once_and_gone_with_the_older_socket() -> None:
    """P3."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket("me") as older, server.socket("me") as newer:
            assert comfy.sockets == ["me"]
            await older.close()
            await eventually(lambda: comfy.sockets == [])
            assert await newer.quiet() == []

    play(story)


@pytest.mark.parametrize(
    ("knob", "heard"),
    [
        ({}, ["executing", "executing", "executed", "execution_success", "executing"]),
        ({"drop_types": ["executing"]}, ["executed", "execution_success"]),
        ({"lose_end": 1}, ["executing", "executing", "executed"]),
        ({"mute": True}, []),
    ],
)
def test_frames_are_kept_back_as_asked(knob: dict[str, Any], heard: list[str]) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            comfy.faults.turn(knob)
            prompt_id = await server.submit(chain(), window)
            await server.record(prompt_id)
            await window.quiet()
            comfy.faults.mute = False
            assert [
                kind for kind in window.types(prompt_id) if kind in {"execution_success", "executing", "executed"}
            ] == heard
            await server.run(chain(), window) if "drop_types" not in knob else None  # lost ends are counted

    play(story)


def test_every_frame_comes_twice() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            comfy.faults.double = True
            prompt_id = await server.submit(chain(), window)
            await window.ended(prompt_id)
            await window.ended(prompt_id)
            types = window.types(prompt_id)
            assert types[::2] == types[1::2]
            assert len(types) > 10

    play(story)


@pytest.mark.parametrize("whom", ["me", None])
def test_a_cut_ends_the_socket_of_one_or_of_all_and_the_server_lives_on(whom: str | None) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket("me") as me, server.socket("other") as other:
            comfy.cut(whom)
            assert await closed(me._connection) == 1006
            assert (await server.get("/queue")).status == 200
            if whom is None:
                assert await closed(other._connection) == 1006
            else:
                await server.run(chain(), other)

    play(story)


@pytest.mark.parametrize("size", [1, 3])
def test_a_frame_is_as_big_as_asked(size: int) -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket(max_msg_size=0) as window:
            await server.run(chain(("FakeBigFrame", {"bytes": size << 20})), window)
            (big,) = [frame.payload for frame in window.heard if frame.payload]
            assert len(big) == (size << 20) + 4  # and its format

    play(story)


# knobs: asking


@pytest.mark.parametrize(("knob", "about"), [("empty_history", []), ("foreign_history", ["another"])])
def test_a_record_is_kept_back_as_often_as_asked(knob: str, about: list[str]) -> None:
    """P26."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        prompt_id = await server.submit(chain())
        await server.record(prompt_id)
        another = await server.submit(chain())
        await server.record(another)
        setattr(comfy.faults, knob, 2)
        for _ in range(2):
            assert [*(await server.get(f"/history/{prompt_id}")).body] == [another for _ in about]
        assert await server.entry(prompt_id) is not None

    play(story)


def test_an_answer_about_another_names_one_even_where_there_is_no_other() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.foreign_history = 1
        assert "mine" not in (await server.get("/history/mine")).body != {}

    play(story)


def test_a_stated_end_comes_before_its_record() -> None:
    """P21."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.history_seconds = 0.1
        async with server.socket() as window:
            prompt_id = await server.submit(chain(), window)
            await window.until("execution_success")
            assert await server.entry(prompt_id) is None
            assert await server.queue() == ([prompt_id], [])
            await window.ended(prompt_id)
            assert await server.entry(prompt_id) is not None

    play(story)


@pytest.mark.parametrize(("knob", "status"), [("stale_status", "success"), ("null_status", None)])
def test_the_status_of_a_failure_may_be_stale_or_null(knob: str, status: str | None) -> None:
    """P24."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        setattr(comfy.faults, knob, 1)
        told = []
        for _ in range(2):
            record = await server.record(await server.submit(chain(FAILING)))
            told.append(record["status"] and record["status"]["status_str"])
        assert told == [status, "error"]

    play(story)


def test_what_waits_is_hidden_from_the_queue() -> None:
    """P28."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.hide_pending = True
        runs, _ = await server.submit(sleeping()), await server.submit(chain())
        await server.begun(runs)
        assert await server.queue() == ([runs], [])

    play(story)


def test_a_knob_that_is_none_or_of_a_wrong_kind_turns_nothing() -> None:
    faults = Faults()
    for wrong in ({"deaf": 1, "no_such": 1}, {"deaf": "x"}, {"double": True, "html": 3}):
        with pytest.raises(ValueError, match=r"unknown field|Expected"):
            faults.turn(wrong)
    assert faults == Faults()


# a process of its own


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_as_a_process_it_tells_its_address_is_ruled_over_http_and_ends_as_told(how: signal.Signals, code: int) -> None:
    async def story() -> None:
        words = ["-m", "comfy_fsm.testing", "--version", "0.3.10", "--token", "secret"]
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as http:
            server = Server(url, http)
            assert (await server.get("/queue")).status == 401
            turned = (await server.post("/fake/faults", {"token": None, "drop_types": ["executing"]})).body
            assert (turned["token"], turned["drop_types"]) == (None, ["executing"])
            assert (await server.post("/fake/faults", {"no_such": 1})).status == 400
            prompt_id = await server.submit(chain())
            await server.record(prompt_id)
            state = (await server.get("/fake/state")).body
            assert state["runs"] == state["posts"] == {prompt_id: 1}
            process.send_signal(how)
            assert await process.wait() == code
            with pytest.raises(aiohttp.ClientConnectorError):
                await server.get("/queue")

    asyncio.run(asyncio.wait_for(story(), PATIENCE))


def test_a_port_that_is_taken_is_told_in_a_line() -> None:
    async def story() -> tuple[int | None, bytes]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            words = ["-m", "comfy_fsm.testing", "--port", str(taken.getsockname()[1])]
            process = await asyncio.create_subprocess_exec(sys.executable, *words, stderr=asyncio.subprocess.PIPE)
            _, said = await process.communicate()
            return process.returncode, said

    code, said = asyncio.run(asyncio.wait_for(story(), PATIENCE))
    assert code == 1
    assert said.startswith(b"no fake was started:")
    assert len(said.splitlines()) == 1


def test_the_control_routes_are_not_there_unless_asked_for() -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        assert (await server.get("/fake/state")).status == 404

    play(story)


# behind a balancer


def balanced(story: Callable[[Balancer, list[FakeComfy], Server], Awaitable[None]], **settings: Any) -> None:
    async def told() -> None:
        async with FakeComfy() as one, FakeComfy() as two, Balancer([one.url, two.url], **settings) as balancer:
            jar = aiohttp.CookieJar(unsafe=True)  # which takes cookies of an address without a name
            async with aiohttp.ClientSession(cookie_jar=jar) as http, asyncio.timeout(PATIENCE):
                await story(balancer, [one, two], Server(balancer.url, http))

    asyncio.run(told())


def test_in_turn_every_request_goes_to_the_next_server() -> None:
    """P33: so the history is asked of a server that never heard of the prompt."""

    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        prompt_id = await server.submit(chain())
        await eventually(lambda: prompt_id in fakes[0].records)
        assert [bool(await server.entry(prompt_id)) for _ in range(4)] == [False, True, False, True]

    balanced(story)


def test_a_cookie_keeps_a_client_at_its_server_socket_included() -> None:
    """P33."""

    async def story(balancer: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.run(chain(), window)
            assert (await server.entry(prompt_id)) is not None
        assert balancer.served == {fakes[0].url: 3}

    balanced(story, sticky=True)


def test_a_socket_and_what_is_posted_may_reach_different_servers() -> None:
    """P33."""

    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.submit(chain(), window)
            await eventually(lambda: prompt_id in fakes[1].records)
            assert await window.quiet() == []
            assert fakes[0].sockets == [window.client_id]

    balanced(story)


def test_a_dead_server_is_a_page_of_the_balancer_and_its_sockets_end() -> None:
    """P33."""

    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        async with server.socket() as window:
            await fakes[0].kill()
            assert await closed(window._connection) == 1006
        await fakes[1].kill()
        answer = await server.get("/queue")
        assert answer.status == 502
        assert b"Bad Gateway" in answer.body
        with pytest.raises(aiohttp.WSServerHandshakeError, match="502"):
            async with server.socket():
                pass

    balanced(story)


def test_a_refusal_and_a_close_go_through_the_balancer() -> None:
    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        fakes[0].faults.refuse_sockets = (1, 403)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with server.socket():
                pass
        async with server.socket() as window:
            await window.close()
            await eventually(lambda: not fakes[1].sockets)

    balanced(story)


def test_an_idle_socket_is_dropped_unless_it_pings() -> None:
    """P5, and the proxies that take silence for an end (F21)."""

    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        async with server.socket() as silent, server.socket() as pings:
            waiting = asyncio.create_task(closed(silent._connection))
            while not waiting.done():
                await pings.quiet()
                await asyncio.sleep(0.01)
            assert waiting.result() == 1006
            await pings.quiet()
            await eventually(lambda: fakes[0].sockets == [] and fakes[1].sockets == [pings.client_id])

    balanced(story, idle_seconds=0.2)
