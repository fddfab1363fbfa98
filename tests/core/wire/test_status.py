"""Reading of status frames."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core.observations import FeatureFlags, Progress, PromptData, Status
from comfy_fsm.core.wire import status


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("value", "count"),
    [({"status": {"exec_info": {"queue_remaining": 3}}}, 3), ({"exec_info": {"queue_remaining": 0}}, 0),
     ({"exec_info": {"queue_remaining": -1}}, None), ({"exec_info": {}}, None), ({"status": {}}, None), ([], None),
     ({"status": {"exec_info": {"queue_remaining": "x"}}}, None)],
)  # fmt: skip
def test_a_count_of_prompts_is_read_from_a_frame_or_an_answer(value: object, count: int | None) -> None:
    assert status.remaining(raw(value)) == count


def test_a_greeting_is_what_a_server_sends_to_each_new_connection() -> None:
    assert status.greets(FeatureFlags())
    assert status.greets(Status(raw({"status": {}, "sid": "w"})))
    assert not status.greets(Status(raw({"status": {}})))
    assert not status.greets(Progress(PromptData()))


@given(st.integers(-2, 5) | st.none() | st.text(max_size=3), st.booleans(), st.integers(0, 400))
def test_a_status_is_read_alike_whether_or_not_it_was_read_before(count: object, greeting: bool, more: int) -> None:
    told = {"status": {"exec_info": {"queue_remaining": count}}, "more": "x" * more} | (
        {"sid": "w"} if greeting else {}
    )
    frame = Status(raw(told))
    for _ in range(2):
        assert status.read(frame.data) == (status.remaining(frame.data), status.greets(frame))
