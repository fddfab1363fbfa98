"""The backlog: what waits, what is kept of it, and by which name workflows of one shape go."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.scheduling.backlog import MAX_TAG, MOST_PRIORITY, Backlog, graph_of, is_priority, tag_of
from comfy_fsm.testing import picture


def command(prompt_id: str | None = "a", *, tag: object = None, **data: Any) -> seen.Command:
    raw = Raw(json.dumps(tag).encode())
    return seen.Command(at=5.0, data=seen.CommandData("enqueue", prompt_id=prompt_id, tag=raw, **data))


def backlog(limit: int = 3, servers: int = 2) -> Backlog:
    return Backlog(limit, servers)


def test_a_job_waits_until_it_is_taken_with_what_is_needed_to_place_it() -> None:
    waits = backlog()
    waits.enqueue(7, command(priority=2.0, graph="g", tag={"user": 1}))
    job = waits.take("a")
    assert job is not None
    assert (job.priority, job.graph, job.at, job.position, job.tag) == (2.0, "g", 5.0, 7, b'{"user": 1}')
    assert waits.take("a") is waits.take(None) is None


@pytest.mark.parametrize("priority", [math.nan, math.inf, -math.inf, 2 * MOST_PRIORITY])
def test_what_is_no_priority_is_not_enqueued(priority: float) -> None:
    assert not is_priority(priority)
    waits = backlog()
    waits.enqueue(1, command(priority=priority))
    assert waits.waiting == {}


def test_a_job_without_an_id_or_under_one_that_waits_or_beyond_the_limit_is_not_enqueued() -> None:
    waits = backlog(limit=2)
    for position, prompt_id in enumerate([None, "a", "a", "b", "c"]):
        waits.enqueue(position, command(prompt_id))
    assert {name: job.position for name, job in waits.waiting.items()} == {"a": 1, "b": 3}
    assert waits.full


def test_a_job_that_waits_again_under_another_id_keeps_its_turn() -> None:
    waits = backlog()
    for position, prompt_id in enumerate("ab"):
        waits.enqueue(position, command(prompt_id))
    job = waits.take("a")
    assert job is not None
    for _ in range(2):
        waits.wait_again(job, "c")
    waits.wait_again(job, "b")
    assert {name: each.position for name, each in waits.waiting.items()} == {"b": 1, "c": 0}


def test_a_tag_is_kept_for_the_next_post_under_its_id() -> None:
    waits = backlog()
    for prompt_id, tag in (("a", [1]), ("b", None), (None, [2])):
        waits.tag(command(prompt_id, tag=tag))
    assert (waits.take_tag("a"), waits.take_tag("a"), waits.take_tag("b"), waits.take_tag(None)) == (
        b"[1]",
        b"",
        b"",
        b"",
    )


def test_tags_without_number_do_not_fill_the_memory() -> None:
    waits = backlog()
    for number in range(10_001):
        waits.tag(command(str(number), tag=number))
    assert (waits.take_tag("0"), waits.take_tag("1"), waits.take_tag("10000")) == (b"", b"1", b"10000")


def test_a_tag_that_is_too_long_is_none() -> None:
    assert len(tag_of(command(tag="x" * (MAX_TAG - 2)))) == MAX_TAG
    assert tag_of(command(tag="x" * (MAX_TAG - 1))) == b""


def test_a_server_is_drained_until_it_is_not_and_no_more_servers_than_may_be() -> None:
    waits = backlog(servers=2)
    for url in (None, "a", "b", "c"):
        waits.drain(url)
    assert list(waits.drained) == ["a", "b"]
    for other in ("a", "c", None):
        waits.undrain(other)
    assert list(waits.drained) == ["b"]


def test_workflows_of_one_shape_have_one_name_whatever_is_drawn_with_them() -> None:
    other = picture(1)
    other["2"]["inputs"]["images"] = ["1", 1]
    assert graph_of(picture(1)) == graph_of(picture(2)) != graph_of(other)
    loads = [{"1": {"class_type": "Load", "inputs": {"ckpt_name": name}}} for name in ("a", "b")]
    assert graph_of(loads[0]) != graph_of(loads[1])


@pytest.mark.parametrize("workflow", [{}, {"1": 7}, {"1": {"inputs": 7}}, {"1": {"class_type": ["x"]}}, {"\ud800": {}}])
def test_what_is_no_workflow_has_a_name_too(workflow: dict[str, Any]) -> None:
    assert graph_of(workflow)
