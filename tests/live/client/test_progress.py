"""Tests of progress: it never decreases or exceeds the whole, and uses known durations of nodes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm import Client, TaskHandle, Update, read
from comfy_fsm.core.wire.queues import position_in_queue
from comfy_fsm.live.client.progress import Paces, Track
from comfy_fsm.testing import FakeComfy
from comfy_fsm.workflow.shape import snapshot
from tests.support.stage import QUICK, graph, until

WORKFLOW = snapshot({
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {}, "_meta": {"title": "Load Checkpoint"}},
    "3": {"class_type": "KSampler", "inputs": {"steps": 20, "model": ["4", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}, "_meta": {"title": 7}},
})  # fmt: skip
NODES = st.sampled_from([*WORKFLOW, "12:3", "", "nobody's"])
NUMBERS = st.integers(-5, 50) | st.just("7") | st.none() | st.floats(allow_nan=False)
FRAMES = st.one_of(
    st.tuples(st.just("execution_start"), st.just({})),
    st.tuples(st.just("execution_cached"), st.builds(lambda nodes: {"nodes": nodes}, st.lists(NODES, max_size=3))),
    st.tuples(st.just("executing"), st.builds(lambda node: {"node": node}, NODES | st.none())),
    st.tuples(st.just("executed"), st.builds(lambda node: {"node": node, "output": {}}, NODES)),
    st.tuples(st.just("progress"), st.builds(lambda v, m: {"value": v, "max": m}, NUMBERS, NUMBERS)),
    st.tuples(st.just("execution_success"), st.just({})),
)


def tell(track: Track, name: str, data: dict[str, Any], at: float) -> None:
    line = json.dumps(
        {"at": at, "kind": "ws.message", "data": {"type": name, "data": {"prompt_id": "p"} | data}}
    ).encode()
    track.take(read(line), line)


def run(track: Track, *told: tuple[float, str, dict[str, Any]]) -> None:
    for at, name, data in told:
        tell(track, name, data, at)


RUN: list[tuple[float, str, dict[str, Any]]] = [
    (0.0, "execution_start", {}),
    (0.0, "executing", {"node": "4"}),
    (5.0, "executing", {"node": "3"}),
    (15.0, "progress", {"node": "3", "value": 10, "max": 20}),
    (25.0, "executing", {"node": "9"}),
    (26.0, "execution_success", {}),
]


@given(st.lists(FRAMES, max_size=30), st.booleans())
def test_whatever_a_server_tells_a_share_lies_between_nothing_and_all_and_never_falls(told: Any, learned: bool) -> None:
    paces = Paces()
    track = Track(paces, WORKFLOW)
    if learned:
        run(track, *RUN)
        track.learn()
        track = Track(paces, WORKFLOW)
    before = 0.0
    for at, (name, data) in enumerate(told):
        tell(track, name, data, float(at))
        now = track.now(float(at))
        assert now.share is not None
        assert before <= now.share <= 1.0
        assert now.seconds_left is None or now.seconds_left >= 0.0
        assert name != "execution_success" or now.share == 1.0
        before = now.share


def test_before_a_first_run_a_node_counts_for_its_steps() -> None:
    track = Track(Paces(), WORKFLOW)
    shares = []
    for at, name, data in RUN:
        tell(track, name, data, at)
        shares.append(round((track.now(at).share or 0.0) * 22))
    assert shares == [0, 0, 1, 11, 21, 22]
    assert track.now(26.0).seconds_left is None


def test_after_a_first_run_what_is_left_is_what_it_took_then() -> None:
    paces = Paces()
    first = Track(paces, WORKFLOW)
    run(first, *RUN)
    first.learn()
    track, left = Track(paces, WORKFLOW), []
    for at, name, data in RUN:
        tell(track, name, data, at)
        left.append(track.now(at).seconds_left)
    assert left == [26.0, 26.0, 21.0, 11.0, 1.0, 0.0]
    tell(other := Track(paces, WORKFLOW), "executing", {"node": "3"}, 100.0)
    assert other.now(110.0).seconds_left == pytest.approx(16.0), "without a word of it, by the time that it takes"
    assert Track(paces, graph()).now(0.0).seconds_left is None


def test_an_update_names_its_node_as_the_canvas_does() -> None:
    track = Track(Paces(), WORKFLOW)
    run(track, *RUN[:3])
    told = [track.described(Update("p", name, 6.0, node)) for name, node in [("preview", None), ("executed", "4")]]
    assert [(update.node, update.title, update.class_type) for update in told] == [
        ("3", "KSampler", "KSampler"), ("4", "Load Checkpoint", "CheckpointLoaderSimple"),
    ]  # fmt: skip
    assert told[0].share == pytest.approx(1 / 22)
    assert Track(Paces()).described(Update("p", "executing", 0.0, "4")).share is None


def test_an_update_shows_no_bytes() -> None:
    update = Update("p", "preview", 1.0, "3", image=b"\xff\xd8\xff" * 5_000, share=0.5)
    shown = "Update(prompt_id='p', name='preview', at=1.0, node='3', image='<15,000 bytes>', share=0.5)"
    assert repr(update) == shown


PENDING = st.lists(st.tuples(st.integers(-50, 50), st.uuids().map(str)), max_size=6, unique_by=lambda item: item[1])


@given(PENDING, st.integers(0, 2), st.data())
def test_a_place_is_counted_in_the_order_in_which_a_server_runs(pending: Any, running: int, data: Any) -> None:
    ran = [[0, f"r{n}", {}, {}, []] for n in range(running)]
    raw = Raw(json.dumps({"queue_running": ran, "queue_pending": [[*item, {}, {}, []] for item in pending]}).encode())
    assert position_in_queue(raw, "nobody's") is None
    assert all(position_in_queue(raw, item[1]) == 0 for item in ran)
    for number, prompt_id in pending:
        place = position_in_queue(raw, prompt_id)
        assert place is not None
        assert sum(n < number for n, _ in pending) <= place - running <= sum(n <= number for n, _ in pending) - 1


@pytest.mark.parametrize("junk", [b"null", b"[]", b"{}", b'{"queue_pending":[null,[],["a"],{"prompt_id":"p"}]}'])
def test_a_queue_that_cannot_be_read_has_no_place_or_one_at_its_end(junk: bytes) -> None:
    assert position_in_queue(Raw(junk), "p") in (None, 3)


# with a server


async def test_a_task_tells_how_far_it_is_and_where_it_stands_in_the_queue(tmp_path: Path) -> None:
    titled = graph(1, seconds=1.0)
    titled["3"]["_meta"] = {"title": "Slow node"}
    told: list[Update] = []
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK, log=tmp_path / "a.log") as client:
        window = client.window()
        first = await window.submit(titled, on_progress=told.append)
        second = await window.submit(graph(2))
        third = await window.submit(graph(3), front=True)
        await until(lambda: first.progress.title == "Slow node")
        assert [await task.queue_position() for task in (first, second, third)] == [0, 2, 1]
        assert (first.progress.class_type, second.progress.share) == ("FakeSleep", 0.0)
        await asyncio.gather(first, second, third)
        assert [task.progress.share for task in (first, second, third)] == [1.0] * 3
        assert await first.queue_position() is None
    assert [update.node for update in told if update.name == "executing" and update.node is None] == []
    assert "Slow node" in {update.title for update in told}
    shares = [update.share for update in told if update.share is not None]
    assert shares == sorted(shares)


async def test_a_task_that_was_left_tells_how_far_it_is_by_the_classes_in_its_log(tmp_path: Path) -> None:
    async with FakeComfy() as comfy:
        async with Client(comfy.url, policy=QUICK, log=tmp_path / "a.log") as client:
            await client.window().submit(graph(seconds=60.0))
            waiting = await client.window().submit(graph(1))
            await until(lambda: waiting.state == "pending")
        told: list[TaskHandle] = []
        async with Client(comfy.url, policy=QUICK, log=tmp_path / "a.log", on_resume=told.append) as client:
            await until(lambda: len(told) == 2 and all(task.progress.share is not None for task in told))
