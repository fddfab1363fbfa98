"""`comfy-replay anonymize TRACE --output FILE`: a trace without what is personal in it, judged alike."""

from __future__ import annotations

from typing import Annotated

import msgspec
from cyclopts import Parameter

from replay.inputs import must_not_overwrite
from replay.options import Format, source
from replay.picture import write_whole

__all__ = ["anonymize"]

_VERSION = 1


def anonymize(
    trace: Annotated[str, Parameter(name="TRACE")],
    /,
    *,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    format: Format = "text",
) -> int:
    """Write a trace in which ids, hosts, file names and texts have other names. Its verdict is the same.

    Parameters
    ----------
    trace
        A trace, a log or a capture, or - for standard input.
    output
        The trace file to write, or - for standard output.
    format
        What is told about it: text, or json (version 1) to process.
    """
    named, into = source(trace), source(output)
    must_not_overwrite([named], into)
    lines = _anonymous(named)
    write_whole(into, b"".join(line + b"\n" for line in lines))
    if into != "-":
        _tell(into, len(lines), format)
    return 0


def _anonymous(named: str) -> list[bytes]:
    """Return its lines without what is personal in them; raises NotATrace where these are no trace."""
    from comfy_fsm.anonymity.anonymizer import anonymized
    from comfy_fsm.log.trace import read_lines
    from comfy_fsm.report.sources import lines

    found = list(anonymized(line for _, line in lines(named)))
    for _ in read_lines(found, named):
        break
    return found


def _tell(path: str, count: int, format: str) -> None:
    from comfy_fsm.display import harmless, plural

    if format == "json":
        print(msgspec.json.encode({"anonymize": _VERSION, "lines": count}).decode())
    else:
        print(f"{harmless(path)}: {plural(count, 'line')}; look through it before you send it")
