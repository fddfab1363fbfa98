"""Tests of terminal output: nothing is invisible, and nothing covers other lines."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.display import LONGEST, MARKS, harmless

INVISIBLE = [
    "\u00ad", "\u034f", "\u061c", "\u115f", "\u1160", "\u17b4", "\u180b", "\u180e", "\u200b", "\u2028", "\u202e",
    "\u2060", "\u2800", "\u3164", "\ufe00", "\ufe0f", "\ufeff", "\uffa0", "\U0001d173", "\U000e0001", "\U000e0100",
    "\x1b", "\x9b", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("letter", INVISIBLE, ids=lambda letter: f"U+{ord(letter):04X}")
def test_a_letter_that_nobody_sees_is_spelled_out(letter: str) -> None:
    assert harmless(f"a{letter}b") == f"a{letter.encode('unicode_escape', 'surrogatepass').decode()}b"


@pytest.mark.parametrize("text", ["Zoë", "Zoe\u0308", "한국어", "日本語", "עִבְרִית", "ไทยที่นี่", "👍🏽", "a b"])
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


def test_a_tower_of_marks_is_cut_down() -> None:
    assert harmless("a" + "\u0301" * 5) == "a" + "\u0301" * MARKS + "\\u0301" * (5 - MARKS)


@given(st.text(max_size=400))
def test_whatever_comes_in_only_what_can_be_seen_comes_out(text: str) -> None:
    shown = harmless(text)
    assert len(shown) <= LONGEST
    assert shown.isprintable()
    run = 0
    for letter in shown:
        run = run + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        assert run <= MARKS


def test_no_letter_of_all_that_there_are_is_a_format_or_a_space_of_another_kind() -> None:
    shown = {letter for code in range(sys.maxunicode + 1) if (letter := chr(code)) == harmless(letter)}
    unseen = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
    assert not {letter for letter in shown if unicodedata.category(letter) in unseen}
    assert {letter for letter in shown if unicodedata.category(letter) == "Zs"} == {" "}
