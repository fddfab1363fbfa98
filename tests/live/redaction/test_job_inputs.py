"""Tests of withheld inputs of waiting jobs: those with secrets, each named, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.live.redaction.job_inputs import is_credential, withheld

CANARY = "sk-canary-4f1c"
CREDENTIALS = [
    "api_key", "apiKey", "API-KEY", "apikey", "openai_api_key", "token", "accessToken", "hf_token", "password",
    "passwd", "client_secret", "Authorization", "auth", "cookie", "jwt", "credentials", "private key",
    "AWS_SECRET_ACCESS_KEY",
]  # fmt: skip
ORDINARY = ["text", "keyframe", "keywords", "seed", "author", "monkey", "tokenizer", "images", "turkey", "encoder"]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_an_input_that_is_called_like_a_credential_is_left_out(name: str) -> None:
    assert is_credential(name)
    for value in (CANARY, {"a": [CANARY]}, [[CANARY], CANARY, "more"]):
        graph = {"1": {"class_type": "X", "inputs": {name: value, "text": "a cat"}}}
        kept, names = withheld(graph, lambda _: False)
        assert CANARY not in json.dumps(kept)
        assert names == (f"1.{name}",)
        assert kept["1"]["inputs"]["text"] == "a cat"
        assert CANARY in json.dumps(graph), "what is posted is whole"


@pytest.mark.parametrize("name", ORDINARY)
def test_an_input_with_an_ordinary_name_is_kept(name: str) -> None:
    graph = {"1": {"class_type": "X", "inputs": {name: "see http://host/a?size=1 and me@host"}}}
    assert withheld(graph, lambda _: False) == (graph, ())


@pytest.mark.parametrize(
    "text",
    ["https://user:summer1@host/a.png", "see https://host/?key=summer", "https%3A%2F%2Fhost%2F%3Ftoken%3Dsummer",
     "https://host/?a=1&X-Amz-Signature=summer"],
)  # fmt: skip
def test_an_address_with_a_credential_is_left_out_and_named(text: str) -> None:
    kept, names = withheld({"7": {"class_type": "X", "inputs": {"text": text}}}, lambda _: False)
    assert "summer" not in json.dumps(kept)
    assert names == ("7.text",)


def test_numbers_and_links_are_kept_whatever_they_are_called() -> None:
    inputs = {"tokens": 512, "key": True, "token": ["2", 0]}
    graph = {"1": {"class_type": "X", "inputs": inputs}, "2": {"class_type": "Y"}}
    assert withheld(graph, lambda _: False) == (graph, ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(CANARY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


INPUTS = st.dictionaries(st.text(max_size=9), JSON, max_size=3)


@given(st.dictionaries(st.text(min_size=1, max_size=4), INPUTS, max_size=3))
def test_a_registered_secret_in_any_input_is_left_out_and_only_that_input_is_named(nodes: dict[str, Any]) -> None:
    graph = {node: {"class_type": "X", "inputs": inputs} for node, inputs in nodes.items()}
    kept, names = withheld(graph, lambda text: CANARY in text)
    for node, inputs in nodes.items():
        for name, value in inputs.items():
            here = kept[node]["inputs"][name]
            assert CANARY not in json.dumps(list(_values(here)))
            assert (here == value) or f"{node}.{name}" in names


def _values(value: object) -> Any:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _values(item)
    else:
        yield value
