"""Histories: read record by record, even if a wrapper has put them into something else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from comfy_fsm.core.wire import histories

RECORD = {"prompt": [1, "p", {}, {}, []], "outputs": {"3": {}}, "status": {"status_str": "success"}}
CLOUD = {"prompt_id": "p", "outputs": {"3": {}}, "status": {"status_str": "success"}}
PLAIN = {"p": RECORD}


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


WRAPPED: list[Any] = [
    PLAIN, {"data": PLAIN}, {"history": {"result": PLAIN}}, json.dumps(PLAIN), f"  {json.dumps([RECORD])}", [RECORD],
    RECORD, CLOUD, [CLOUD], {"records": [CLOUD, {"nameless": 1}]}, {"data": json.dumps(PLAIN)},
]  # fmt: skip


@pytest.mark.parametrize("body", WRAPPED)
def test_a_history_is_found_wherever_a_wrapper_put_it(body: object) -> None:
    found = histories.records(raw(body))
    assert found is not None
    record = found.records["p"]
    assert (record.outputs, record.word, record.names("p")) == ({"3": {}}, "success", True)


@pytest.mark.parametrize("body", [{}, [], {"data": {}}])
def test_an_empty_history_is_one_without_records(body: object) -> None:
    found = histories.records(raw(body))
    assert found is None or found.records == {}
    assert (found is None) is (body != {})


@pytest.mark.parametrize(
    "body", ["a page", 7, None, [7], [{"nameless": 1}], {"data": None}, {"p": 7}, {"p": [1]}, '{"a":', {"data": "page"}]
)
def test_what_is_no_history_is_none(body: object) -> None:
    assert histories.records(raw(body)) is None


def test_wrappers_are_opened_only_so_deep() -> None:
    deep: object = PLAIN
    for _ in range(9):
        deep = {"data": deep}
    found = histories.records(raw(deep))
    assert found is None or "p" not in found.records


def test_an_odd_record_is_read_as_far_as_it_goes_and_what_is_odd_in_it_is_named() -> None:
    found = histories.records(raw({"p": RECORD | {"status": 7}, "q": 7}))
    assert found is not None
    assert list(found.records) == ["p"]
    assert {name: [str(each) for each in odd] for name, odd in found.odd.items()} == {
        "p": ["status is a number"],
        "q": ["all of it is a number"],
    }
