"""Keyboard of a terminal: what is pressed, as characters and names of keys, without Enter and without an echo.

The terminal is as it was afterwards, whatever ends the program. Without a keyboard (a pipe, Windows), it only waits.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["CLOSED", "Keys", "decode", "keyboard"]

Keys = Callable[[float], list[str]]
"""Waits for so many seconds, or until keys are pressed, and returns them."""
CLOSED = "closed"
"""What is pressed on a terminal that is gone."""
_ESCAPE_SECONDS = 0.05
"""How long the rest of a sequence may take to come; after that, it was the Escape key."""
_LONGEST = 1_024
_KEY = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])|.", re.DOTALL)
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-9;]*|O)?\Z")
_NAMES = {
    "\x1b": "esc", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace",
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down", "\x1b[5~": "pgup", "\x1b[6~": "pgdn",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end",
}  # fmt: skip


def decode(pressed: bytes) -> list[str]:
    """Return the keys behind these bytes: a printable character is itself, others have names, what is unknown is left
    out.
    """
    found = _KEY.findall(pressed.decode("utf-8", "ignore"))
    return [_NAMES.get(key, key) for key in found if key in _NAMES or (len(key) == 1 and key.isprintable())]


@contextmanager
def keyboard() -> Iterator[Keys]:
    """Take over the keyboard of this terminal."""
    if os.name == "nt" or not sys.stdin.isatty():
        yield _wait
        return
    import termios
    import tty

    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    now = termios.tcgetattr(keys)
    now[6][termios.VSUSP] = b"\0"  # to suspend it would leave the shell on the other screen
    termios.tcsetattr(keys, termios.TCSANOW, now)
    try:
        yield lambda seconds: _pressed(keys, seconds)
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


def _wait(seconds: float) -> list[str]:
    time.sleep(seconds)
    return []


def _pressed(keys: int, seconds: float) -> list[str]:
    import select

    if not select.select([keys], [], [], max(0.0, seconds))[0]:
        return []
    pressed = os.read(keys, _LONGEST)
    while _UNFINISHED.search(pressed) and select.select([keys], [], [], _ESCAPE_SECONDS)[0]:
        more = os.read(keys, _LONGEST)
        if not more:
            break
        pressed += more
    return decode(pressed) if pressed else [CLOSED]
