"""ComfyUI's JSON and trace lines to observations, and back; the unknown is kept, never refused.

Three readers, each slower and kinder than the one before: typed msgspec, plain JSON with the fields mended,
Python's tolerant JSON (P20). What none of them reads is an `Undecodable`: a frame is never lost and never raises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TypeVar, cast, get_args

import msgspec

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation

MAX_DEPTH = 200
"""Levels of nesting that the tolerant reader follows; ComfyUI's own messages need about ten."""
MAX_CITED = 2_000
"""Characters of an unreadable frame that are kept: enough to recognise it, too few to hurt."""

_T = TypeVar("_T")
typed: Callable[[bytes | str], AnyObservation] = msgspec.json.Decoder(AnyObservation).decode
"""The first reader alone, for those who read a million lines; what it refuses with SLOW, parse may still read."""
SLOW = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_plain = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_KINDS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(AnyObservation))
_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(seen.Frame))
_DECODERS: dict[object, msgspec.json.Decoder[object]] = {}
_ENVELOPE: dict[str, tuple[type, ...]] = {
    "at": (int, float), "window": (str,), "server": (str,), "seq": (int,), "conn": (int,), "mono": (int,)
}  # fmt: skip
_UNRECOGNIZED = str(seen.Unrecognized.__struct_config__.tag)
_TEXTS = ("prompt_id", "node", "node_id", "node_type", "exception_type", "exception_message")


class Unreadable(ValueError):
    """No reader made an observation of this line; its text says why. Never leaves this project."""


def parse(line: bytes) -> AnyObservation:
    """One line of a trace; raises Unreadable, and nothing else."""
    try:
        return typed(line)
    except SLOW as error:
        why = _reason(error)
    try:
        value = _plain(line)
    except SLOW as error:
        return _tolerate(line, _reason(error))
    return _mend(value, why)


def read(line: bytes, at: float = 0.0) -> AnyObservation:
    """One line of a trace; `at` stands in for the time of a line that cannot tell its own."""
    try:
        return parse(line)
    except Unreadable as error:
        return undecodable(line, at, str(error))


def undecodable(line: bytes, at: float, error: str) -> seen.Undecodable:
    """What is kept of a line that nothing could read."""
    text = line[:MAX_CITED].decode("ascii", "backslashreplace")
    return seen.Undecodable(at=at, data=seen.UndecodableData(error=error, text=text))


def encode(observation: AnyObservation) -> bytes:
    """The line of a trace that reads back as this observation."""
    return _encode(observation)


def message_line(text: str, *, at: float, window: str, server: str, conn: int | None = None) -> bytes:
    """The trace line of a text frame, the server's JSON inside it as it came."""
    head = _encode({"at": at, "window": window, "server": server} | ({} if conn is None else {"conn": conn}))
    raw = text.encode("utf-8", "backslashreplace").replace(b"\n", b" ").replace(b"\r", b" ")
    line = head[:-1] + b',"kind":"ws.message","data":' + raw + b"}"
    try:
        _one_object(raw)  # else the text could close `data` and speak for another window, or as another kind
        parse(line)
        return line
    except Unreadable as error:
        data = {"error": str(error), "text": text[:MAX_CITED].encode("ascii", "backslashreplace").decode()}
    return head[:-1] + b',"kind":"ws.undecodable","data":' + _encode(data) + b"}"


def _one_object(raw: bytes) -> None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unreadable(_reason(error)) from None
    if not isinstance(value, dict):
        raise Unreadable("no JSON object")


def body(raw: msgspec.Raw, kind: type[_T]) -> _T | None:
    """The body of a request or answer as `kind`, or None where it is something else (P33)."""
    decoder = _DECODERS.get(kind)
    if decoder is None:  # made once for each type: to make one costs more than to use it
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind, strict=False)
    decode = cast("msgspec.json.Decoder[_T]", decoder).decode
    try:
        return decode(raw)
    except SLOW:
        pass
    try:
        return decode(_encode(_scrub(json.loads(bytes(raw)))))
    except (msgspec.ValidationError, ValueError, RecursionError):
        return None


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _tolerate(line: bytes, why: str) -> AnyObservation:
    """Python's JSON takes NaN, Infinity and lone surrogates, which ComfyUI sends (P20)."""
    try:
        value = _scrub(json.loads(line))
    except UnicodeDecodeError as error:
        raise Unreadable(f"invalid UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(why if isinstance(error, ValueError) else "nested too deeply") from None
    try:
        return typed(_encode(value))
    except msgspec.ValidationError as error:
        return _mend(value, str(error))


def _scrub(value: object, depth: int = 0) -> object:
    """The value in strict JSON: NaN and the infinities become null, lone surrogates U+FFFD."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(_scrub(key)): _scrub(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item, depth + 1) for item in value]
    return value


def _mend(value: object, why: str) -> AnyObservation:
    """JSON of an unknown shape: the frame's own fields are mended, then it is kept as unrecognized."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise Unreadable("no line of a trace: it has no kind")
    if not isinstance(value.get("at"), int | float) or isinstance(value.get("at"), bool):
        raise Unreadable("no line of a trace: it does not say when")
    envelope = {name: item for name, item in value.items() if type(item) in _ENVELOPE.get(name, ())}
    for mended in (_mend_frame(value), value | {"data": value.get("data") or {}}):
        try:
            return typed(_encode(envelope | {"kind": mended["kind"], "data": mended["data"]}))
        except msgspec.ValidationError:
            continue
    name = value["kind"]
    if name == "ws.message":
        name = _name_of(value.get("data"))
        frame = {"type": _UNRECOGNIZED, "name": name, "why": why if name in _TYPES else ""}
        return typed(_encode(envelope | {"kind": "ws.message", "data": frame}))
    return typed(_encode(envelope | {"kind": _UNRECOGNIZED, "name": name, "why": why if name in _KINDS else ""}))


def _name_of(data: object) -> str:
    name = data.get("type") if isinstance(data, dict) else None
    return name if isinstance(name, str) else ""


def _mend_frame(value: dict[str, object]) -> dict[str, object]:
    """A known frame with fields of other types: numbers where texts are due, or something to leave out."""
    message = value.get("data")
    if value["kind"] != "ws.message" or not isinstance(message, dict) or not isinstance(message.get("data"), dict):
        return {"kind": "", "data": None}
    data: dict[str, object] = {}
    for name, item in message["data"].items():
        if name in _TEXTS and item is not None and not isinstance(item, str):
            if isinstance(item, int | float):
                data[name] = str(item)
        elif name == "nodes" and isinstance(item, list):
            data[name] = [str(node) for node in item if isinstance(node, str | int)]
        elif name != "timestamp" or isinstance(item, int | float):
            data[name] = item
    return {"kind": "ws.message", "data": {"type": message.get("type"), "data": data}}
