"""Captures of other tools to trace files: `comfy-replay import CAPTURE --output TRACE`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Annotated

from cyclopts import Parameter

from comfy_fsm.captures.capture import Capture
from comfy_fsm.captures.reading import read_capture
from comfy_fsm.errors import NotATrace
from comfy_fsm.exits import Wrong
from comfy_fsm.log.trace import open_packed
from replay.options import note, source

__all__ = ["import_", "import_capture"]

_DONE, _DAMAGED = 0, 1


def import_(
    capture: Annotated[str, Parameter(name="CAPTURE")],
    *,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
) -> int:
    """Write what another tool recorded as a trace, without workflows and credentials.

    Parameters
    ----------
    capture
        A HAR of a browser, mitmproxy or Playwright, or bare frames ({"type": …, "data": …}) of a script; packed or not.
    output
        The trace file to write, or - for standard output.
    """
    path, into = source(capture), source(output)
    if into != "-" and os.path.realpath(path) == os.path.realpath(into):
        raise Wrong(f"--output {output} would write the trace over the capture; name another file")
    return import_capture(path, into, note)


def import_capture(path: str, output: str, note: Callable[[str], None]) -> int:
    """Write a HAR or bare frames as a trace, without what may not be written down; returns the exit status.

    What the capture cannot tell is said by `note`, and stands as comments at the head of the trace. Raises NotATrace
    where the file is no capture, OSError where a file cannot be read or written.
    """
    with closing(open_packed(path)) as packed:
        capture = read_capture(packed, path)
    if capture is None:
        raise NotATrace(f"{path}: neither a HAR nor bare frames; a trace or a log needs no import: replay it as it is")
    remarks = [*capture.notes, *([f"damaged: {capture.damage}"] if capture.damage is not None else [])]
    for remark in remarks:
        note(f"{path}: {remark}")
    _write(capture, remarks, output)
    return _DONE if capture.damage is None else _DAMAGED


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
