"""Tests of the shape of a workflow: what could be posted passes, and what could not is told with its cure."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import BadWorkflow
from comfy_fsm.workflow.shape import checked, is_link, is_workflow, snapshot
from tests.support.graphs import GRAPHS

WRONG = {
    "empty": ({}, "this is empty"), "no object": ([1], "this is list"), "None": (None, "this is NoneType"),
    "the canvas": ({"nodes": [], "links": []}, "saved for the canvas"), "no class": ({"7": {"inputs": {}}}, "node '7'"),
    "a long id": ({"7" * 1_000: {}}, "node '777"),
}  # fmt: skip


@pytest.mark.parametrize(("workflow", "words"), WRONG.values(), ids=WRONG)
def test_what_no_server_takes_is_refused_with_what_to_do(workflow: object, words: str) -> None:
    with pytest.raises(BadWorkflow, match="nothing was sent") as raised:
        checked(workflow)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 300
    assert not is_workflow(workflow)


@given(GRAPHS)
def test_a_copy_is_the_same_and_no_later_change_reaches_it(graph: dict[str, Any]) -> None:
    copy = snapshot(graph)
    assert copy == checked(graph) == graph
    assert is_workflow(copy)
    next(iter(graph.values()))["class_type"] = "Changed"
    assert all(node["class_type"] != "Changed" for node in copy.values())


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_what_cannot_be_written_as_json_is_refused(value: object) -> None:
    with pytest.raises(BadWorkflow, match="cannot be written as JSON"):
        snapshot({"1": {"class_type": "A", "inputs": {"x": value}}})


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3)))
def test_a_link_is_the_id_of_a_node_and_a_slot(value: object) -> None:
    assert is_link(value) is (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str))


NEARLY = {
    "the name of a file": ("workflow.json", "Workflow.load"),
    "the body of a POST": ({"prompt": {"1": {"class_type": "SaveImage", "inputs": {}}}, "client_id": "a"}, "'prompt'"),
}


@pytest.mark.parametrize(("given", "cure"), NEARLY.values(), ids=NEARLY)
def test_what_is_nearly_a_workflow_is_refused_with_what_to_give_instead(given: object, cure: str) -> None:
    with pytest.raises(BadWorkflow, match=cure):
        checked(given)
