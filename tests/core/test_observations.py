"""Observations: every field that a server may leave out may be absent, and a line written is the line that is read."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation, KnownFrame, KnownObservation
from comfy_fsm.core.wire import codec
from comfy_fsm.testing.strategies import observations

NEEDED = {  # what a line of this kind cannot be without
    "trace": {"version": 1},
    "ws.message": {"type": "status"},
    "ws.undecodable": {},
    "http.request": {"id": "r", "method": "GET", "path": "/"},
    "http.response": {"id": "r", "status": 200},
    "http.error": {"id": "r"},
    "command": {"name": "resume"},
    "delivered": {"prompt_id": "p"},
}


def tag_of(kind: type) -> str:
    return str(kind.__struct_config__.tag)


@pytest.mark.parametrize("kind", get_args(KnownFrame), ids=tag_of)
def test_a_frame_without_any_field_is_still_of_its_kind(kind: type) -> None:
    line = {"at": 1, "kind": "ws.message", "data": {"type": tag_of(kind), "data": {}}}
    read = codec.parse(json.dumps(line).encode())
    assert isinstance(read, seen.Message)
    assert type(read.data) is kind


@pytest.mark.parametrize("kind", get_args(KnownObservation), ids=tag_of)
def test_a_line_needs_a_kind_a_time_and_no_more_than_is_listed_here(kind: type) -> None:
    line = {"at": 1, "kind": tag_of(kind), "data": NEEDED.get(tag_of(kind), {})}
    assert type(codec.parse(json.dumps(line).encode())) is kind


def is_known(o: AnyObservation) -> bool:
    """Not one of those that only our own reader makes."""
    return isinstance(o, KnownObservation) and not isinstance(getattr(o, "data", None), seen.UnrecognizedFrame)


@given(observations().filter(is_known))
def test_what_is_written_is_what_is_read(o: AnyObservation) -> None:
    assert codec.parse(codec.encode(o)) == o
