"""Tests of results: every file and text that anything named is in them, in whatever shape."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.effects import Output
from comfy_fsm.core.policy import DEFAULT, Policy
from comfy_fsm.core.wire.results import Produced, names_asset, produced
from replay import replay
from tests.support.examples import few
from tests.support.fixtures import FIXTURES
from tests.support.shapes import SHAPES


def paths(found: Produced) -> list[str]:
    return [output.path for output in found.outputs]


def words(found: Produced) -> list[str]:
    return [text.text for text in found.texts]


@pytest.mark.parametrize(("told", "files", "texts"), SHAPES, ids=str)
def test_every_shape_in_use_gives_its_files_and_its_texts(told: object, files: list[str], texts: list[str]) -> None:
    found = produced({"9": told}, DEFAULT)
    assert (paths(found), words(found), found.left_out) == (files, texts, 0)
    assert {item.node for item in (*found.outputs, *found.texts)} <= {"9"}


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
KEYS = st.text(max_size=6) | st.sampled_from(["images", "gifs", "3d", "result", "video", "a_images", "animated"])


KINDS = KEYS.filter(lambda key: key not in ("filename", "name"))
OTHERS = st.lists(LEAVES, max_size=2)


@st.composite
def nests(draw: st.DrawFn) -> tuple[object, list[str]]:
    """Files, each once, anywhere in lists and objects of other things; and their names, in order."""
    count = draw(st.integers(0, 5))
    files = [{"filename": f"{n}.bin", "subfolder": "", "type": "output"} for n in range(count)]
    parts: list[object] = list(files)
    while len(parts) > 1 or draw(st.integers(0, 2)):
        at = draw(st.integers(0, max(len(parts) - 1, 0)))
        some = parts[at : at + draw(st.integers(1, 3))]
        others = draw(OTHERS)
        keys = [f"{n}{draw(KINDS)}" for n in range(len(some))]
        ways = ([*others, *some], [*some, *others], dict(zip(keys, some, strict=True)))
        wrapped = ways[draw(st.integers(0, 2))]
        parts[at : at + len(some)] = [wrapped]
    return (parts[0] if parts else None), [f"{n}.bin" for n in range(count)]


@few
@given(nest=nests(), key=KEYS)
def test_every_file_is_found_at_any_depth_in_order_and_once(nest: tuple[object, list[str]], key: str) -> None:
    value, files = nest
    found = produced({"9": {key: value}}, DEFAULT)
    assert [output.filename for output in found.outputs] == files


ANY = st.recursive(
    LEAVES | st.text(max_size=8) | st.sampled_from(["a.glb", "a/b.png"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS | st.sampled_from(["filename", "name", "type", "subfolder", "text"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(told=ANY, most=st.integers(0, 3))
def test_whatever_was_told_nothing_raises_and_what_is_cut_is_counted(told: object, most: int) -> None:
    whole, cut = produced(told, DEFAULT), produced(told, Policy(outputs=most))
    assert whole.left_out == 0
    assert (cut.outputs, cut.texts) == (whole.outputs[:most], whole.texts[:most])
    assert cut.left_out == max(0, len(whole.outputs) - most) + max(0, len(whole.texts) - most)


@given(told=ANY)
def test_each_word_that_a_node_shows_is_a_file_or_a_text(told: object) -> None:
    found = produced({"9": {"text": told}}, DEFAULT)

    def shown(value: object) -> list[str]:
        if isinstance(value, list):
            return [word for item in value for word in shown(item)]
        return [value] if isinstance(value, str) else []

    assert set(shown(told)) <= set(words(found))


def test_a_hundred_thousand_levels_are_no_harder_than_one() -> None:
    deep: object = {"filename": "a.png"}
    for level in range(100_000):
        deep = [deep] if level % 2 else {"x": deep}
    assert paths(produced({"9": {"images": deep}}, DEFAULT)) == ["a.png"]


def test_ten_thousand_files_pass_by_default() -> None:
    files = [{"filename": f"{n}.png"} for n in range(10_000)]
    found = produced({"9": {"images": files}}, DEFAULT)
    assert (len(found.outputs), found.left_out) == (10_000, 0)


def test_texts_are_bounded_by_their_length_too() -> None:
    found = produced({"9": {"text": ["x" * 6, "y" * 6, "z" * 6]}}, Policy(text_characters=12))
    assert (words(found), found.left_out) == (["x" * 6, "y" * 6], 1)


# as a replay tells it


def of_fixture(name: str) -> tuple[Any, set[str]]:
    report = replay(FIXTURES / "made" / f"{name}.jsonl")
    return report.tasks[0], {finding.code for finding in report.findings}


def test_a_text_is_in_the_result_and_in_the_report() -> None:
    task, _ = of_fixture("output-text")
    assert [(text.node, text.kind, str(text)) for text in task.texts] == [("9", "text", "a cat on a mat")]
    assert task.result().texts == task.texts


def test_files_of_every_kind_are_in_the_result() -> None:
    task, _ = of_fixture("output-kinds")
    assert [output.filename for output in task.outputs] == [
        "日本 é.png", "b.png", "c.png", "d.png", "v.mp4", "bare.webm", "m.glb", "n.glb", "bg_1.png", "w.png",
    ]  # fmt: skip
    assert [output.subfolder for output in task.outputs if output.filename in ("m.glb", "n.glb")] == ["mesh", "mesh"]
    assert [str(text) for text in task.texts] == ["42"]


@pytest.mark.parametrize(("name", "count"), [("images-by-socket", 4), ("images-by-socket-unnamed", 3)])
def test_images_that_come_over_the_socket_are_outputs_and_the_preview_before_them_is_none(
    name: str, count: int
) -> None:
    task, codes = of_fixture(name)
    assert task.outputs == tuple(
        Output("9", "images", f"websocket_{n + 1:05}_.png", "", "websocket", True, 900, f"{n:064x}")
        for n in range(count)
    )
    assert not codes & {"images-missed", "outputs-cut"}


def test_images_that_did_not_come_and_those_that_were_cut_are_told() -> None:
    missed, codes = of_fixture("images-missed")
    assert (missed.outputs, missed.missed, codes - {"repeated-signal"}) == ((), ("9",), {"images-missed"})
    cut, codes = of_fixture("outputs-cut")
    assert (len(cut.outputs), cut.result().left_out, codes - {"repeated-signal"}) == (2, 1, {"outputs-cut"})


def test_a_file_is_known_by_its_asset_only_where_that_is_one() -> None:
    asset = "0f0f0f0f-1111-4222-8333-444444444444"
    told = {"images": [{"filename": "a.png", "id": asset}, {"filename": "b.png", "id": "7", "preview_id": asset}]}
    first, second = produced({"9": told}, DEFAULT).outputs
    assert (first.id, first.preview_id, second.id, second.preview_id) == (asset, "", "", asset)
    assert names_asset("id", asset)
    assert not names_asset("id", "7")
    assert not names_asset("filename", asset)
