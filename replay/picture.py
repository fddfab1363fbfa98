"""`comfy-replay picture TRACE --output FILE`: a replay as one page, or as spans for Perfetto."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from comfy_fsm.exits import Wrong
from replay.inputs import ALL, AS_IT_IS, Part, Read, Reading, must_not_overwrite, read
from replay.options import STDIN, source

__all__ = ["draw", "picture", "write_whole"]

_VERSION = 1
_Kind = Literal["html", "perfetto"]


def picture(
    *traces: Annotated[str, Parameter(name="TRACE")],
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    as_: Annotated[_Kind, Parameter(name="--as")] = "html",
    format: Annotated[Literal["text", "json", "perfetto"], Parameter(name="--format")] = "text",
    part: Part = ALL,
    reading: Reading = AS_IT_IS,
) -> int:
    """Draw traces as one page: verdict, time line, findings, tasks. It needs no network, and can be sent.

    Parameters
    ----------
    traces
        Traces, logs or captures, or - for standard input; several are merged by time.
    output
        The file to write, or - for standard output.
    as_
        What is drawn: html, a page to open in a browser; or perfetto, a Chrome trace for ui.perfetto.dev.
    format
        What is told about it: text, or json (version 1) to process; perfetto is short for --as perfetto.
    part
        What of it is drawn.
    """
    named, into = [source(trace) for trace in traces], source(output)
    must_not_overwrite(named, into)
    found = read(named, part, reading, again=True)
    content = draw(found, "perfetto" if format == "perfetto" else as_, utc=reading.utc).encode()
    write_whole(into, content)
    if into != "-":
        _tell(into, found.replay.trace.observations, len(content), format)
    return 0


def draw(found: Read, kind: _Kind, *, utc: bool = False) -> str:
    """Return the picture of a replay."""
    from comfy_fsm.report.picture import html_page, perfetto
    from comfy_fsm.report.picture.collector import scene_of
    from comfy_fsm.report.sources import Sources

    with closing(Sources(found.sources)) as again:
        scene = scene_of(found.replay, again.blocks(), found.since, found.until)
    return perfetto.encode(scene) if kind == "perfetto" else html_page.draw(found.replay, scene, utc=utc)


def write_whole(path: str, content: bytes) -> None:
    """Write a file, which appears under its name once it is whole; raises Wrong if it cannot be written."""
    if path in ("-", STDIN):
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    beside = f"{path}.part"
    try:
        with open(beside, "wb") as file:
            file.write(content)
        os.replace(beside, path)
    except OSError as error:
        raise Wrong(f"cannot write {path}: {error.strerror}; name a file that can be written") from None


def _tell(path: str, observations: int, size: int, format: str) -> None:
    from comfy_fsm.display import harmless, plural

    if format == "json":
        print(msgspec.json.encode({"picture": _VERSION, "observations": observations, "bytes": size}).decode())
    else:
        print(f"{harmless(path)}: {plural(observations, 'observation')}, {size / 1000:,.0f} kB")
