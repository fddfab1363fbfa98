"""The fieldwise reader: what fits is read, what is odd is left out and named, and nothing raises."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw, Struct

from comfy_fsm.core.wire.fieldwise import read


class Part(Struct, frozen=True):
    id: str
    size: int = 0


class Inner(Struct, frozen=True):
    note: str | None = None


class Whole(Struct, frozen=True):
    name: Annotated[str, Meta(min_length=1)] = "-"
    done: bool = False
    share: float | None = None
    parts: list[Part] = []
    by_id: dict[str, int] = {}
    pair: tuple[str, Inner] | None = None
    either: Part | str | None = None
    text: Raw = Raw(b"null")
    any: object = None


def test_what_fits_is_read_whole_where_only_a_number_is_no_json() -> None:
    assert read(Raw(b'{"name": "a", "any": NaN, "done": true}'), Whole)[1] == ()


def found(value: object) -> tuple[Whole | None, list[str]]:
    whole, odd = read(Raw(json.dumps(value).encode()), Whole)
    return whole, [str(each) for each in odd]


CASES: list[tuple[dict[str, Any], Whole, list[str]]] = [
    ({"done": []}, Whole(), ["done is a list"]),
    ({"done": {}, "name": "n"}, Whole(name="n"), ["done is an object"]),
    ({"name": ""}, Whole(), ["name is empty"]),
    ({"name": 7}, Whole(name="7"), ["name is a number, and was read as a text"]),
    ({"name": ["a", "b"]}, Whole(name="a\nb"), ["name is a list, and was read as lines of text"]),
    ({"name": [7]}, Whole(), ["name is a list"]),
    ({"name": True}, Whole(), ["name is true or false"]),
    ({"share": "x"}, Whole(), ["share is a text"]),
    ({"share": None, "done": {}}, Whole(), ["done is an object"]),
    ({"share": "0.5", "done": {}}, Whole(share=0.5), ["done is an object"]),
    ({"parts": 7}, Whole(), ["parts is a number"]),
    ({"parts": [{"id": "a", "size": 2}, {"size": 1}, 7]}, Whole(parts=[Part("a", 2)]),
     ["parts[1] has no id", "parts[2] is a number"]),
    ({"parts": [{"id": "a", "size": []}]}, Whole(parts=[Part("a")]), ["parts[0].size is a list"]),
    ({"by_id": {"a": 1, "b": "x"}}, Whole(by_id={"a": 1}), ["by_id.b is a text"]),
    ({"by_id": []}, Whole(), ["by_id is a list"]),
    ({"pair": ["a", {"note": "n"}, 3]}, Whole(pair=("a", Inner("n"))), ["pair has 3 parts"]),
    ({"pair": ["a"]}, Whole(pair=("a", Inner())), ["pair has 1 parts"]),
    ({"pair": ["a", 7]}, Whole(pair=("a", Inner())), ["pair[1] is a number"]),
    ({"pair": [{}, {}]}, Whole(), ["pair[0] is an object"]),
    ({"pair": []}, Whole(), ["pair is a list"]),
    ({"either": {"id": "a"}, "done": {}}, Whole(either=Part("a")), ["done is an object"]),
    ({"either": "a", "done": {}}, Whole(either="a"), ["done is an object"]),
    ({"either": 7}, Whole(), ["either is a number"]),
    ({"text": {"a": 1}, "any": [1], "done": {}}, Whole(text=Raw(b'{"a":1}'), any=[1]), ["done is an object"]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "whole", "odd"), CASES)
def test_what_is_odd_is_left_out_and_named_and_the_rest_is_read(
    value: dict[str, Any], whole: Whole, odd: list[str]
) -> None:
    assert found(value) == (whole, odd)


@pytest.mark.parametrize("value", [7, "x", [], None, True])
def test_of_what_is_no_object_nothing_can_be_read(value: object) -> None:
    whole, odd = found(value)
    assert whole is None
    assert len(odd) == 1
    assert odd[0].startswith("all of it is ")


def test_what_is_no_json_cannot_be_read_and_nothing_is_named() -> None:
    assert read(Raw(b"{"), Whole) == (None, ())


def test_no_more_than_twenty_oddities_are_named() -> None:
    assert len(found({"parts": [7] * 99})[1]) == 20


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(Whole.__struct_fields__), inner),
    max_leaves=12,
)


@given(anything)
def test_nothing_raises_and_what_fits_as_a_whole_has_no_oddity(value: object) -> None:
    whole, odd = found(value)
    assert whole is not None or odd
