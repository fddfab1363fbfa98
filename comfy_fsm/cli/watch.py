"""Command `watch`: shows a log on a terminal while it is written. It only reads."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from comfy_fsm.cli.options import Log, NoColor, Once, must_be_readable
from comfy_fsm.exits import BY_SIGNAL

if TYPE_CHECKING:
    from comfy_fsm.watch.follower import Follower
    from comfy_fsm.watch.keyboard import Keys
    from comfy_fsm.watch.terminal import Terminal

__all__ = ["watch"]

_PACE = 0.2
"""Seconds between two pictures: soon enough for an eye, and calm."""
_SHARE = 10
"""A picture that took long to draw stays on show this many times as long: drawing takes no more of the time."""


def watch(log: Log, *, once: Once = False, no_color: NoColor = False) -> int:
    """Show servers, windows, tasks and findings of a log on this terminal, while it is written; ? shows the
    keys, q or Ctrl-C ends it.

    Parameters
    ----------
    log
        The log, which another process may be writing.
    once
        Print what there is, and end; so it is where standard output is no terminal.
    no_color
        Use no colours; the environment variable NO_COLOR does the same.
    """
    from comfy_fsm.watch.follower import Follower
    from comfy_fsm.watch.keyboard import keyboard
    from comfy_fsm.watch.terminal import Terminal, show

    must_be_readable(log)
    follower = Follower(log)
    if once or not sys.stdout.isatty():
        follower.open(float("inf"))
        show(follower.scene(), color=not no_color)
        return 0
    follower.open(_PACE)
    signal.signal(signal.SIGTERM, _end)  # else the terminal would be left on its other screen
    with Terminal(color=not no_color) as terminal, keyboard() as pressed:
        _browse(follower, terminal, pressed)
    return 0


def _browse(follower: Follower, terminal: Terminal, pressed: Keys) -> None:
    """Draw, take keys and read on, until a key quits."""
    from comfy_fsm.watch.browsing import Browsing

    browsing, advanced = Browsing(), 0.0
    while not browsing.quits:
        begun = time.monotonic()
        scene = follower.scene(time.time())
        terminal.draw(scene, browsing, follower.explain)
        pause = max(_PACE, _SHARE * (time.monotonic() - begun))
        for key in pressed(0.0 if follower.behind else max(0.0, advanced + pause - time.monotonic())):
            browsing.press(key, scene.view)
        if follower.behind or time.monotonic() >= advanced + pause:  # the log is read though a key is held down
            follower.advance(pause)
            advanced = time.monotonic()


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(BY_SIGNAL + number)
