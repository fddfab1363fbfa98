"""Commands `recover`, `consistency` and `history`: settle tasks on what the servers show."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from comfy_fsm.cli.options import (
    NO_ACCESS,
    NONE_ASKED,
    Access,
    All,
    Asked,
    Attempts,
    DryRun,
    Id,
    LogFile,
    MaybeLog,
    Yes,
    must_be_readable,
)
from comfy_fsm.exits import UNREACHABLE, Wrong

if TYPE_CHECKING:
    from comfy_fsm.core.recovery.probes import ProbeResult
    from comfy_fsm.live.transport.comfy import Comfy

__all__ = [
    "consistency",
    "history",
    "recover",
]

_LOG = "comfy-fsm.log"
_PROVED, _OPEN = 0, 1


def recover(
    prompt_id: Id | None = None,
    /,
    *,
    all: All = False,
    asked: Asked = NONE_ASKED,
    log: LogFile = _LOG,
    yes: Yes = False,
    dry_run: DryRun = False,
    access: Access = NO_ACCESS,
) -> int:
    """Ask the servers what became of a task that was given up or is stuck, and adopt what they prove.

    Parameters
    ----------
    prompt_id
        The prompt id of the task, or how it begins.
    all
        Every task that is lost, expired, uncertain, ending, or silent; or open, if no process writes the log.
    asked
        The servers that may be asked.
    log
        The log that knows the task; without --yes it is only read, also while another process writes it.
    yes
        Write down what is done, and let it count; nothing is ever posted.
    dry_run
        Only tell what would be; so it is without --yes, too.
    access
        What a server wants before it answers.
    """
    if all == (prompt_id is not None):
        raise Wrong("name one task by its id, or give --all for all that need it; see --help")
    if yes and dry_run:
        raise Wrong("--yes acts and --dry-run does not; give one of them; without either nothing is written")
    open_servers = _asking(asked, log, access)
    from comfy_fsm.live.recovery import session
    from comfy_fsm.report import recovery_text

    found = session.run(log, open_servers, lambda one: one.recover(prompt_id, act=yes, takes_over=True), act=yes)
    return _print(recovery_text.recovery(found), found.decided, found.unreachable, found.silent)


def consistency(prompt_id: Id, /, *, asked: Asked = NONE_ASKED, log: LogFile = _LOG, access: Access = NO_ACCESS) -> int:
    """Tell which server has a task, which should, and what to do if they differ. The log is only read.

    Parameters
    ----------
    prompt_id
        The prompt id of the task, or how it begins.
    asked
        The servers that may be asked.
    log
        The log that knows the task, also one that another process writes.
    access
        What a server wants before it answers.
    """
    open_servers = _asking(asked, log, access)
    from comfy_fsm.live.recovery import session
    from comfy_fsm.report import recovery_text

    found = session.run(log, open_servers, lambda recoverer: recoverer.consistency(prompt_id))
    return _print(recovery_text.consistency(found), found.case.well, found.unreachable, found.silent)


def history(
    prompt_id: Id,
    /,
    *,
    asked: Asked = NONE_ASKED,
    log: MaybeLog = None,
    attempts: Attempts = 3,
    access: Access = NO_ACCESS,
) -> int:
    """Fetch the record of a prompt until it validates, and tell what it says and what it lacks. Nothing is written.

    Parameters
    ----------
    prompt_id
        The prompt id, also of a prompt that no log knows; or how that of a task begins.
    asked
        The servers that may be asked.
    log
        The log that knows the task; comfy-fsm.log if there is one.
    attempts
        How often to ask; each time the wait is twice as long.
    access
        What a server wants before it answers.
    """
    if attempts < 1:
        raise Wrong(f"{attempts} attempts ask nothing; give --attempts at least 1")
    path = log if log is not None else _LOG if os.path.exists(_LOG) else None
    open_servers = _asking(asked, path, access)
    from comfy_fsm.live.recovery import session
    from comfy_fsm.report import recovery_text

    found = session.run(path, open_servers, lambda recoverer: recoverer.history(prompt_id, attempts=attempts))
    return _print(recovery_text.history(found), found.case.well, found.name == "unreachable", [found.showing])


def _asking(asked: Asked, log: str | None, access: Access) -> Callable[[], list[Comfy]]:
    """Return how to reach the servers that may be asked: those that were named, or with --known those of the log."""
    if log is not None:
        must_be_readable(log)
    from comfy_fsm.cli.stderr import complain, complain_of_warnings

    complain_of_warnings(complain)
    return access.asking(asked.urls(log))


def _print(lines: Iterable[str], well: bool, unreachable: bool, silent: Iterable[ProbeResult]) -> int:
    """Print the report and return the exit status; if no server answered, print one complaint for each instead."""
    if not unreachable:
        print("\n".join(lines), flush=True)
        return _PROVED if well else _OPEN
    from comfy_fsm.cli.stderr import complain
    from comfy_fsm.report import recovery_text

    for showing in silent:
        complain(recovery_text.silence(showing))
    return UNREACHABLE
