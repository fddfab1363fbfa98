"""Codec: reads ComfyUI's JSON and trace lines as observations, and writes them; the unknown is kept, never refused.

Three readers, each slower and more tolerant than the one before: typed msgspec, plain JSON with repaired fields,
Python's tolerant JSON (P20). What none of them can read becomes an `Undecodable`: a frame is never lost and never
raises.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar, cast, get_args

import msgspec

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation

__all__ = [
    "MAX_CITED",
    "MAX_DEPTH",
    "SLOW",
    "Unreadable",
    "as_kind",
    "binary_line",
    "body",
    "encode",
    "image_of",
    "loads",
    "message",
    "message_line",
    "parse",
    "quick",
    "read",
    "strict",
    "typed",
    "undecodable",
]

MAX_DEPTH = 200
"""Levels of nesting that the tolerant reader follows; ComfyUI's own messages need about ten."""
MAX_CITED = 2_000
"""Characters kept of an unreadable frame: enough to recognise it, too few to do harm."""

_FORMATS = {1: "image/jpeg", 2: "image/png"}  # of previews (P7)
_STEP = 256 * 1024
_NONE = memoryview(b"")
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_T = TypeVar("_T")
typed: Callable[[bytes | str], AnyObservation] = msgspec.json.Decoder(seen.KnownObservation).decode
"""First reader alone, for those who read a million lines; what it refuses with SLOW, `parse` may still read."""
SLOW = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_plain = msgspec.json.Decoder().decode
_frame = msgspec.json.Decoder(seen.Frame).decode
_encode = msgspec.json.Encoder().encode
_KINDS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(seen.KnownObservation))
_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(seen.KnownFrame))

_DECODERS: dict[object, msgspec.json.Decoder[object]] = {}
_ENVELOPE: dict[str, tuple[type, ...]] = {
    "at": (int, float), "window": (str,), "server": (str,), "seq": (int,), "conn": (int,), "mono": (int,),
    "redacted": (bool,),
}  # fmt: skip
_TEXTS = ("prompt_id", "node", "node_id", "node_type", "exception_type", "exception_message")


class Unreadable(ValueError):
    """Raised when no observation can be made of a line; the text says why. Internal to this project."""


def parse(line: bytes) -> AnyObservation:
    """Read one line of a trace; raises Unreadable, and nothing else."""
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
    """Read one line of a trace, or keep it as undecodable; `at` replaces the time of a line that has none."""
    try:
        return parse(line)
    except Unreadable as error:
        return undecodable(line, at, str(error))


def undecodable(line: bytes, at: float, error: str) -> seen.Undecodable:
    """Return the observation that keeps a line which nothing could read."""
    text = line[:MAX_CITED].decode("ascii", "backslashreplace")
    return seen.Undecodable(at=at, data=seen.UndecodableData(error=error, text=text))


def encode(observation: AnyObservation) -> bytes:
    """Return the line of a trace that reads back as this observation."""
    return _encode(observation)


def message_line(text: str, *, at: float, window: str, server: str, conn: int | None = None) -> bytes:
    """Return the trace line of a text frame, with the server's JSON inside it as it came."""
    return message(text, at=at, window=window, server=server, conn=conn)[0]


def message(text: str, *, at: float, window: str, server: str, conn: int | None = None) -> tuple[bytes, AnyObservation]:
    """Return the same line with its observation, for callers that fold it at once and should not read it again."""
    raw = text.encode("utf-8", "backslashreplace")
    if b"\n" in raw or b"\r" in raw:
        raw = raw.replace(b"\n", b" ").replace(b"\r", b" ")
    line = b'{"at":%b%b"ws.message","data":%b}' % (_encode(at), _tail(window, server, conn), raw)
    try:
        # The frame is read by itself: otherwise the text could close `data` and pose as another window, or as another
        # kind. The decoder checks on the way that it is one frame and no more, so the line need not be read again.
        return line, seen.Message(at=at, window=window, server=server, conn=conn, data=_frame(raw))
    except SLOW:
        pass
    try:
        _one_object(raw)
        return line, parse(line)
    except Unreadable as error:
        data = seen.UndecodableData(str(error), text[:MAX_CITED].encode("ascii", "backslashreplace").decode())
    unread = seen.Undecodable(at=at, window=window, server=server, conn=conn, data=data)
    return encode(unread), unread


@lru_cache(maxsize=1_000)
def _tail(window: str, server: str, conn: int | None) -> bytes:
    """Return the text between the time and the kind: the same for each frame of a connection."""
    names = {"window": window, "server": server} | ({} if conn is None else {"conn": conn})
    return b"," + _encode(names)[1:-1] + b',"kind":'


def _one_object(raw: bytes) -> None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unreadable(_reason(error)) from None
    if not isinstance(value, dict):
        raise Unreadable("no JSON object")


def binary_line(payload: bytes, *, at: float, window: str, server: str, conn: int | None = None) -> bytes:
    """Return the trace line of a binary frame, whatever is in it; of an image, size and digest are kept (P7)."""
    data = {"event": int.from_bytes(payload[:4]), "bytes": len(payload), **_told(payload)}
    if (image := image_of(payload)) is not None:
        data |= {"size": len(image), "digest": hashlib.sha256(image).hexdigest()}
    return b'{"at":%b%b"ws.binary","data":%b}' % (_encode(at), _tail(window, server, conn), _encode(data))


def image_of(payload: bytes) -> bytes | None:
    """Return the image of a preview, with or without metadata before it; None if there is none."""
    event, view = int.from_bytes(payload[:4]), memoryview(payload)
    if event == 4:
        return _copied(_sized(view, 4)[1]) or None
    return _copied(view[8:]) or None if event == 1 else None


