"""`comfy-replay show TRACE LINE`: a line of a trace, and those around it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from comfy_fsm.exits import Wrong
from replay.options import Format, Utc, source

__all__ = ["show"]

_LONGEST = 4_000
"""Characters of a line that are printed; as JSON it is whole."""


def show(
    trace: Annotated[str, Parameter(name="TRACE")],
    line: Annotated[int, Parameter(name="LINE")],
    /,
    *,
    context: Annotated[int, Parameter(name="--context")] = 0,
    format: Format = "text",
    utc: Utc = False,
) -> int:
    """Show a line of a trace, or of a log by its position: what a finding cites.

    Parameters
    ----------
    trace
        The trace or log; - for standard input. A trace that is named like a command is given as ./show.
    line
        Its number, counted from 1.
    context
        How many lines before and after it are shown too.
    format
        Text to read, where long lines are cut, or json (version 1) to process.
    utc
        Times in UTC, and not local ones.
    """
    _print(source(trace), line, max(context, 0), format, utc)
    return 0


def _print(trace: str, line: int, context: int, format: str, utc: bool) -> None:
    from comfy_fsm.display import harmless
    from comfy_fsm.report import excerpt
    from comfy_fsm.report.time_format import TimeFormat

    found = excerpt.excerpt(trace, line, context)
    if not any(each.line == line for each in found.lines):
        raise Wrong(f"{trace} has no line {line}")
    if format == "json":
        print(excerpt.encode(found))
        return
    times = [each.at for each in found.lines if each.at is not None]
    clock = TimeFormat(times[0] if times else None, times[-1] if times else None, utc=utc)
    for each in found.lines:
        mark = ">" if each.line == line and context else " "
        print(f"{mark}{each.line:>6}  {clock.time(each.at, fine=True):12}  {harmless(each.text, _LONGEST)}")
