"""`run` submits workflows, `resume` takes up what an earlier process left; both follow tasks and save their files."""

from __future__ import annotations

import os
import re
import shlex
import sys

from comfy_fsm.cli.options import (
    NO_ACCESS,
    Access,
    Capacity,
    Extra,
    Folder,
    LogFile,
    Server,
    Sockets,
    Workflows,
    Wrong,
    must_be_readable,
)
from comfy_fsm.cli.workflows import tell
from comfy_fsm.workflow.files import read

__all__ = ["resume", "resuming", "run"]


def run(
    *workflows: Workflows,
    server: Server,
    log: LogFile = "comfy-fsm.log",
    output: Folder = ".",
    capacity: Capacity = None,
    extra: Extra = None,
    sockets: Sockets = "prefer",
    access: Access = NO_ACCESS,
) -> int:
    """Submit workflows in API format, follow them, and save what they produce.

    Parameters
    ----------
    workflows
        Files with a workflow in API format.
    server
        Address of a server, such as http://127.0.0.1:8188; may be given several times.
    log
        The log in which everything is written down; made if there is none.
    output
        The folder to save files into.
    capacity
        How many tasks a server may hold at once; the rest waits in the log, and goes to whichever ends it first.
    extra
        NAME=ENV: send this in extra_data with the value of that environment variable, such as
        api_key_comfy_org=KEY for partner nodes; may be repeated.
    sockets
        Whether a server that refuses sockets is followed by HTTP alone (prefer), or gets nothing (require).
    """
    if not workflows:
        raise Wrong("name a workflow file; --help tells more")
    from comfy_fsm.cli import session
    from comfy_fsm.cli.progress import Bars

    orders, open_client = [read(name) for name in workflows], access.opening(server, log, extra, sockets)
    os.makedirs(output, exist_ok=True)
    with Bars() as screen:
        tell(orders, screen.complain)
        return session.submit(orders, output, open_client, screen, capacity, resuming(sys.argv)) or screen.status


def resume(
    *,
    server: Server,
    log: LogFile = "comfy-fsm.log",
    output: Folder = ".",
    capacity: Capacity = None,
    extra: Extra = None,
    sockets: Sockets = "prefer",
    access: Access = NO_ACCESS,
) -> int:
    """Take up what an earlier process left in its log: open tasks, and results that nobody got.

    Parameters
    ----------
    server
        Address of a server; name all that the log knows.
    log
        The log of the earlier process.
    output
        The folder to save files into.
    capacity
        How many tasks a server may hold at once; the rest waits in the log, and goes to whichever ends it first.
    extra
        NAME=ENV: send this in extra_data with the value of that environment variable, such as
        api_key_comfy_org=KEY for partner nodes; may be repeated.
    sockets
        Whether a server that refuses sockets is followed by HTTP alone (prefer), or gets nothing (require).
    """
    from comfy_fsm.cli import session
    from comfy_fsm.cli.progress import Bars

    must_be_readable(log)
    open_client = access.opening(server, log, extra, sockets)
    os.makedirs(output, exist_ok=True)
    with Bars() as screen:
        return session.resume(output, open_client, screen, capacity, resuming(sys.argv)) or screen.status


def resuming(arguments: list[str]) -> str:
    """The command that takes up what this one left: its options, each of which has a value, and no workflow."""
    words, rest = [], iter(arguments[2:])
    for word in rest:
        if word.startswith("--"):
            words += [word] if "=" in word else [word, next(rest, "")]
    shown = (re.sub(r"(?<=//)[^/@]*@", "…@", word) for word in words)
    return shlex.join(("python", "-m", "comfy_fsm", "resume", *shown))
