"""`comfy-replay cover DIR`: what of the state machine and of the findings a corpus of traces reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from comfy_fsm.errors import LogError, TraceError
from comfy_fsm.exits import Wrong
from replay.options import Format, note

if TYPE_CHECKING:
    from replay.comparison.coverage import Coverage, FoundRow

__all__ = ["cover", "fields", "tell"]


def cover(
    *paths: Annotated[str, Parameter(name="DIR")],
    format: Format = "text",
) -> int:
    """Count the rows of the state machine and the findings that traces reach: those that move a task first.

    Parameters
    ----------
    paths
        Folders with traces (.jsonl, .har; .gz, .zst), at any depth; or single traces and logs.
    format
        Text to read, or json (version 1) to process.
    """
    from replay.comparison.coverage import Coverage, measure, traces_in

    coverage = Coverage()
    for path in paths:
        for trace in traces_in(path):
            try:
                measure(trace, coverage)
            except (TraceError, LogError) as error:
                note(f"left out: {error}")
    if not coverage.traces:
        raise Wrong("no trace was found; name a folder that holds some")
    if format == "json":
        import msgspec

        print(msgspec.json.encode({"cover": 1, "traces": coverage.traces, **fields(coverage)}).decode())
    else:
        tell(coverage)
    return 0


def fields(coverage: Coverage) -> dict[str, object]:
    """Return what the JSON has of it: every row and every finding, with the traces that reach it."""
    rows = [{"state": row.state, "signal": row.signal, "next": row.next, "traces": row.traces} for row in coverage.rows]
    findings = [{"code": code, "traces": count} for code, count in coverage.findings.items()]
    return {"rows": rows, "findings": findings}


def tell(coverage: Coverage) -> None:
    """Print it, what moves a task first."""
    from comfy_fsm.display import plural

    moving = [row for row in coverage.rows if row.moves]
    staying = [row for row in coverage.rows if not row.moves]
    findings = coverage.findings
    print(
        f"{plural(coverage.traces, 'trace')}: {_of(moving)} rows that move a task, {_of(staying)} that do not, "
        f"{sum(map(bool, findings.values()))} of {len(findings)} findings"
    )
    for title, rows in (("moves", moving), ("stays", staying)):
        for row in rows:
            if row.traces:
                print(f"{row.traces:6}  {title}  {row.state} --{row.signal}-> {row.next}")
    for row in moving:
        if not row.traces:
            print(f" never  moves  {row.state} --{row.signal}-> {row.next}")
    for code, count in findings.items():
        print(f"{count or 'never':>6}  finding  {code}")
    unseen = sum(not row.traces for row in staying)
    if unseen:
        print(f"{plural(unseen, 'row')} that move no task are never seen; --format json lists them")


def _of(rows: list[FoundRow]) -> str:
    return f"{sum(bool(row.traces) for row in rows)} of {len(rows)}"
