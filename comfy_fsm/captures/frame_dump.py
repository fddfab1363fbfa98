"""Frames that a script wrote down, `{"type": …, "data": …}`, as a trace: one to a line, or a list of them.

They say nothing of windows, servers and requests; of time only what was written beside them, or into them by ComfyUI.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.json import encode

from comfy_fsm.captures.capture import MAX_KEPT, Capture, Pieces
from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import TraceError
from comfy_fsm.live.redaction.messages import Redactor

__all__ = ["NOBODY", "NOWHERE", "from_items", "from_lines", "seconds", "unwrapped"]

NOBODY, NOWHERE = "unknown-window", "http://unknown-server"
_TIMES = (
    "timestamp", "time", "ts", "at", "t", "date", "datetime", "created_at", "received_at", "received", "recv_time",
    "wall_time", "when", "@timestamp",
)  # fmt: skip
_WRAPPERS = ("message", "msg", "frame", "payload", "data", "raw", "event", "text", "body")
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""From which number on a time counts nanoseconds, microseconds or milliseconds: seconds have ten digits until 2286."""


def unwrapped(value: object) -> tuple[dict[str, Any], float | None] | None:
    """Return the frame in this value, with the time beside it in seconds, if there is one; None if it is no frame."""
    if not isinstance(value, Mapping) or "kind" in value:
        return None
    if isinstance(value.get("type"), str) and isinstance(value.get("data"), Mapping):
        beside = {name: item for name, item in value.items() if name not in ("type", "data")}
        return {"type": value["type"], "data": value["data"]}, _time_in(beside)
    for name in _WRAPPERS:
        inner = value.get(name)
        if isinstance(inner, str) and inner.lstrip().startswith("{"):
            try:
                inner = json.loads(inner)
            except (ValueError, RecursionError):
                continue
        if isinstance(inner, Mapping) and isinstance(inner.get("type"), str) and "kind" not in inner:
            return {"type": inner["type"], "data": inner.get("data")}, _time_in(value)
    return None


def seconds(value: object) -> float | None:
    """Return a time as seconds since the epoch: a number in any usual unit, or an ISO 8601 text."""
    if isinstance(value, str):
        value = _of_text(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e20:
        return None
    return float(value) / next((unit for least, unit in _UNITS if value >= least), 1.0)


def _of_text(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        told = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _time_in(beside: Mapping[str, object]) -> float | None:
    lower = {str(name).lower(): item for name, item in beside.items()}
    return next((told for name in _TIMES if (told := seconds(lower.get(name))) is not None), None)


def from_lines(lines: Iterable[tuple[list[bytes | str], bool]], redactor: Redactor) -> Capture:
    """Read frames, one to a line; a text in place of a line says what is wrong with it."""
    damage: list[str] = []

    def values() -> Iterator[object]:
        for some, _ in lines:
            for line in some:
                if isinstance(line, str):
                    damage.append(line)
                elif line.strip():
                    yield line

    return _read(values(), redactor, damage)


def from_items(pieces: Pieces, redactor: Redactor) -> Capture:
    """Read a JSON list of frames."""
    import ijson  # here, since few commands need it

    damage: list[str] = []

    def values() -> Iterator[object]:
        count = 0
        try:
            for value in ijson.items(pieces, "item", use_float=True):
                count += 1
                yield value
        except ijson.JSONError:
            damage.append(pieces.damage or f"the list is cut off after {count} frames")

    return _read(values(), redactor, damage)


def _read(values: Iterator[object], redactor: Redactor, damage: list[str]) -> Capture:
    lines: list[bytes] = []
    known = set[str]()
    window, at, kept = NOBODY, 0.0, 0
    number = timed = unread = 0
    for number, value in enumerate(values, 1):
        found = unwrapped(_loads(value))
        if found is None:
            unread += 1
            text = value if isinstance(value, bytes) else encode(value)
            some = [codec.encode(codec.undecodable(text, at, "no frame: it has no `type` and no `data`"))]
        else:
            frame, beside = found
            told = beside if beside is not None else _time_inside(frame)
            timed += told is not None
            at = max(at, told) if told is not None else at if timed else float(number)
            window = _sid(frame) or window
            some = [codec.encode(follow) for follow in _follows(frame, known, at, window)]
            shown = redactor.frame(json.dumps(frame, ensure_ascii=False))
            some.append(codec.message_line(shown, at=at, window=window, server=NOWHERE))
        lines += map(redactor.scrub, some)
        kept += sum(map(len, some))
        if kept > MAX_KEPT:
            why = f"more than {MAX_KEPT} bytes of frames were not read; cut the file into parts"
            raise TraceError(f"frame {number}: {why}", number)
    return Capture("frames", lines, _notes(number, timed, unread), damage[0] if damage else None)


def _loads(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    try:
        return codec.loads(value)
    except codec.Unreadable:
        return None


def _notes(count: int, timed: int, unread: int) -> list[str]:
    notes = [
        f"{count} bare frames: they name no window, no server and no request, so an end is at best stated, and other "
        "windows cannot be told apart"
    ]
    if not timed:
        notes.append("no frame has a time: the number of its line stands in for it, and durations mean nothing")
    if unread:
        notes.append(f"{unread} entries are no frames: each is kept as undecodable")
    return notes


def _time_inside(frame: Mapping[str, Any]) -> float | None:
    """ComfyUI writes its own time into the frames of an execution, in milliseconds (P13)."""
    data = frame["data"]
    return seconds(data.get("timestamp")) if isinstance(data, Mapping) else None


def _sid(frame: Mapping[str, Any]) -> str | None:
    """Return the window that the first status of a socket names (P2)."""
    data = frame["data"]
    sid = data.get("sid") if frame["type"] == "status" and isinstance(data, Mapping) else None
    return sid if isinstance(sid, str) and sid else None


def _follows(frame: Mapping[str, Any], known: set[str], at: float, window: str) -> Iterator[seen.Command]:
    """Return the command that follows a prompt: whoever wrote frames down did, and no POST says so."""
    data = frame["data"]
    prompt_id = data.get("prompt_id") if isinstance(data, Mapping) else None
    if isinstance(prompt_id, str) and prompt_id not in known:
        known.add(prompt_id)
        yield seen.Command(at=at, window=window, server=NOWHERE, data=seen.CommandData("follow", prompt_id))
