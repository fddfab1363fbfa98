"""Recognise a capture by its first bytes; what is none is left to the reader of traces."""

from __future__ import annotations

import json
import re

from comfy_fsm.captures.capture import Form
from comfy_fsm.captures.frame_dump import unwrapped
from comfy_fsm.captures.server_log import is_server_log

__all__ = ["form_of"]

_HAR = re.compile(rb'\{\s*"log"\s*:\s*\{')
_BARE = re.compile(rb'\{\s*"type"\s*:\s*"\w')


def form_of(head: bytes) -> Form | None:
    """Return what these first unpacked bytes of a file begin, if it is a capture that has a reader here."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HAR.match(head):
        return "har"
    if is_server_log(head):
        return "server-log"
    first = head[1:].lstrip() if head.startswith(b"[") else head
    try:
        value, _ = json.JSONDecoder().raw_decode(first.decode("utf-8", "replace"))
    except RecursionError:
        return None
    except ValueError:  # a frame that is longer than what is seen here
        return "frames" if _BARE.match(first) and b'"kind"' not in first else None
    return "frames" if unwrapped(value) is not None else None
