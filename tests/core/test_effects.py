"""Results and effects: how an output, a text and the fault of a node are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.effects import NodeFault, Output, Text


@pytest.mark.parametrize(
    ("type_", "subfolder", "path"),
    [("output", "mesh", "output/mesh/m.glb"), ("output", "", "output/m.glb"), ("", "mesh", "mesh/m.glb"),
     ("", "", "m.glb")],
)  # fmt: skip
def test_the_path_of_an_output_is_its_type_its_folder_and_its_name_as_far_as_they_are_known(
    type_: str, subfolder: str, path: str
) -> None:
    assert Output("1", "3d", "m.glb", subfolder, type_).path == path


@pytest.mark.parametrize(
    ("name", "mime"), [("a.png", "image/png"), ("m.glb", "model/gltf-binary"), ("a", "application/octet-stream")]
)
def test_the_mime_type_of_an_output_is_the_one_that_its_name_suggests(name: str, mime: str) -> None:
    assert Output("1", "images", name).mime_type == mime


def test_a_text_is_shown_as_itself() -> None:
    assert str(Text("1", "text", "a cat")) == "a cat"


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (NodeFault("1"), "node '1'"),
        (NodeFault("1", "KSampler"), "node '1' (KSampler)"),
        (NodeFault("1", input_name="seed"), "node '1' input 'seed'"),
        (NodeFault("1", type="value_smaller"), "node '1': value_smaller"),
        (NodeFault("1", type="value_smaller", message="too small"), "node '1': too small"),
        (NodeFault("1", details="seed = -1"), "node '1': seed = -1"),
        (NodeFault("1", "K", message="too small", details="-1", input_name="seed"),
         "node '1' (K) input 'seed': too small: -1"),
    ],
)  # fmt: skip
def test_a_fault_names_its_node_its_input_and_what_is_wrong_with_it(fault: NodeFault, shown: str) -> None:
    assert str(fault) == shown


texts = st.none() | st.text(max_size=300)


@given(st.text(max_size=300), texts, texts, texts, texts, texts)
def test_a_fault_is_one_short_line_of_printable_text_whatever_the_server_says(
    node: str, kind: str | None, type_: str | None, message: str | None, details: str | None, name: str | None
) -> None:
    shown = str(NodeFault(node, kind, type_, message, details, name))
    assert shown.isprintable()
    assert len(shown) < 500
