"""HAR of a browser, of mitmproxy or of Playwright as a trace: sockets of ComfyUI, and what was asked over HTTP.

A HAR is sorted by exchange; a trace by time. Chrome cuts the start of an exchange to the millisecond, so a request
that seems to begin less than that before the end of an earlier exchange began after it.
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import insort
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Raw

from comfy_fsm.captures.capture import MAX_KEPT, Capture, Pieces
from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec, routes
from comfy_fsm.display import plural
from comfy_fsm.errors import NotATrace, TraceError
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.redaction.urls import path_of_comfy

__all__ = ["read_har"]

_ENTRY, _FRAMES = "log.entries.item", "log.entries.item._webSocketMessages"
_SCALARS = {
    "startedDateTime": "started", "time": "took", "pageref": "page", "_resourceType": "kind",
    "request.method": "method", "request.url": "url", "request.postData.text": "asked",
    "response.status": "status", "response.content.text": "answer", "response.content.encoding": "encoding",
    "response._error": "error", "_error": "error", "response._failureText": "error", "_failureText": "error",
}  # fmt: skip
_MILLISECOND = 0.001
_MAX_BODY = 64 * 1024 * 1024
_COST = 512  # bytes that an entry or a frame takes beside its texts
_REFUSED = ("ERR_CONNECTION_REFUSED", "ECONNREFUSED", "NS_ERROR_CONNECTION_REFUSED", "Connection refused")
_ENDS = {"ERR_TIMED_OUT": "ReadTimeout", "ERR_ABORTED": "Cancelled", "ERR_CONNECTION_RESET": "ReadError"}
_SOCKET, _OTHER = "socket", routes.OTHER


class _Frame(NamedTuple):
    at: float
    text: str | None
    payload: bytes = b""


class _Entry(msgspec.Struct):
    """Part of one exchange that is kept, or of one socket with its frames."""

    number: int = 0
    started: str = ""
    took: float = 0.0
    page: str = ""
    kind: str = ""
    method: str = "GET"
    url: str = ""
    asked: str | None = None
    status: int = 0
    answer: str | None = None
    encoding: str = ""
    error: str = ""
    retry_after: str | None = None
    frames: list[_Frame] = []

    @property
    def is_socket(self) -> bool:
        return self.kind == "websocket" or bool(self.frames) or self.url.startswith(("ws:", "wss:"))


class _Event(NamedTuple):
    at: float
    order: int
    line: bytes


def read_har(pieces: Pieces, redactor: Redactor, name: str) -> Capture:
    """Read a HAR as it is unpacked. Raises NotATrace where no traffic of ComfyUI is in it."""
    found = _Found()
    damage = None
    try:
        _read_entries(pieces, found)
    except _Broken as broken:
        damage = pieces.damage or f"the HAR is cut off or broken after {found.count} entries: {broken}"
    har = _Har(found, redactor)
    if not har.servers:
        what = f"{found.count} exchanges, none of them with a ComfyUI" if found.count else "no exchange"
        raise NotATrace(
            f"{name}: a HAR with {what}, so there is nothing to judge; open the network tools before "
            "the page is loaded, and export with content"
        )
    return Capture("har", har.lines(), har.notes(), damage)


class _Broken(Exception):
    """Error of a HAR that breaks off; the text says how."""


class _Found(msgspec.Struct):
    """Result of reading: the entries that are about a ComfyUI, out of all."""

    entries: list[_Entry] = []
    count: int = 0
    kept: int = 0

    def take(self, entry: _Entry) -> None:
        """Keep an entry, and of it only what a trace can hold: other sites and the front end are most of a HAR."""
        self.count += 1
        if _server_of(entry) is None:
            return
        kind = routes.parse(entry.method, _path(entry.url)).kind
        if entry.is_socket or kind in ("view", "nodes", "upload", "assets", "asset"):
            entry.asked = entry.answer = None
        self.entries.append(entry)
        self.keep(len(entry.answer or "") + len(entry.asked or ""))

    def keep(self, size: int) -> None:
        self.kept += _COST + size
        if self.kept > MAX_KEPT:
            raise TraceError(
                f"entry {self.count}: a HAR with more than {MAX_KEPT} bytes to keep was not read further; "
                "export the tab of ComfyUI alone"
            )


def _read_entries(pieces: Pieces, found: _Found) -> None:
    """Read entry by entry."""
    import ijson  # here, since few commands need it

    entry, frame, header = _Entry(), dict[str, Any](), ["", ""]
    try:
        for prefix, event, value in ijson.parse(pieces, use_float=True):
            if not prefix.startswith(_ENTRY):
                continue
            if prefix == _ENTRY:
                if event == "start_map":
                    entry = _Entry(number=found.count + 1, frames=[])
                elif event == "end_map":
                    found.take(entry)
            elif prefix.startswith(_FRAMES):
                if event == "start_map":
                    frame = {}
                elif event == "end_map":
                    if (taken := _frame(frame)) is not None:
                        entry.frames.append(taken)
                        found.keep(len(taken.text or "") + len(taken.payload))
                else:
                    frame[prefix.rpartition(".")[2]] = value
            elif prefix.endswith(("response.headers.item.name", "response.headers.item.value")):
                header[prefix.endswith("value")] = str(value)
                if header[0].lower() == "retry-after" and prefix.endswith("value"):
                    entry.retry_after = header[1]
            elif (field := _SCALARS.get(prefix[len(_ENTRY) + 1 :])) is not None and value is not None:
                _set(entry, field, value)
    except ijson.JSONError as error:
        raise _Broken(str(error).splitlines()[0][:100]) from None


_TYPES = {name: type(getattr(_Entry(), name)) for name in _Entry.__struct_fields__}


def _set(entry: _Entry, field: str, value: object) -> None:
    wanted = _TYPES[field]
    if field in ("asked", "answer"):
        if isinstance(value, str) and len(value) <= _MAX_BODY:
            setattr(entry, field, value)
    elif wanted is float or wanted is int:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
            setattr(entry, field, wanted(value))
    elif isinstance(value, str) and (field != "url" or _is_address(value)):
        setattr(entry, field, value)


def _is_address(url: str) -> bool:
    try:
        urlsplit(url)
    except ValueError:  # `http://[`
        return False
    return True


def _frame(frame: dict[str, Any]) -> _Frame | None:
    """Return what the server sent; what the tab sent is in no trace. Of an image only the digest is kept."""
    at, data = frame.get("time"), frame.get("data")
    if frame.get("type") not in ("receive", None) or not isinstance(at, int | float) or not isinstance(data, str):
        return None
    if frame.get("opcode") != 2:
        return _Frame(float(at), data)
    try:
        payload = base64.b64decode(data)
    except (binascii.Error, ValueError):
        return _Frame(float(at), None)
    line = codec.binary_line(payload, at=float(at), window="", server="")
    return _Frame(float(at), None, line)


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _origin(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}"


def _server_of(entry: _Entry) -> str | None:
    """Return the server of a request that ComfyUI answers, with the path of a proxy before it; None of any other."""
    asked = routes.parse("GET" if entry.is_socket else entry.method, _path(entry.url))
    return None if asked.kind == _OTHER else _origin(entry.url) + (f"/{asked.prefix}" if asked.prefix else "")


def _start(entry: _Entry) -> tuple[float, bool]:
    """Return when it began, and whether that was cut to the millisecond."""
    try:
        told = datetime.fromisoformat(entry.started)
    except ValueError:
        return 0.0, True
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return told.timestamp(), told.microsecond % 1000 == 0


class _Har:
    """Entries of a HAR, with what they say of each other: servers, windows, and which window a question was of."""

    def __init__(self, found: _Found, redactor: Redactor) -> None:
        entries = found.entries
        self._redactor = redactor
        self._sockets = [entry for entry in entries if entry.is_socket and _server_of(entry) is not None]
        asked = [entry for entry in entries if not entry.is_socket]
        posts = [e for e in asked if self._kind(e) == "post"]
        self.servers = {server for e in [*self._sockets, *posts] if (server := _server_of(e)) is not None}
        self._exchanges = [e for e in asked if _server_of(e) in self.servers and self._kind(e) != _SOCKET]
        self._skipped = found.count - len(self._sockets) - len(self._exchanges)
        self._windows = {id(entry): self._window_of(entry) for entry in self._sockets}
        self._shared = 0

    @staticmethod
    def _kind(entry: _Entry) -> str:
        return routes.parse(entry.method, _path(entry.url)).kind

    def _window_of(self, socket: _Entry) -> str:
        """Return the window that the address of the socket names, or else its first status (P2)."""
        told = parse_qs(urlsplit(socket.url).query).get("clientId", [""])[0]
        if told:
            return told
        for frame in socket.frames[:10]:
            try:
                value = json.loads(frame.text or "null")
                sid = value["data"]["sid"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(sid, str) and sid:
                return sid
        return f"window-{socket.number}"

    def _asker_of(self, entry: _Entry, body: object) -> str | None:
        """Return the window that sent the request: by its own client id, or by the socket of the same page, or by the
        only one."""
        if isinstance(body, dict) and isinstance(told := body.get("client_id"), str) and told:
            return told
        server = _server_of(entry)
        there = [socket for socket in self._sockets if _server_of(socket) == server]
        of_page = [socket for socket in there if entry.page and socket.page == entry.page]
        windows = {self._windows[id(socket)] for socket in of_page or there}
        if len(windows) == 1:
            return windows.pop()
        self._shared += bool(windows)
        return None

    def lines(self) -> list[bytes]:
        events = sorted([*self._of_sockets(), *self._of_exchanges()], key=lambda event: event[:2])
        header = seen.Header(at=events[0].at if events else 0.0, data=seen.HeaderData(1, "import/har"))
        return [codec.encode(header), *(self._redactor.scrub(event.line) for event in events)]

    def notes(self) -> list[str]:
        notes = [
            f"a HAR of {plural(len(self._sockets), 'socket')} and {plural(len(self._exchanges), 'exchange')} with "
            f"{', '.join(sorted(self.servers))}; {self._skipped} other exchanges were passed over",
            "a HAR does not tell the close codes of sockets, nor what other tabs and programs did",
        ]
        if not self._sockets:
            notes.append("it has no sockets, as those of Firefox and of older recorders: only HTTP tells of an end")
        if self._shared:
            notes.append(f"of {self._shared} exchanges nobody can say which of several windows they were of")
        return notes

    def _of_sockets(self) -> Iterator[_Event]:
        for conn, socket in enumerate(sorted(self._sockets, key=_start), 1):
            server, window = _server_of(socket) or "", self._windows[id(socket)]
            names: dict[str, Any] = {"window": window, "server": server, "conn": conn}
            begun = _start(socket)[0]
            at = min(begun, socket.frames[0].at) if socket.frames else begun
            if socket.status == 101 or socket.frames:
                yield _Event(at, socket.number, codec.encode(seen.Opened(at=at, **names)))
            for frame in socket.frames:
                at = max(at, frame.at)  # in the order in which they came
                yield _Event(at, socket.number, self._line(frame, at, names))
            if socket.took > 0 and begun + socket.took / 1000 >= at - _MILLISECOND and socket.frames:
                at = max(at, begun + socket.took / 1000)
                yield _Event(at, socket.number, codec.encode(seen.Closed(at=at, **names)))

    def _line(self, frame: _Frame, at: float, names: dict[str, Any]) -> bytes:
        if frame.payload:
            read = codec.read(frame.payload, at)
            return codec.encode(msgspec.structs.replace(read, at=at, **names))
        if frame.text is None:
            data = seen.UndecodableData("a binary frame that is no base64")
            return codec.encode(seen.Undecodable(at=at, data=data, **names))
        return codec.message_line(self._redactor.frame(frame.text), at=at, **names)

    def _of_exchanges(self) -> Iterator[_Event]:
        ended: list[float] = []
        for entry in sorted(self._exchanges, key=lambda each: (_start(each)[0], each.number)):
            at, coarse = _start(entry)
            if coarse:
                at = max([at, *(end for end in ended[-50:] if at <= end < at + _MILLISECOND)])
            end = at + max(entry.took, 0.0) / 1000
            insort(ended, end)
            body = _json(entry.asked)
            window = self._asker_of(entry, body)
            path, kept = self._redactor.request(entry.method, path_of_comfy(entry.url), body)
            names: dict[str, Any] = {"window": window, "server": _server_of(entry) or ""}
            asked = seen.RequestData(f"har-{entry.number}", entry.method, path, Raw(msgspec.json.encode(kept)))
            yield _Event(at, entry.number, codec.encode(seen.Request(at=at, data=asked, **names)))
            yield _Event(end, entry.number, self._answer(entry, path, end, names))

    def _answer(self, entry: _Entry, path: str, at: float, names: dict[str, Any]) -> bytes:
        number = f"har-{entry.number}"
        if entry.status <= 0:
            return codec.encode(seen.NoAnswer(at=at, data=seen.NoAnswerData(number, _error(entry.error)), **names))
        answer = (entry.answer or "").encode("utf-8", "replace")
        if entry.encoding == "base64":
            try:
                answer = base64.b64decode(answer)
            except (binascii.Error, ValueError):
                answer = b""
        body = self._redactor.response(entry.method, path, entry.status, answer).logged
        retry = entry.retry_after
        later = float(retry) if retry is not None and retry.isdecimal() and len(retry) < 9 else None
        return codec.encode(seen.Response(at=at, data=seen.ResponseData(number, entry.status, body, later), **names))


def _json(text: str | None) -> object:
    if text is None:
        return None
    try:
        return codec.loads(text.encode("utf-8", "replace"))
    except codec.Unreadable:
        return None


def _error(told: str) -> str:
    """Return the word of a trace for it, or else the recorder's: a refused connection proves that nothing was sent
    (P8)."""
    if any(word in told for word in _REFUSED):
        return "ConnectError"
    return next((ours for word, ours in _ENDS.items() if word in told), told or "no answer")
