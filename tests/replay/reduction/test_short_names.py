"""Short names: the same everywhere, whole words alone, addresses with what follows them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replay.reduction.short_names import renamed, walked

NAMES = {"0a-b": "p1", "http://127.0.0.1:8188": "http://s1"}


def test_a_name_is_changed_wherever_it_is_a_word() -> None:
    value = {"0a-b": [1, "0a-b", {"path": "/history/0a-b?x=0a-b"}], "0a-bc": "a0a-b"}
    assert walked(NAMES, value) == {"p1": [1, "p1", {"path": "/history/p1?x=p1"}], "0a-bc": "a0a-b"}


def test_an_address_keeps_what_follows_it() -> None:
    assert renamed(NAMES, "http://127.0.0.1:8188/queue") == "http://s1/queue"


@given(st.text())
def test_without_names_a_text_stays_as_it_is(text: str) -> None:
    assert renamed({}, text) == text
