"""Commands `watch` and `serve`: show a log while it is written, on a terminal or as a web page. Both only read."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from comfy_fsm.cli.options import Host, Log, NoColor, Once, Port, must_be_readable
from comfy_fsm.exits import BY_SIGNAL, Unavailable, Wrong

__all__ = ["serve", "watch"]

_PACE = 0.2
"""Seconds between two pictures: soon enough for an eye, and calm."""
_SHARE = 10
"""A picture that took long to draw stays on show this many times as long: drawing takes no more of the time."""


def watch(log: Log, *, once: Once = False, no_color: NoColor = False) -> int:
    """Show servers, windows, tasks and findings of a log on this terminal, while it is written; ended by q or Ctrl-C.

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
    from comfy_fsm.watch.terminal import Terminal, show

    must_be_readable(log)
    follower = Follower(log)
    if once or not sys.stdout.isatty():
        follower.open(float("inf"))
        show(follower.scene(), color=not no_color)
        return 0
    follower.open(_PACE)
    signal.signal(signal.SIGTERM, _end)  # else the terminal would be left on its other screen
    with Terminal(color=not no_color) as terminal, _keys() as pressed:
        while True:
            begun = time.monotonic()
            terminal.draw(follower.scene(time.time()))
            pause = max(_PACE, _SHARE * (time.monotonic() - begun))
            if pressed(0.0 if follower.behind else pause):
                return 0
            follower.advance(pause)


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


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits for some seconds or until `q` is pressed; without a keyboard, it only waits."""
    if os.name == "nt" or not sys.stdin.isatty():
        yield _wait
        return
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield lambda seconds: _pressed(keyboard, seconds)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(keyboard: int, seconds: float) -> bool:
    import select

    until = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([keyboard], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        keys = os.read(keyboard, 1024)
        if b"q" in keys.lower() or not keys:  # none: the terminal is gone
            return True
