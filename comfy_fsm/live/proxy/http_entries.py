"""Exchange that passes, as its client would have recorded it: the request, and the answer or why none came.

Recorded is what ComfyUI answers to, by the table of its routes; of pictures and uploads only that they passed. The
files of the front end, and whatever custom nodes serve, pass without an entry.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec, routes
from comfy_fsm.live.proxy.body_copies import Copy
from comfy_fsm.live.proxy.entries import Entries, Visitor
from comfy_fsm.live.redaction.job_inputs import is_credential
from comfy_fsm.live.redaction.messages import NOTHING, Kept
from comfy_fsm.live.redaction.urls import path_of_comfy
from comfy_fsm.live.transport.redirects import STATUSES, shown_location
from comfy_fsm.live.transport.streaming import Reduced, TooMuch, Unreadable, reads

__all__ = ["Asked", "PassingExchange", "begin"]

_RUN = uuid.uuid4().hex[:12]  # a request id is unique in a log, and a log outlives its processes
_UNREAD = frozenset({"view", "upload", "assets", "asset", "nodes"})
"""Kinds of which no body is kept: pictures, and the descriptions of all nodes."""
_WITH_BODY = frozenset({"post", "act-queue", "act-history", "act-interrupt", "act-batch"})
_SHORT = 64 * 1024
"""Bytes of an answer up to which it is read in the loop, before its last part passes."""
_LONG = 1024 * 1024  # bytes from which on what nobody reads is dropped on the way
_CREDENTIALS = frozenset({b"authorization", b"proxy-authorization", b"cookie"})


class Asked(NamedTuple):
    """Request, as far as it is known from its head."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]

    @property
    def kind(self) -> routes.Kind:
        return routes.parse(self.method, self.target).kind


def begin(entries: Entries, server: str, visitor: Visitor, asked: Asked) -> PassingExchange | None:
    """Return the entries of this exchange; None if it is none that is recorded."""
    if asked.kind in (routes.OTHER, "socket"):
        return None
    entries.redactor.learn(_credentials(asked.headers))
    return PassingExchange(entries, server, visitor, asked)


def _credentials(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return what a client sends to be let in, whole and in parts: a server may repeat it in an answer."""
    values = [
        value.decode("latin-1")
        for name, value in headers
        if name.lower() in _CREDENTIALS or is_credential(name.decode("latin-1"))
    ]
    return [part for value in values for part in (value, *value.replace(";", " ").replace("=", " ").split())]


class PassingExchange:
    """Entries of one exchange."""

    def __init__(self, entries: Entries, server: str, visitor: Visitor, asked: Asked) -> None:
        self._entries = entries
        self._server = server
        self._visitor = visitor
        self._asked = asked
        self._path = path_of_comfy(asked.target)
        self._id = f"{_RUN}-{next(entries.numbers)}"
        self._window: str | None = None
        self._begun = False
        self._ended = False
        self._head: tuple[int, float | None, str | None] = (0, None, None)
        self.sent = Copy(_header(asked.headers, b"content-encoding")) if asked.kind in _WITH_BODY else None
        """Copy of the request's body, where one is kept; then the entry waits for it."""
        self.answer: Copy | None = None
        """Copy of the answer's body, where one is kept."""

    def asks(self) -> None:
        """Write the request, before the last of it is sent."""
        if self._begun:
            return
        self._begun = True
        body = self._body()
        told = body.get("client_id") if isinstance(body, dict) else None
        own = self._entries.window_of(self._server, self._visitor)
        self._window = told if isinstance(told, str) and told else own
        path, kept = self._entries.redactor.request(self._asked.method, self._path, body)
        data = seen.RequestData(self._id, self._asked.method, path, Raw(msgspec.json.encode(kept)))
        self._entries.put(seen.Request(at=self._entries.clock(), window=self._window, server=self._server, data=data))

    def _body(self) -> object:
        content = self.sent.content() if self.sent is not None else None
        if self.sent is not None and content is None:
            self._entries.say(
                f"{self._server}: the body of {self._asked.method} {self._path} is not in the log "
                f"({self.sent.trouble or 'Unreadable'}); it passed whole"
            )
        try:
            return codec.loads(content) if content else None
        except codec.Unreadable:
            return None

    def answers(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Note the head of the answer."""
        wait = _header(headers, b"retry-after").strip()
        place = _header(headers, b"location").decode("utf-8", "replace")
        later = float(wait) if wait.isdigit() and len(wait) < 9 else None
        self._head = (status, later, self._entries.redactor.text(shown_location(place)) if status in STATUSES else None)
        if self._asked.kind not in _UNREAD:
            self.answer = Copy(_header(headers, b"content-encoding"))

    @property
    def is_short(self) -> bool:
        """Return whether the answer is read before its last part passes."""
        return self.answer is not None and self.answer.size <= _SHORT

    def answered(self) -> None:
        """Write the answer, which is whole and short, or of which no body is kept."""
        if self.answer is None:
            return self._tell(NOTHING)
        if (content := self.answer.content()) is None:
            return self.failed(self.answer.trouble or "Unreadable")
        self._tell(self._kept(content))

    async def answered_at_length(self) -> None:
        """Write an answer that is long, read in another thread."""
        content = self.answer.content() if self.answer is not None else None
        if content is None:
            return self.failed((self.answer and self.answer.trouble) or "Unreadable")
        try:
            kept = await asyncio.to_thread(self._read, content)
        except (TooMuch, Unreadable) as error:
            return self.failed("TooLarge" if isinstance(error, TooMuch) else "Unreadable")
        self._tell(kept)

    def _read(self, content: bytes) -> Kept:
        if len(content) > _LONG and self._head[0] == 200 and reads(self._path):
            reduced = Reduced(self._path)
            reduced.feed_all(content)
            content = reduced.close()
        return self._kept(content)

    def _kept(self, content: bytes) -> Kept:
        return self._entries.redactor.response(self._asked.method, self._path, self._head[0], content)

    def _tell(self, kept: Kept) -> None:
        status, wait, place = self._head
        data = seen.ResponseData(self._id, status, kept.whole, wait, place)
        whole = seen.Response(at=self._entries.clock(), window=self._window, server=self._server, data=data)
        self._ended = True
        if kept.whole is kept.logged:
            self._entries.put(whole)
        else:
            logged = replace(whole, data=replace(data, body=kept.logged), redacted=True)
            self._entries.put(whole, codec.encode(logged))

    def failed(self, why: str) -> None:
        """Write that no answer came, by the name that a client of ours gives to the reason."""
        if not self._begun or self._ended:  # what was not sent whole asked nothing
            return
        self._ended = True
        data = seen.NoAnswerData(self._id, why)
        self._entries.put(seen.NoAnswer(at=self._entries.clock(), window=self._window, server=self._server, data=data))


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes:
    return next((value for name, value in headers if name.lower() == wanted), b"")
