"""A trace as the HAR that a browser would have exported: of Chrome's shape, its starts cut to the millisecond."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

__all__ = ["har_of"]

Line = dict[str, Any]


def har_of(lines: Iterable[Line], *, precise: bool = False) -> dict[str, Any]:
    """All that the lines hold, or one window's part of it if only that is given; `precise` times are mitmproxy's."""
    entries: list[dict[str, Any]] = []
    open_sockets: dict[tuple[str, str, object], dict[str, Any]] = {}
    asked: dict[str, dict[str, Any]] = {}
    for line in lines:
        kind, at, data = line["kind"], line["at"], line.get("data") or {}
        window, server = line.get("window", ""), line.get("server", "")
        key = (window, server, line.get("conn"))
        if kind.startswith("ws."):
            if kind == "ws.open" or key not in open_sockets:
                open_sockets[key] = _socket(window, server, at, precise)
                entries.append(open_sockets[key])
            socket = open_sockets[key]
            if kind == "ws.close":
                socket["time"] = (at - socket.pop("at")) * 1000
                del open_sockets[key]
            elif kind != "ws.open":
                socket["_webSocketMessages"].append(_frame(kind, at, data))
        elif kind == "http.request":
            entry = _exchange(window, server, at, data, precise)
            asked[data["id"]] = entry
            entries.append(entry)
        elif kind in ("http.response", "http.error") and data.get("id") in asked:
            _answer(asked.pop(data["id"]), kind, at, data)
    for entry in entries:
        entry.pop("at", None)
    return {"log": {"version": "1.2", "creator": {"name": "WebInspector", "version": "537.36"}, "entries": entries}}


def _time(at: float, precise: bool) -> str:
    told = datetime.fromtimestamp(at if precise else math.floor(at * 1000) / 1000, UTC)
    return told.isoformat(timespec="microseconds" if precise else "milliseconds").replace("+00:00", "Z")


def _socket(window: str, server: str, at: float, precise: bool) -> dict[str, Any]:
    address = server.replace("http", "ws", 1) + f"/ws?clientId={quote(window)}"
    return {
        "_resourceType": "websocket", "_webSocketMessages": [], "at": at, "pageref": window, "time": 0,
        "startedDateTime": _time(at, precise), "request": {"method": "GET", "url": address},
        "response": {"status": 101, "content": {"size": 0}},
    }  # fmt: skip


def _frame(kind: str, at: float, data: Line) -> dict[str, Any]:
    if kind == "ws.binary":
        payload = struct.pack(">I", int(data.get("event") or 0))
        if (metadata := data.get("metadata")) is not None:
            told = json.dumps(metadata).encode()
            payload += struct.pack(">I", len(told)) + told
        return {"type": "receive", "time": at, "opcode": 2, "data": base64.b64encode(payload + b"image").decode()}
    text = data.get("text", "") if kind == "ws.undecodable" else json.dumps(data)
    return {"type": "receive", "time": at, "opcode": 1, "data": text}


def _exchange(window: str, server: str, at: float, data: Line, precise: bool) -> dict[str, Any]:
    request: dict[str, Any] = {"method": data["method"], "url": server + data["path"]}
    if data.get("body") is not None:
        request["postData"] = {"mimeType": "application/json", "text": json.dumps(data["body"])}
    return {"at": at, "pageref": window, "startedDateTime": _time(at, precise), "time": 0, "request": request,
            "response": {"status": 0, "content": {}, "_error": "net::ERR_FAILED"}}  # fmt: skip


def _answer(entry: dict[str, Any], kind: str, at: float, data: Line) -> None:
    entry["time"] = (at - entry["at"]) * 1000
    if kind == "http.error":
        entry["response"]["_error"] = data["error"]
        return
    body = data.get("body")
    text = "" if body is None else json.dumps(body)
    entry["response"] = {"status": data["status"], "content": {"mimeType": "application/json", "text": text}}
