"""Images that come over the socket: which are results, and which of them did not arrive."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_fsm.core.findings import Code
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from tests.support.stories import ID, ME, Story, record

GRAPH = {
    "1": {"class_type": "KSampler", "inputs": {}},
    "2": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
}


def posted(client_id: str | None = ME) -> Story:
    body = {"prompt": GRAPH, "prompt_id": ID} | ({"client_id": client_id} if client_id else {})
    story = Story().listen().ask("POST", "/prompt", body, 200, {"prompt_id": ID})
    return story.hear("execution_start", timestamp=1)


def image(story: Story, node: str | None, *, named: bool, size: object = 10, kind: str = "image/png") -> Story:
    """An image while a node executes; newer servers name the node with it."""
    if named:
        metadata = {"prompt_id": ID, "node_id": node, "image_type": kind}
        return story.tell("ws.binary", {"event": 4, "metadata": metadata, "size": size, "digest": "ab"})
    return story.hear("executing", node=node).tell("ws.binary", {"event": 1, "format": kind, "bytes": size})


def ended(story: Story) -> Story:
    return story.hear("execution_success").hear("executing", node=None).fetch(record())


def task_of(story: Story, policy: Policy | None = None) -> Task:
    (task,) = story.board(policy or Policy()).tasks
    return task


def images(task: Task) -> list[str]:
    return [output.filename for output in task.outputs if output.by_socket]


@pytest.mark.parametrize("named", [True, False])
def test_an_image_of_a_node_that_sends_its_images_is_an_output_and_a_preview_is_none(named: bool) -> None:
    story = posted()
    for node, kind in (("1", "image/jpeg"), ("2", "image/png"), ("2", "image/webp"), ("2", "odd")):
        image(story, node, named=named, kind=kind)
    task = task_of(ended(story))
    assert images(task) == ["websocket_00001_.png", "websocket_00002_.webp", "websocket_00003_"]
    assert task.missed == ()


def test_once_images_are_named_one_without_a_name_repeats_one() -> None:
    story = image(image(posted(), "2", named=True), "2", named=False)
    assert len(images(task_of(ended(story)))) == 1


@pytest.mark.parametrize(
    "data",
    [
        {"event": 4}, {"event": 3, "node": "2"}, {"event": 2},
        {"event": 4, "metadata": {"prompt_id": ID, "node_id": 2}},
        {"event": 4, "metadata": {"prompt_id": ID}},
    ],
)  # fmt: skip
def test_a_frame_that_names_no_such_node_is_no_image(data: dict[str, Any]) -> None:
    story = posted().hear("executing", node="2").tell("ws.binary", data)
    assert images(task_of(story.hear("execution_success").fetch(record()))) == []


@pytest.mark.parametrize("size", ["x", None, -1])
def test_an_image_of_unknown_size_is_one_all_the_same(size: object) -> None:
    assert len(images(task_of(ended(image(posted(), "2", named=True, size=size))))) == 1


@pytest.mark.parametrize("policy", [Policy(outputs=1), Policy(image_bytes=15)])
def test_images_beyond_the_bounds_are_counted_and_told(policy: Policy) -> None:
    board = ended(image(image(posted(), "2", named=True), "2", named=True)).board(policy)
    (task,) = board.tasks
    assert (len(images(task)), task.left_out) == (1, 1)
    assert Code.OUTPUTS_CUT in {finding.code for finding in board.findings}


def test_what_did_not_come_is_told_by_its_node() -> None:
    board = ended(posted()).board()
    (task,) = board.tasks
    (note,) = (finding for finding in board.findings if finding.code == Code.IMAGES_MISSED)
    assert task.missed == ("2",)
    assert "none came" in note.text


def test_what_came_over_a_socket_that_broke_may_not_be_all() -> None:
    story = image(posted(), "2", named=True).hang_up().listen()
    board = ended(story).board()
    (note,) = (finding for finding in board.findings if finding.code == Code.IMAGES_MISSED)
    assert "was not open for the whole run" in note.text


def test_a_server_that_addresses_nobody_sent_images_to_nobody() -> None:
    story = posted(client_id=None).fetch(record())
    assert task_of(story).missed == ()
