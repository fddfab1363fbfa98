"""Tests of browsing: keys choose which tasks are shown, in which order, and which one is open."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.machine import SETTLED
from comfy_fsm.watch.browsing import KINDS, ORDERS, Browsing
from comfy_fsm.watch.keyboard import decode
from tests.support.lines import frame, line, lines_of, seen

FLEET = seen(
    *lines_of(Path(__file__).resolve().parents[2] / "fixtures" / "recordings" / "0.3.64" / "fleet-small.jsonl.gz")
)
NAMED = ["up", "down", "pgup", "pgdn", "home", "end", "enter", "esc", "backspace"]
keys = st.one_of(
    st.sampled_from([*NAMED, *"jkgGfvsr/?"]), st.characters(codec="utf-8").filter(lambda key: key not in "qQ")
)


def pressed(*some: str, view=FLEET) -> Browsing:
    found = Browsing()
    for key in some:
        found.press(key, view)
    return found


@given(st.lists(keys, max_size=40))
def test_any_keys_choose_rows_of_the_view_once_each_and_select_one_of_its_tasks(some: list[str]) -> None:
    found = pressed(*some)
    numbers = [row.number for row in found.rows(FLEET)]
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) <= {row.number for row in FLEET.tasks}
    assert found.selected is None or found.selected in {row.number for row in FLEET.tasks}
    assert found.opened in (None, found.selected)
    assert found.top >= 0
    assert not found.quits


@given(st.lists(keys, max_size=20))
def test_escape_leads_back_from_everywhere_to_all_tasks(some: list[str]) -> None:
    found = pressed(*some, "esc", "esc", "esc")
    assert (found.active, found.help, found.opened) == (False, False, None)
    assert len(found.rows(FLEET)) == len(FLEET.tasks)


def test_without_a_choice_the_rows_are_those_of_the_view() -> None:
    assert tuple(pressed().rows(FLEET)) == FLEET.tasks
    assert pressed().said() == ""


@pytest.mark.parametrize("number", range(1, len(KINDS)))
def test_f_chooses_by_state(number: int) -> None:
    kind = list(KINDS)[number]
    found = pressed(*"f" * number)
    shown = {row.state for row in found.rows(FLEET)}
    assert shown == {row.state for row in FLEET.tasks if KINDS[kind](row.state)}
    assert found.said() == kind
    if kind == "open":
        assert not shown & SETTLED


def test_v_chooses_one_server_after_the_other_and_then_all() -> None:
    for number, server in enumerate(FLEET.servers, 1):
        found = pressed(*"v" * number)
        assert {row.server for row in found.rows(FLEET)} <= {server.url}
        assert found.said() == f"at {server.url}"
    assert not pressed(*"v" * (len(FLEET.servers) + 1)).narrowed


def test_a_search_finds_the_words_of_an_error_and_escape_drops_it() -> None:
    found = pressed("/", *"RUNTIMEerror")
    assert [row.state for row in found.rows(FLEET)] == ["failed"]
    assert found.said() == "with “RUNTIMEerror”"
    found.press("q", FLEET)
    assert not found.quits, "it is a letter of the search"
    found.press("esc", FLEET)
    assert not found.narrowed


@pytest.mark.parametrize("number", range(1, len(ORDERS)))
def test_s_sorts_and_r_reverses(number: int) -> None:
    order = ORDERS[list(ORDERS)[number]]
    assert order is not None
    rows = pressed(*"s" * number).rows(FLEET)
    now = FLEET.at or 0.0
    assert [order(row, now) for row in rows] == sorted(order(row, now) for row in FLEET.tasks)
    assert list(pressed(*"s" * number, "r").rows(FLEET)) == list(rows)[::-1]


def test_a_selected_task_stays_selected_where_another_comes_before_it() -> None:
    begun = [line("ws.open", {}), *(frame("execution_start", prompt_id=name, timestamp=1) for name in "ab")]
    failing = frame("execution_error", prompt_id="b", exception_type="E", exception_message="m", node_id="1")
    before, after = seen(*begun), seen(*begun, failing)
    found = pressed("s", "s", "down", view=before)
    chosen = found.selected
    found.press("s", after)
    assert found.selected == chosen


def test_enter_opens_the_selected_task_or_the_first_and_escape_closes_it() -> None:
    first, second = (row.number for row in FLEET.tasks[:2])
    assert pressed("enter").opened == first
    assert pressed("down", "down", "enter").opened == second
    found = pressed("down", "down", "enter", "down", "down")
    assert (found.opened, found.top) == (second, 2)
    found.press("esc", FLEET)
    assert (found.opened, found.selected) == (None, second)


def test_where_no_task_is_shown_none_is_opened() -> None:
    found = pressed("/", *"no such word", "enter", "down", "enter")
    assert (found.opened, found.selected) == (None, None)


def test_q_and_an_end_of_the_terminal_end_it() -> None:
    assert all(pressed(*decode(key)).quits for key in (b"q", b"Q"))
    assert pressed("/", "closed").quits
