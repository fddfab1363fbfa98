"""Commands `run` and `resume`: submit workflows or continue earlier ones, follow the tasks and save their files."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable

from comfy_fsm.cli.options import (
    NO_ACCESS,
    NONE_ASKED,
    PLAINLY,
    PROGRAM,
    Access,
    Asked,
    LogFile,
    Servers,
    Work,
    Workflows,
    must_be_readable,
)
from comfy_fsm.exits import Wrong
from comfy_fsm.log.postgres.address import hide_passwords
from comfy_fsm.workflow.files import Order, read

__all__ = [
    "complain_of_oddities",
    "resume",
    "resuming",
    "run",
]


def run(
    *workflows: Workflows,
    server: Servers = None,
    log: LogFile = "comfy-fsm.log",
    work: Work = PLAINLY,
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
    work
        How workflows are submitted, and where their files go.
    """
    if not server:
        raise Wrong(f"run needs --server; `{PROGRAM} run --help` shows more")
    if not workflows:
        raise Wrong("name a workflow file; see --help")
    from comfy_fsm.cli.runs import session
    from comfy_fsm.cli.runs.display import Bars

    orders, open_client = [read(name) for name in workflows], access.opening(server, log, work)
    os.makedirs(work.output, exist_ok=True)
    with Bars() as screen:
        complain_of_oddities(orders, screen.complain)
        settings = session.RunSettings(work.output, open_client, screen, work.capacity, resuming(sys.argv))
        return session.submit(orders, settings) or screen.status


def resume(
    *,
    asked: Asked = NONE_ASKED,
    log: LogFile = "comfy-fsm.log",
    work: Work = PLAINLY,
    access: Access = NO_ACCESS,
) -> int:
    """Take up what an earlier process left in its log: open tasks, and results that nobody got.

    Parameters
    ----------
    asked
        The servers that may be asked.
    log
        The log of the earlier process.
    work
        How workflows are submitted, and where their files go.
    """
    from comfy_fsm.cli.runs import session
    from comfy_fsm.cli.runs.display import Bars

    must_be_readable(log)
    open_client = access.opening(asked.urls(log), log, work)
    os.makedirs(work.output, exist_ok=True)
    with Bars() as screen:
        settings = session.RunSettings(work.output, open_client, screen, work.capacity, resuming(sys.argv))
        return session.resume(settings) or screen.status


def complain_of_oddities(orders: Iterable[Order], say: Callable[[str], None]) -> None:
    """Print one line for each file that was not simply a workflow."""
    for order in orders:
        if order.told:
            say(f"{order.name}: {'; '.join(order.told)}")


def resuming(arguments: list[str]) -> str:
    """Return the `resume` command that continues this run: the same options, without the workflows."""
    words, rest = [], iter(arguments[2:])
    for word in rest:
        if word.startswith("--"):
            words += [word] if "=" in word or word == "--known" else [word, next(rest, "")]
    shown = (re.sub(r"(?<=//)[^/@]*@", "…@", hide_passwords(word)) for word in words)
    return f"{PROGRAM} {shlex.join(('resume', *shown))}"
