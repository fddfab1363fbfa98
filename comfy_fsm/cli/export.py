"""Command `export`: prints a log as the lines of a trace."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from comfy_fsm.cli.options import Log, must_be_readable

if TYPE_CHECKING:
    from comfy_fsm.log.chain import LogRow

__all__ = ["export", "print_lines"]


def export(log: Log) -> int:
    """Print a log as a trace (JSON Lines): `export LOG > trace.jsonl`.

    Parameters
    ----------
    log
        The log, which another process may be writing.
    """
    from comfy_fsm.log import opening

    must_be_readable(log)
    print_lines(opening.read(log), 0)
    return 0


def print_lines(records: Iterable[LogRow], after: int) -> int:
    """Print the lines of records on standard output; returns the last position, `after` if there was none."""
    for record in records:
        after = record.position
        if record.damage is not None:
            print(_spelled_out(f"# position {record.position}: {record.damage}"))
        if record.line is not None:
            print(_spelled_out(record.line.decode("utf-8", "backslashreplace")))
    sys.stdout.flush()
    return after


def _spelled_out(line: str) -> str:
    """Return the same JSON with terminal controls escaped: JSON allows U+007F to U+009F and bidirectional marks
    unescaped.
    """
    if line.isprintable():
        return line
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)
