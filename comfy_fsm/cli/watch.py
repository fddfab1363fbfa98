"""Commands `watch` and `serve`: show a log while it is written, on a terminal or as a web page. Both only read."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from comfy_fsm.cli.options import Host, Log, NoColor, Once, Port, must_be_readable
from comfy_fsm.exits import BY_SIGNAL, Unavailable, Wrong

if TYPE_CHECKING:
    from comfy_fsm.watch.follower import Follower
    from comfy_fsm.watch.keyboard import Keys
    from comfy_fsm.watch.terminal import Terminal

__all__ = ["serve", "watch"]

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


def serve(log: Log, *, port: Port = 8199, host: Host = "127.0.0.1") -> int:
    """Show what `watch` shows as a page for a browser on this machine, read-only; ended by Ctrl-C.

    Parameters
    ----------
    log
        The log, which another process may be writing.
    port
        Where to listen; 0 is any that is free.
    host
        The address to listen at. Any but this machine's own lets others read the page: there is no password.
    """
    try:
        from comfy_fsm.watch import page
    except ModuleNotFoundError as error:
        raise Unavailable(f"`serve` needs {error.name}; install it: pip install 'comfy-fsm[serve]'") from None
    from comfy_fsm.cli.progress import complain
    from comfy_fsm.watch.follower import Follower

    must_be_readable(log)
    if not 0 <= port <= 65_535:
        raise Wrong(f"there is no port {port}; name one from 1 to 65535, or 0 for any that is free")
    follower = Follower(log)
    follower.open(_PACE)
    try:
        listening = page.listen(host, port)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0  # the standard library repeats the address in its own text
        why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"cannot listen at {host} port {port}: {why}; name another with --port or --host") from None
    name, port = listening.getsockname()[:2]
    print(f"http://{f'[{name}]' if ':' in name else name}:{port}/", flush=True)
    if not page.is_loopback(listening):
        complain("whoever reaches this address can read the page: it has no password, and is not encrypted")
    return page.serve(follower, listening, host)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(BY_SIGNAL + number)
