"""Captures of other tools to trace files: `comfy-replay import CAPTURE --output TRACE`."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import Annotated

import msgspec
from cyclopts import Parameter

from comfy_fsm.captures.capture import Capture
from comfy_fsm.captures.reading import read_capture
from comfy_fsm.errors import NotATrace
from comfy_fsm.exits import Wrong
from comfy_fsm.log.trace import open_packed
from replay.options import Format, note, source

__all__ = ["import_"]

_DONE, _DAMAGED = 0, 1


def import_(
    capture: Annotated[str, Parameter(name="CAPTURE")],
    *,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    format: Format = "text",
) -> int:
    """Write what another tool recorded as a trace, without workflows and credentials.

    Parameters
    ----------
    capture
        A HAR of a browser, mitmproxy or Playwright, bare frames ({"type": …, "data": …}) of a script, or ComfyUI's own
        log; packed or not.
    output
        The trace file to write, or - for standard output.
    format
        What is told of it: text, on standard error, or json (version 1), on standard output.
    """
    path, into = source(capture), source(output)
    if into != "-" and os.path.realpath(path) == os.path.realpath(into):
        raise Wrong(f"--output {output} would write the trace over the capture; name another file")
    if into == "-" and format == "json":
        raise Wrong("--format json and the trace would both go to standard output; name a file by --output")
    found = _read(path)
    remarks = [*found.notes, *([f"damaged: {found.damage}"] if found.damage is not None else [])]
    _write(found, remarks, into)
    if format == "json":
        told = {"import": 1, "from": found.form, "lines": len(found.lines), "lost": remarks}
        print(msgspec.json.encode(told).decode())
    else:
        for remark in remarks:
            note(f"{path}: {remark}")
    return _DONE if found.damage is None else _DAMAGED


def _read(path: str) -> Capture:
    with closing(open_packed(path)) as packed:
        capture = read_capture(packed, path)
    if capture is None:
        raise NotATrace(
            f"{path}: no HAR, no bare frames and no log of ComfyUI; a trace, or a log of ours, needs no import: replay "
            "it as it is"
        )
    return capture


def _write(capture: Capture, remarks: list[str], output: str) -> None:
    """Comments, then lines; a file appears under its name once it is whole."""
    comments = [f"# {ascii(remark)[1:-1]}".encode() for remark in remarks]
    content = b"".join(line + b"\n" for line in (*comments, *capture.lines))
    if output == "-":
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    beside = f"{output}.part"
    with open(beside, "wb") as file:
        file.write(content)
    os.replace(beside, output)
