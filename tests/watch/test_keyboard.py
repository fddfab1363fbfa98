"""Tests of the keyboard: each key has one name, however its bytes come, and none that is unknown counts."""

import os
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import comfy_fsm.watch.keyboard as module
from comfy_fsm.watch.keyboard import CLOSED, decode, keyboard

SEQUENCES = {
    b"\x1b[A": "up", b"\x1bOB": "down", b"\x1b[5~": "pgup", b"\x1b[6~": "pgdn", b"\x1b[H": "home", b"\x1b[4~": "end",
    b"\r": "enter", b"\x7f": "backspace", b"\x1b": "esc", b"/": "/", "ü".encode(): "ü",
}  # fmt: skip
known = st.sampled_from(sorted(SEQUENCES))


@given(st.lists(known.filter(lambda key: key != b"\x1b")))
def test_each_key_of_many_is_told(pressed: list[bytes]) -> None:
    assert decode(b"".join(pressed)) == [SEQUENCES[key] for key in pressed]


@given(st.binary())
def test_whatever_comes_is_a_printable_character_or_the_name_of_a_key(pressed: bytes) -> None:
    names = set(SEQUENCES.values())
    assert all(key in names or (len(key) == 1 and key.isprintable()) for key in decode(pressed))


@pytest.mark.parametrize("pressed", [b"\x1b[1;5C", b"\x1b[200~", b"\x1a", b"\x00", b"\xff"], ids=ascii)
def test_a_key_without_a_meaning_is_none(pressed: bytes) -> None:
    assert decode(pressed) == []


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The end of a terminal at which a person types; the other is our standard input."""
    person, ours = os.openpty()
    with os.fdopen(ours) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield person
    os.close(person)


def test_a_sequence_that_comes_in_two_parts_is_one_key_and_escape_alone_is_another(terminal: int) -> None:
    with keyboard() as keys:
        os.write(terminal, b"\x1b")
        threading.Timer(0.01, os.write, (terminal, b"[A")).start()
        assert keys(5.0) == ["up"]
        os.write(terminal, b"\x1b")
        assert keys(5.0) == ["esc"]


def test_the_terminal_is_as_it_was_after_an_error(terminal: int) -> None:
    before = termios.tcgetattr(terminal)
    during = []
    with suppress(ZeroDivisionError), keyboard():
        during = termios.tcgetattr(terminal)
        raise ZeroDivisionError
    assert not during[3] & termios.ECHO
    assert termios.tcgetattr(terminal) == before


def test_a_terminal_that_is_gone_is_told_as_closed() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert module._pressed(reading, 5.0) == [CLOSED]
    os.close(reading)


def test_without_a_keyboard_it_waits_and_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        begun = time.monotonic()
        with keyboard() as keys:
            assert keys(0.05) == []
        assert time.monotonic() - begun >= 0.05
