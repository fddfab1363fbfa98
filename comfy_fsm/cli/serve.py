"""Command `serve`: shows a log as a web page while it is written. It only reads."""

from __future__ import annotations

import os

from comfy_fsm.cli.options import Host, Log, Port, must_be_readable
from comfy_fsm.exits import Unavailable, Wrong

__all__ = ["serve"]


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
        from comfy_fsm.serve import web_page
    except ModuleNotFoundError as error:
        raise Unavailable(f"`serve` needs {error.name}; install it: pip install 'comfy-fsm[serve]'") from None
    from comfy_fsm.cli.stderr import complain
    from comfy_fsm.watch.follower import Follower

    must_be_readable(log)
    if not 0 <= port <= 65_535:
        raise Wrong(f"there is no port {port}; name one from 1 to 65535, or 0 for any that is free")
    follower = Follower(log)
    follower.open(web_page.PACE)
    try:
        listening = web_page.listen(host, port)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0  # the standard library repeats the address in its own text
        why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
        raise Unavailable(f"cannot listen at {host} port {port}: {why}; name another with --port or --host") from None
    name, port = listening.getsockname()[:2]
    print(f"http://{f'[{name}]' if ':' in name else name}:{port}/", flush=True)
    if not web_page.is_loopback(listening):
        complain("whoever reaches this address can read the page: it has no password, and is not encrypted")
    return web_page.serve(follower, listening, host)
