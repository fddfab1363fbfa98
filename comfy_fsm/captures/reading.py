"""Dispatch of a file that may be a capture to its reader: the one way in."""

from __future__ import annotations

from comfy_fsm.captures.capture import Capture, Pieces
from comfy_fsm.captures.detection import form_of
from comfy_fsm.captures.frame_dump import from_items, from_lines
from comfy_fsm.captures.har import read_har
from comfy_fsm.captures.server_log import read_server_log
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.log.trace import Packed, blocks, opening, raw_lines

__all__ = ["read_capture"]


def read_capture(packed: Packed, name: str, redactor: Redactor | None = None) -> Capture | None:
    """Read a capture whole, without what may not be written down; None where the file is none."""
    head = opening(packed)
    form = form_of(head)
    if form is None:
        return None
    redactor = redactor or Redactor()
    if form == "har":
        return read_har(Pieces(blocks(packed, name)), redactor, name)
    if form == "server-log":
        return read_server_log(raw_lines(packed, name), redactor)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        return from_items(Pieces(blocks(packed, name)), redactor)
    return from_lines(raw_lines(packed, name), redactor)
