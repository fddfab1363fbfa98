"""Tests of workflow files as ComfyUI and people write them: every encoding of JSON, NaN, a body around them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.cli.run import complain_of_oddities
from comfy_fsm.errors import BadWorkflow
from comfy_fsm.workflow.files import read, read_content
from tests.support.graphs import may_be_refused

GRAPH: dict[str, Any] = {
    "3": {"class_type": "KSampler", "inputs": {"text": "é 日本 \U0001f511", "n": 1}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
WRAPPED: dict[str, Any] = {
    "a POST body": {"prompt": GRAPH, "client_id": "c", "extra_data": {"api_key_comfy_org": "k"}},
    "RunPod": {"input": {"workflow": GRAPH, "images": []}},
    "RunPod, with prompt": {"input": {"prompt": GRAPH}},
    "the metadata of a picture": {"prompt": json.dumps(GRAPH), "workflow": json.dumps({"nodes": []})},
    "what the canvas exports": {"workflow": {"nodes": [], "links": []}, "output": GRAPH},
    "a workflow alone": {"workflow": GRAPH},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_file_is_read_in_every_encoding_of_json(encoding: str) -> None:
    order = read_content("w.json", json.dumps(GRAPH, ensure_ascii=False).encode(encoding))
    assert order.workflow == GRAPH
    assert bool(order.told) is (encoding != "utf-8")
    assert not order.told or order.told[0].startswith("read as UTF-")


NUMBERS = ["NaN", "Infinity", "-Infinity", "1"]


@given(st.sampled_from(ENCODINGS), st.sampled_from(list(WRAPPED)), st.sampled_from(NUMBERS))
def test_a_workflow_is_found_in_what_is_around_it_and_that_is_told(encoding: str, wrapping: str, number: str) -> None:
    text = json.dumps(WRAPPED[wrapping]).replace('"n": 1', f'"n": {number}').replace('\\"n\\": 1', f'\\"n\\": {number}')
    order = read_content("w.json", text.encode(encoding))
    assert set(order.workflow) == set(GRAPH)
    got, wanted = order.workflow["3"]["inputs"]["n"], float(number)
    assert got == wanted or (math.isnan(got) and math.isnan(wanted))
    assert any("the workflow is its" in told for told in order.told)
    assert order.extra_data == WRAPPED[wrapping].get("extra_data", {})


def test_what_goes_with_it_and_what_does_not_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.json"
    path.write_bytes(json.dumps(WRAPPED["a POST body"] | {"number": 3}).encode("utf-16"))
    told: list[str] = []
    complain_of_oddities([read(str(path))], told.append)
    assert told == [
        f"{path}: read as UTF-16; the workflow is its prompt, and extra_data goes with it; left out: client_id, number"
    ]
    path.write_text(json.dumps(GRAPH))
    complain_of_oddities([read(str(path))], told.append)
    assert len(told) == 1, "of what is plainly a workflow nothing is told"


def test_a_node_that_is_called_prompt_is_a_node() -> None:
    graph = {"prompt": {"class_type": "Text", "inputs": {}}, "workflow": GRAPH["9"]}
    assert read_content("w.json", json.dumps(graph).encode()) == ("w.json", graph, {}, ())


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"[]", b"3", b'{"prompt":{}}', b'{"prompt":{"nodes":[]}}', b'{"nodes":[],"links":[]}',
     b'{"input":{"workflow":null}}', b"[" * 100_000, b'{"prompt":"{"}', b"\x80abc"],
)  # fmt: skip
def test_what_holds_no_workflow_is_refused_by_the_name_of_its_file(content: bytes) -> None:
    with pytest.raises(BadWorkflow, match=r"^w\.json"):
        read_content("w.json", content)


NAMES = st.sampled_from(["prompt", "input", "workflow", "output", "1", "class_type"])
JSON = st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_workflow_or_are_refused(content: bytes) -> None:
    with may_be_refused("w.json"):
        assert all("class_type" in node for node in read_content("w.json", content).workflow.values())
