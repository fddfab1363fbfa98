"""Captures of other tools to trace files: `comfy-replay import CAPTURE --output TRACE`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing

from comfy_fsm.captures.capture import Capture
from comfy_fsm.captures.reading import read_capture
from comfy_fsm.errors import NotATrace
from comfy_fsm.log.trace import open_packed

__all__ = ["import_capture"]

_DONE, _DAMAGED = 0, 1


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
