"""Tests of answers too long to be held: what nobody reads is dropped, what a verdict needs stays."""

import json
import math
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core.wire import queues
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.transport.streaming import MAX_DEPTH, Reduced, TooMuch, Unreadable, reads
from comfy_fsm.testing import FakeComfy
from tests.support.stage import QUICK, graph

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["NaN", ", NaN,"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
GRAPHS = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)
ITEMS = st.tuples(st.integers(), st.uuids().map(str), GRAPHS, GRAPHS, st.lists(st.text(max_size=3), max_size=3))
QUEUES = st.fixed_dictionaries(
    {"queue_running": st.lists(ITEMS, max_size=3), "queue_pending": st.lists(ITEMS, max_size=3)}
)
RECORDS = st.fixed_dictionaries(
    {"prompt": ITEMS, "outputs": st.dictionaries(st.text(max_size=3), VALUES), "meta": VALUES},
    optional={"status": st.fixed_dictionaries({"status_str": st.text(max_size=5), "completed": st.booleans()})},
)
HISTORIES = st.dictionaries(st.text(min_size=1, max_size=8), RECORDS, max_size=3)


def reduced(path: str, body: bytes, cuts: list[int]) -> Any:
    """What is left of a body that comes in such pieces."""
    answer, start = Reduced(path), 0
    for cut in sorted({cut % (len(body) + 1) for cut in cuts}):
        if body[start:cut]:
            answer.feed(body[start:cut])
        start = cut
    if body[start:]:
        answer.feed(body[start:])
    return json.loads(answer.close())


def as_read(value: Any) -> Any:
    """A number that JSON has not is nothing; a number is compared as a float."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [as_read(item) for item in value]
    return {name: as_read(item) for name, item in value.items()} if isinstance(value, dict) else value


def of_item(item: Any) -> list[Any]:
    extra = {
        name: ({} if isinstance(v, dict) else [] if isinstance(v, list) else as_read(v)) for name, v in item[3].items()
    }
    return [item[0], item[1], {}, extra, list(item[4])]


@given(QUEUES, st.lists(st.integers(min_value=0), max_size=8))
def test_of_a_queue_all_but_the_graphs_stays(queue: dict[str, Any], cuts: list[int]) -> None:
    body = json.dumps(queue).encode()
    left = reduced("/queue", body, cuts)
    assert left == {name: [of_item(item) for item in items] for name, items in queue.items()}
    assert queues.queue(Raw(json.dumps(left).encode())) == queues.queue(Raw(json.dumps(as_read(queue)).encode()))


@given(HISTORIES, st.lists(st.integers(min_value=0), max_size=8))
def test_of_a_record_the_outputs_and_the_status_stay_whole(records: dict[str, Any], cuts: list[int]) -> None:
    left = reduced("/history?max_items=200", json.dumps(records).encode(), cuts)
    assert left.keys() == records.keys()
    for name, record in records.items():
        assert left[name]["prompt"] == of_item(record["prompt"])
        assert left[name]["outputs"] == as_read(record["outputs"])
        assert left[name].get("status") == record.get("status")


def test_of_a_job_the_workflow_goes() -> None:
    job = {"id": "a", "status": "completed", "workflow": {"prompt": {"1": 2}}, "outputs": {"9": {"images": []}}}
    kept = job | {"workflow": {}}
    assert reduced("/api/jobs/a", json.dumps(job).encode(), [5]) == kept
    assert reduced("/api/jobs?limit=1", json.dumps({"jobs": [job]}).encode(), [5]) == {"jobs": [kept]}


@given(st.binary(max_size=200), st.lists(st.integers(min_value=0), max_size=4))
def test_what_is_no_json_is_told_to_be_none(body: bytes, cuts: list[int]) -> None:
    try:
        json.loads(body)
    except ValueError:
        with pytest.raises(Unreadable):
            reduced("/queue", body, cuts)
    except RecursionError:
        pass


@pytest.mark.parametrize("body", [b"[" * (MAX_DEPTH + 9), b'{"a": {"outputs": ' + b"[" * (MAX_DEPTH + 9)])
def test_what_is_nested_without_end_is_too_much(body: bytes) -> None:
    with pytest.raises(TooMuch):
        reduced("/history/a", body, [])


def test_kept_texts_have_a_bound() -> None:
    answer = Reduced("/history/a", most=1000)
    body = json.dumps({"a": {"outputs": {"9": {"text": ["x" * 2000]}}}}).encode()
    with pytest.raises(TooMuch):
        answer.feed(body + b" " * 100)


def long_queue(size: int) -> Iterator[bytes]:
    """Some hundred megabytes of other people's pictures, a piece at a time."""
    yield b'{"queue_running": [[0, "ours", {}, {"comfy_fsm": "ours"}, []]], "queue_pending": [[1, "theirs", '
    yield b'{"1": {"image": "'
    for _ in range(size // 65_536):
        yield b"A" * 65_536
    yield b'"}}, {}, []]]}'


def test_memory_is_bounded_by_what_is_kept_and_not_by_the_body() -> None:
    answer = Reduced("/queue")
    tracemalloc.start()
    try:
        for piece in long_queue(300 * 2**20):
            answer.feed(piece)
        kept = answer.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert queues.queue(Raw(kept)) == (["ours"], ["theirs"])
    assert queues.marks(Raw(kept)) == {"ours": "ours"}
    assert peak < 2 * 2**20


@pytest.mark.parametrize(
    ("path", "read"),
    [("/queue", True), ("/api/queue", True), ("/history/a?b=1", True), ("/api/jobs", True), ("/api/jobs/a", True),
     ("/view?filename=/queue", False), ("/system_stats", False), ("/prompt", False)],
)  # fmt: skip
def test_which_answers_are_read_so(path: str, read: bool) -> None:
    assert reads(path) is read


async def test_a_task_among_long_prompts_of_others_is_judged_by_its_own_record() -> None:
    """The queue and the record are longer than what is held of an answer: both are read all the same."""
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK) as client:
        long = graph(seconds=0.5)
        long["1"]["_meta"] = {"picture": "A" * 3_000_000}
        task = await client.window().submit(long)
        assert (await task).state == "completed"
