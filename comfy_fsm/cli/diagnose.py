"""Command `diagnose`: explains the tasks of a log, with what is missing and what to do next."""

from __future__ import annotations

import os
import sys

from comfy_fsm.cli.options import Format, IdAndLog, MaybeLog, NoColor, must_be_readable
from comfy_fsm.exits import Wrong
from comfy_fsm.log.postgres.address import is_address

__all__ = [
    "diagnose",
]


def diagnose(*names: IdAndLog, log: MaybeLog = None, format: Format = "text", no_color: NoColor = False) -> int:
    """Explain the tasks of a log, or those whose prompt id begins with ID: what is missing, and what to do next.

    Parameters
    ----------
    names
        The log, which another process may be writing; before it, perhaps, how a prompt id begins.
    log
        The log, where it is not the last word.
    format
        Text to read, or json (version 1) to process.
    no_color
        No colours; the environment variable NO_COLOR does the same.
    """
    task, log = _named(*names, *(() if log is None else (log,)))
    must_be_readable(log)
    from comfy_fsm.report import diagnosis_text, json_report, text
    from comfy_fsm.report.player import replay

    found = replay(log, task=task)
    if task is not None and not found.tasks:
        raise Wrong(f"no task's prompt id begins with {task!r}; leave it out to see them all")
    if format == "json":
        print(json_report.encode_diagnoses(found))
    else:
        color = False if no_color else None
        text.lay_out(found, sys.stdout, lambda w: diagnosis_text.lines(found, w, whole=task is not None), color=color)
    sys.stdout.flush()
    return found.exit_status


def _named(*names: str) -> tuple[str | None, str]:
    """Return the beginning of an id, if one was given, and the log."""
    if len(names) not in (1, 2):
        raise Wrong("name a log, or the beginning of a prompt id and then a log; see --help")
    task, log = names[0] if len(names) == 2 else None, names[-1]
    if task is not None and os.path.isfile(task) and not (os.path.exists(log) or is_address(log)):
        raise Wrong(f"{task} is a file, and {log} is none; the log comes last: diagnose {log} {task}")
    return task, log
