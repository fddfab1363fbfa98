"""Command `tail`: prints a log as the lines of a trace, and goes on with what another process writes."""

from __future__ import annotations

from comfy_fsm.cli.export import print_lines
from comfy_fsm.cli.options import Log, must_be_readable

__all__ = ["tail"]


def tail(log: Log) -> int:
    """Print the entries of a log as lines of a trace, and each new one as it is written; ended by Ctrl-C.

    Parameters
    ----------
    log
        The log, which another process may be writing.
    """
    from comfy_fsm.log import opening

    must_be_readable(log)
    following, after = opening.follow(log), 0
    while True:
        after = print_lines(following.read(after), after)
        following.wait()
