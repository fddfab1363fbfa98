"""`run` submits workflows, `resume` takes up what an earlier process left; both follow tasks and save their files."""

from __future__ import annotations

import os
from typing import Any

from comfy_fsm.commands.options import (
    Capacity,
    Folder,
    LogFile,
    Server,
    Sockets,
    Token,
    Workflows,
    Wrong,
    must_be_readable,
    opening,
)
from comfy_fsm.errors import BadWorkflow

MOST = 64 * 1024 * 1024  # bytes of a workflow file; real ones have some hundred thousand


def run(
    *workflows: Workflows,
    server: Server,
    log: LogFile = "comfy-fsm.log",
    output: Folder = ".",
    capacity: Capacity = None,
    token_env: Token = None,
    sockets: Sockets = "prefer",
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
    token_env
        Name of an environment variable that holds a token; it is sent as a bearer token.
    sockets
        Whether a server that refuses sockets is followed by HTTP alone (prefer), or gets nothing (require).
    """
    if not workflows:
        raise Wrong("name a workflow file; --help tells more")
    from comfy_fsm.live import errand
    from comfy_fsm.screen import Bars

    graphs, open_client = [(name, _workflow(name)) for name in workflows], opening(server, log, token_env, sockets)
    os.makedirs(output, exist_ok=True)
    with Bars() as screen:
        return errand.submit(graphs, output, open_client, screen, capacity) or screen.status


def resume(
    *,
    server: Server,
    log: LogFile = "comfy-fsm.log",
    output: Folder = ".",
    capacity: Capacity = None,
    token_env: Token = None,
    sockets: Sockets = "prefer",
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
    token_env
        Name of an environment variable that holds a token; it is sent as a bearer token.
    sockets
        Whether a server that refuses sockets is followed by HTTP alone (prefer), or gets nothing (require).
    """
    from comfy_fsm.live import errand
    from comfy_fsm.screen import Bars

    must_be_readable(log)
    open_client = opening(server, log, token_env, sockets)
    os.makedirs(output, exist_ok=True)
    with Bars() as screen:
        return errand.resume(output, open_client, screen, capacity) or screen.status


def _workflow(name: str) -> dict[str, Any]:
    """What the file holds, if it can be posted: one that cannot is told before any other is submitted."""
    import msgspec

    from comfy_fsm.live import asks

    with open(name, "rb") as file:
        content = file.read(MOST + 1)
    try:
        workflow: dict[str, Any] = msgspec.json.decode(content[:MOST])
        asks.post(workflow)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadWorkflow(f"{name} is no JSON ({error}), so nothing was submitted; export the workflow again") from None
    except BadWorkflow as error:
        raise BadWorkflow(f"{name}: {error}") from None
    return workflow
