"""Tests of what a capture is known by: its first bytes alone, and nothing that a trace begins with."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.captures.detection import form_of
from comfy_fsm.core.wire import codec
from comfy_fsm.testing.strategies import observations

FRAME = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 1}}}}
HEADS = {
    "har": ['{"log":{"version":"1.2"', '\ufeff { "log" : {', '\n{"log": {"entries": ['],
    "frames": [json.dumps(FRAME), json.dumps([FRAME, FRAME])[:-1], '{"type":"executed","data":{"text":"' + "a" * 9_000],
    None: ["", "[]", "{}", '{"log": 3}', '{"at":1,"kind":"tick"}', "SQLite format 3", "[" * 100_000, '"type"'],
}


@pytest.mark.parametrize(("form", "head"), [(form, head) for form, heads in HEADS.items() for head in heads])
def test_a_capture_is_known_by_how_it_begins(form: str | None, head: str) -> None:
    assert form_of(head.encode()) == form


@given(observations())
def test_no_line_of_a_trace_is_taken_for_a_capture(observation: object) -> None:
    assert form_of(codec.encode(observation)) is None


@given(st.binary(max_size=200))
def test_anything_else_is_told_apart_without_an_error(head: bytes) -> None:
    assert form_of(head) in (None, "har", "frames")
