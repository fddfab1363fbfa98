"""Queues: read item by item, in the form of every version and in a recorder's short one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core.wire import queues

UUID = "0f0f0f0f-1111-4222-8333-444444444444"


def raw(value: object) -> Raw:
    return Raw(json.dumps(value).encode())


def full(running: object, pending: object) -> Raw:
    return raw({"queue_running": running, "queue_pending": pending})


def row(prompt_id: str, number: float = 1, mark: str | None = None) -> list[object]:
    return [number, prompt_id, {}, {"comfy_fsm": mark} if mark else {}, []]


ids = st.lists(st.text(max_size=8), max_size=4)


@given(ids, ids)
def test_a_queue_and_its_short_form_list_the_same(running: list[str], pending: list[str]) -> None:
    whole = full([row(name) for name in running], [row(name) for name in pending])
    short = raw({"running": running, "pending": pending})
    assert queues.queue(whole) == queues.queue(short) == (running, pending)


@pytest.mark.parametrize("body", [{}, [], "queue", {"running": []}, {"running": [], "pending": [], "more": 1}, None])
def test_what_is_no_queue_is_none(body: object) -> None:
    assert queues.queue(raw(body)) is None
    assert queues.listing(raw(body)) is None


def test_a_queue_that_lacks_one_of_its_lists_is_not_whole() -> None:
    listed = queues.listing(raw({"queue_running": [row("a")]}))
    assert listed is not None
    assert (listed.running, listed.pending, listed.whole) == (["a"], [], False)


@pytest.mark.parametrize(("item", "named"), [([UUID], [UUID]), ([1], []), ("odd", []), ({"id": UUID}, [UUID])])
def test_an_item_that_cannot_be_read_is_counted_with_the_ids_in_it(item: object, named: list[str]) -> None:
    listed = queues.listing(full([row("a"), item], []))
    assert listed is not None
    assert (listed.running, listed.unread, sorted(listed.named)) == (["a"], 1, named)
    assert [str(each) for each in listed.odd] == ["queue_running[1] has no prompt id"]


def test_an_item_may_be_an_object_that_names_its_prompt() -> None:
    assert queues.queue(full([{"prompt_id": "a"}], [])) == (["a"], [])


def test_marks_are_those_of_the_items_that_bear_one() -> None:
    items = full([row("a", mark="m"), "odd", [1]], [row("b"), [2, 7, {}, {"comfy_fsm": "n"}]])
    assert queues.marks(items) == {"a": "m"}
    assert queues.marks(raw([])) == {}


@pytest.mark.parametrize(("prompt_id", "before"), [("a", 0), ("b", 2), ("c", 1), ("d", 3), ("e", None)])
def test_a_prompt_stands_in_the_order_of_the_numbers_and_not_of_the_list(prompt_id: str, before: int | None) -> None:
    pending = [row("b", 7), row("c", 3), {"prompt_id": "d"}]
    assert queues.position_in_queue(full([row("a")], pending), prompt_id) == before


@pytest.mark.parametrize("body", [[], "odd", 7])
def test_a_prompt_has_no_place_in_what_is_no_queue(body: object) -> None:
    assert queues.position_in_queue(raw(body), "a") is None