def _copied(view: memoryview) -> bytes:
    """Copy in steps: while bytes are copied, no other thread has a turn."""
    return b"".join([bytes(view[at : at + _STEP]) for at in range(0, len(view), _STEP)])


def _told(payload: bytes) -> dict[str, object]:
    """Return what a binary frame says beside its image; nothing if it is malformed."""
    view = memoryview(payload)
    match int.from_bytes(payload[:4]):
        case 1:
            name = _FORMATS.get(int.from_bytes(payload[4:8]))
            return {"format": name} if name else {}
        case 3:
            return _progress_text(view)
        case 4:
            return {"metadata": metadata} if (metadata := _metadata(_sized(view, 4)[0])) else {}
    return {}


def _sized(payload: memoryview, start: int) -> tuple[memoryview, memoryview]:
    """Split off a part that is preceded by its length in four bytes; both are empty if the length is too large."""
    end = start + 4 + int.from_bytes(payload[start : start + 4])
    return (payload[start + 4 : end], payload[end:]) if start + 4 <= end <= len(payload) else (_NONE, _NONE)


def _progress_text(payload: memoryview) -> dict[str, object]:
    """Return node and text, and the prompt that precedes them if a newer server and its client agreed on it."""
    first, rest = _sized(payload, 4)
    if not first:
        return {}
    node, text = _sized(rest, 0)
    if node and _UUID.fullmatch(first):  # no node has such an id, and no text begins with a length
        return {"metadata": {"prompt_id": _cited(first)}, "node": _cited(node), "text": _cited(text)}
    return {"node": _cited(first), "text": _cited(rest)}


def _metadata(raw: memoryview) -> dict[str, str | None]:
    """Return the texts of the metadata, cut before they are read, so that forged ones cannot be long or deep."""
    try:
        value = _plain(bytes(raw[:MAX_CITED]))
    except SLOW:
        return {}
    texts = value.items() if isinstance(value, dict) else ()
    return {name: item for name, item in texts if item is None or isinstance(item, str)}


def _cited(raw: memoryview) -> str:
    return bytes(raw[:MAX_CITED]).decode("utf-8", "replace")


def body(raw: msgspec.Raw, kind: type[_T]) -> _T | None:
    """Decode the body of a request or an answer as `kind`; None if it is something else (P33)."""
    decoded = quick(raw, kind)
    if decoded is not None:
        return decoded
    try:
        return as_kind(loads(bytes(raw)), kind)
    except Unreadable:
        return None


def as_kind(value: object, kind: type[_T]) -> _T | None:
    """Read a value that `loads` returned as `kind`; None if it is something else."""
    try:
        return cast("_T", (_DECODERS.get(kind) or _decoder(kind)).decode(_encode(value)))
    except (msgspec.ValidationError, ValueError, RecursionError):
        return None


def quick(raw: msgspec.Raw, kind: type[_T]) -> _T | None:
    """Decode JSON as `kind`; None if it is something else, or if only Python's JSON takes it (P20)."""
    try:
        return cast("_T", (_DECODERS.get(kind) or _decoder(kind)).decode(raw))
    except SLOW:
        return None


def _decoder(kind: type[object]) -> msgspec.json.Decoder[object]:
    """Make a decoder, once for each type: to make one costs more than to use it."""
    decoder = _DECODERS[kind] = msgspec.json.Decoder(kind, strict=False)
    return decoder


def loads(raw: bytes) -> object:
    """Decode any JSON, as tolerantly as a line (P20); raises Unreadable."""
    try:
        return _plain(raw)
    except SLOW:
        pass
    try:
        return strict(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise Unreadable(_reason(error)) from None


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _tolerate(line: bytes, why: str) -> AnyObservation:
    """Read a line by Python's JSON, which takes the NaN, Infinity and lone surrogates that ComfyUI sends (P20)."""
    try:
        value = strict(json.loads(line))
    except UnicodeDecodeError as error:
        raise Unreadable(f"invalid UTF-8 at byte {error.start}") from None
    except (ValueError, RecursionError) as error:
        raise Unreadable(why if isinstance(error, ValueError) else "nested too deeply") from None
    try:
        return typed(_encode(value))
    except msgspec.ValidationError as error:
        return _mend(value, str(error))


def strict(value: object, depth: int = 0) -> object:
    """Return the value as strict JSON: NaN and the infinities become null, lone surrogates U+FFFD."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(strict(key)): strict(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [strict(item, depth + 1) for item in value]
    return value


def _mend(value: object, why: str) -> AnyObservation:
    """Read JSON of an unknown shape: repair the frame's own fields, otherwise keep it as unrecognized."""
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
    # only we make these kinds, never a decoder: a line could forge them
    try:
        bare = typed(_encode(envelope | {"kind": "tick"}))
    except msgspec.ValidationError as error:  # a time of hundreds of digits
        raise Unreadable(str(error)) from None
    name = value["kind"]
    if name == "ws.message":
        name = _name_of(value.get("data"))
        frame = seen.UnrecognizedFrame(name, why if name in _TYPES else "")
        return seen.Message(
            at=bare.at, window=bare.window, server=bare.server, seq=bare.seq, conn=bare.conn, mono=bare.mono, data=frame
        )
    why = why if name in _KINDS else ""
    return seen.Unrecognized(
        at=bare.at, window=bare.window, server=bare.server, seq=bare.seq, conn=bare.conn, mono=bare.mono, name=name,
        why=why,
    )  # fmt: skip


def _name_of(data: object) -> str:
    name = data.get("type") if isinstance(data, dict) else None
    return name if isinstance(name, str) else ""


def _mend_frame(value: dict[str, object]) -> dict[str, object]:
    """Return a known frame with fields of other types repaired: numbers become texts, the rest is left out."""
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
