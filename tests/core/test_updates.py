"""Updates: which frames a listener hears of, with which numbers, and what a preview or a result is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfy_fsm.core.effects import Output
from comfy_fsm.core.updates import Update, image_update, prompt_of, steps_of, update_of
from comfy_fsm.core.wire import codec

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def frame(kind: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"at": 1.0, "kind": "ws.message", "data": {"type": kind, "data": data}}).encode()


def update(line: bytes, image: bytes = b"") -> Update | None:
    return update_of("p", codec.parse(line), line, image)


FRAMES: list[tuple[str, dict[str, Any], Update | None]] = [
    ("progress", {"node": "3", "value": 2, "max": 8}, Update("p", "progress", 1.0, "3", 2, 8)),
    ("progress", {"node": 3, "value": "x"}, Update("p", "progress", 1.0)),
    ("progress_state", {"nodes": {}}, None),
    ("executing", {"node": "3"}, Update("p", "executing", 1.0, "3")),
    ("executing", {"node": None}, None),
    ("executed", {"node": "3"}, Update("p", "executed", 1.0, "3")),
    ("execution_start", {}, Update("p", "execution_start", 1.0)),
    ("execution_success", {}, Update("p", "execution_success", 1.0)),
]


@pytest.mark.parametrize(("kind", "data", "told"), FRAMES)
def test_a_frame_is_an_update_unless_another_says_the_same(
    kind: str, data: dict[str, Any], told: Update | None
) -> None:
    assert update(frame(kind, {"prompt_id": "p", **data})) == told


def binary(metadata: object) -> bytes:
    return json.dumps({"at": 1.0, "kind": "ws.binary", "data": {"event": 4, "metadata": metadata}}).encode()


@pytest.mark.parametrize(
    ("metadata", "node"), [({"node_id": "3"}, "3"), ({"node_id": 3}, None), ({}, None), (None, None)]
)
def test_a_preview_is_an_update_with_its_image_and_the_node_if_it_is_named(metadata: object, node: str | None) -> None:
    assert update(binary(metadata), PNG) == Update("p", "preview", 1.0, node, image=PNG, format="image/png")
    assert update(binary(metadata)) is None


def test_what_is_no_frame_is_no_update() -> None:
    assert update(b'{"at":1,"kind":"tick","data":{}}') is None


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        (frame("progress", {"prompt_id": "p"}), "p"), (frame("progress", {}), None), (frame("status", {}), None),
        (binary({"prompt_id": "p"}), "p"), (binary(None), None), (b'{"at":1,"kind":"tick","data":{}}', None),
    ],
)  # fmt: skip
def test_a_frame_names_its_prompt_or_none(line: bytes, prompt: str | None) -> None:
    assert prompt_of(codec.parse(line)) == prompt


@pytest.mark.parametrize(
    ("data", "steps"), [({"value": 2, "max": 8}, (2, 8)), ({}, (None, None)), ({"value": []}, (None, None))]
)
def test_odd_numbers_are_no_steps(data: dict[str, Any], steps: tuple[float | None, float | None]) -> None:
    assert steps_of(frame("progress", data)) == steps


def test_an_image_that_is_a_result_is_an_update_with_its_name() -> None:
    assert image_update("p", Output("3", "images", "a.png"), 2.0) == Update("p", "image", 2.0, "3", text="a.png")


def test_an_update_shows_what_it_says_and_the_size_of_its_image() -> None:
    assert (
        repr(Update("p", "preview", 1.0, image=PNG))
        == "Update(prompt_id='p', name='preview', at=1.0, image='<16 bytes>')"
    )
    assert (
        repr(Update("p", "progress", 1.0, "3", 2, 8))
        == "Update(prompt_id='p', name='progress', at=1.0, node='3', value=2, max=8)"
    )
