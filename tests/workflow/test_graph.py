"""Tests of workflows changed by names that people know, with a list of the names if one is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import BadWorkflow, UnknownInput
from comfy_fsm.workflow.graph import Workflow
from tests.support.graphs import CLASSES, GRAPHS, NAMES, VALUES


def node(kind: str, title: str = "", **inputs: object) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, **({"_meta": {"title": title}} if title else {})}


def text_to_image() -> Workflow:
    return Workflow({
        "3": node("KSampler", seed=1, steps=20, positive=["6", 0]),
        "6": node("CLIPTextEncode", "Positive prompt", text="a dog"),
        "7": node("CLIPTextEncode", "Negative prompt", text=""),
        "10": node("LoadImage", image="example.png"),
    })  # fmt: skip


def meant(graph: dict[str, Any], name: str) -> list[str]:
    """The nodes that this name is for, by the first of its readings that fits any."""
    titles = {n: node.get("_meta", {}).get("title", "") for n, node in graph.items()}
    classes = {n: node["class_type"] for n, node in graph.items()}
    readings = [lambda n: n == name, lambda n: titles[n] == name, lambda n: classes[n] == name]
    readings += [lambda n: titles[n].lower() == name.lower(), lambda n: classes[n].lower() == name.lower()]
    return next((ids for is_it in readings if (ids := [n for n in graph if is_it(n)])), [])


@given(GRAPHS, st.data())
def test_a_node_is_found_by_id_title_or_class_or_all_that_could_be_meant_are_named(graph: Any, data: Any) -> None:
    workflow = Workflow(graph)
    name = data.draw(st.sampled_from([*graph, *CLASSES, "Positive", "Pose", "ksampler", "nothing of this kind"]))
    nodes = meant(graph, name)
    if len(nodes) == 1:
        assert workflow.id_of(name) == nodes[0]
        return
    with pytest.raises(UnknownInput) as refused:
        workflow.id_of(name)
    assert all(f"{each} (" in str(refused.value) for each in nodes or graph)


@given(GRAPHS, st.data())
def test_inputs_are_set_all_or_none_and_only_where_they_are(graph: Any, data: Any) -> None:
    workflow, name = Workflow(graph), data.draw(st.sampled_from(list(graph)))
    wanted = data.draw(st.dictionaries(st.sampled_from([*NAMES, "sede"]), VALUES))
    if wanted.keys() <= graph[name]["inputs"].keys():
        assert workflow.set(name, **wanted) is workflow
        assert {key: workflow.value(name, key) for key in wanted} == wanted
        assert workflow == graph | {name: graph[name] | {"inputs": graph[name]["inputs"] | wanted}}
    else:
        with pytest.raises(UnknownInput, match="has no input") as refused:
            workflow.set(name, **wanted)
        assert all(key in str(refused.value) for key in graph[name]["inputs"])
        assert workflow == graph


@given(GRAPHS, st.none() | st.integers(0, 2**64 - 1))
def test_every_seed_with_a_value_of_its_own_is_set_alike_and_nothing_else_is(graph: Any, seed: int | None) -> None:
    workflow = Workflow(graph)
    seeds = [
        (name, key)
        for name, node in graph.items()
        for key, value in node["inputs"].items()
        if key in ("seed", "noise_seed") and not isinstance(value, list)
    ]
    if not seeds:
        with pytest.raises(UnknownInput, match="no seed was set"):
            workflow.set_seed(seed)
        return
    used = workflow.set_seed(seed)
    assert used == seed if seed is not None else 0 <= used < 2**50
    for name, key in seeds:
        assert workflow.value(name, key) == used
        workflow[name]["inputs"][key] = graph[name]["inputs"][key]
    assert workflow == graph


def test_what_is_changed_is_neither_what_it_was_made_of_nor_its_copy() -> None:
    first = text_to_image()
    second, third = first.copy(), Workflow(first)
    first.set("KSampler", seed=7).set("Positive prompt", text="a cat")
    assert (first.value("3", "seed"), first.value("6", "text")) == (7, "a cat")
    assert second == third == text_to_image() != first
    assert (second.extra_data, second.notes) == ({}, ())


WRONG: list[tuple[Any, list[str]]] = [
    (lambda w: w.set("KSampler", sed=1), ["has no input 'sed' (did you mean 'seed'?)", "it has seed, steps"]),
    (lambda w: w.set("Ksampel", seed=1), ["called 'Ksampel' (did you mean 'KSampler'?)", "6 (Positive prompt)"]),
    (lambda w: w.set("CLIPTextEncode", text=""), ["2 nodes are called 'CLIPTextEncode': 6 (Positive prompt), 7 (N"]),
    (lambda w: w.value("LoadImage", "mask"), ["node 10 (LoadImage) has no input 'mask'; it has image"]),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_a_wrong_name_is_told_with_those_that_there_are(change: Any, words: list[str]) -> None:
    with pytest.raises(UnknownInput) as refused:
        change(text_to_image())
    assert all(each in str(refused.value) for each in [*words, "The workflow was not changed"])


def test_a_workflow_shows_itself_by_its_nodes() -> None:
    assert repr(text_to_image()) == (
        "<workflow of 4 nodes: 3 (KSampler), 6 (Positive prompt), 7 (Negative prompt), 10 (LoadImage)>"
    )
    assert text_to_image().title("loadimage") == "LoadImage"
    assert text_to_image().title("7") == "Negative prompt"


def test_the_graph_of_a_request_body_is_taken_out_of_it_and_the_rest_is_told() -> None:
    workflow = Workflow({"prompt": text_to_image(), "client_id": "c", "extra_data": {"api_key_comfy_org": "k"}})
    assert workflow == text_to_image()
    assert workflow.extra_data == {"api_key_comfy_org": "k"}
    assert workflow.notes == ("the workflow is its prompt, and extra_data goes with it", "left out: client_id")


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ({"nodes": [], "links": []}, "saved for the canvas: in ComfyUI, save it by Export (API)"),
        ({}, "this is empty"),
        ({"3": {"inputs": {}}}, "node '3' has none"),
        ({"3": node("KSampler", seed={1})}, "cannot be written as JSON"),
    ],
)
def test_what_is_no_workflow_is_refused_with_words(graph: Any, words: str) -> None:
    with pytest.raises(BadWorkflow) as refused:
        Workflow(graph)
    assert words in str(refused.value)
    assert "nothing was sent" in str(refused.value)
