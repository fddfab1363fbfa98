"""Streaming parser for long answers: drops the graphs as it reads. The only module that uses ijson.

A queue or history repeats every prompt in full, with embedded pictures: hundreds of megabytes, of which a verdict needs
the ids, outputs and messages. Such an answer is parsed piece by piece, and what nobody reads is dropped on the way;
what is kept is complete. Memory is bounded, the answer is not.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
from decimal import Decimal
from typing import Any

__all__ = ["LONG", "MAX_DEPTH", "MAX_TEXT", "Reduced", "TooMuch", "Unreadable", "reads"]

LONG = 1024 * 1024
"""Bytes of an answer from which on it is read this way; shorter ones are kept as they came."""
_MAX_KEPT = 64 * 1024 * 1024
"""Bytes that may be kept of one answer."""
MAX_TEXT = 8 * 1024 * 1024
"""Bytes between two tokens: one text, which the parser holds in memory, and reads anew with each piece of it."""
MAX_DEPTH = 4_000
"""Levels of nesting of what is skipped."""
_MAX_KEPT_DEPTH = 500
"""And of what is kept, of which each level is looked at."""
_VALUE = 64  # bytes that a kept number, name or bracket counts for
_ENCODED = re.compile(rb"[A-Za-z0-9+/=_-]{1024,}")  # what is inside a text that nobody reads: a picture in base64
_STANDING_IN = {b"NaN": b"4.0404040404e-3030", b"Infinity": b"4.0404040404e-3031"}  # Python writes them, JSON has none
_NO_NUMBERS = frozenset(Decimal(number.decode()) for number in _STANDING_IN.values())
_WORDS = re.compile(rb"NaN|Infinity")
_BEFORE, _AFTER = (b"[", b":", b",", b" ", b"\n", b"-"), (b"]", b",", b"}", b" ", b"\n")
_PIECE = 16 * 1024  # bytes: some thousand tokens, a millisecond or two
_TAIL = 16  # bytes held back, so that none of those is cut in two
_DEEPER = {"start_map": 1, "start_array": 1, "end_map": -1, "end_array": -1}
_RECORD = frozenset({"prompt", "outputs", "status"})
_ECHOES = frozenset({"current_inputs", "current_outputs"})
_ROUTES = re.compile(r"/(queue|history|history_v2|jobs)(?:/([^/]*))?/?$")
_Path = tuple[str | int, ...]


class TooMuch(Exception):
    """Error if even what must be kept is too large or too deeply nested; says which in one word."""


class Unreadable(Exception):
    """Error for an answer that is not JSON."""


def reads(path: str) -> bool:
    """Return whether answers to this path may be long and contain what nobody needs."""
    return _ROUTES.search(path.partition("?")[0]) is not None


_STARTS = {"start_map": "{", "start_array": "["}
_ENDS = {"end_map": "}", "end_array": "]"}


class _Writer:
    """Writer of JSON, event by event: text, while a tree of a long queue is 300,000 containers, which each garbage
    collection would look at while the loop of the application stands still.
    """

    def __init__(self) -> None:
        self._text = io.StringIO()
        self._between = ""
        self._encode = json.JSONEncoder(default=_number).encode

    def event(self, event: str, value: Any) -> None:
        if event in _ENDS:
            self._text.write(_ENDS[event])
            self._between = ", "
            return
        self._text.write(self._between)
        self._text.write(_STARTS.get(event) or self._encode(value))
        self._between = "" if event in _STARTS else ", "
        if event == "map_key":
            self._between = ": "

    def text(self) -> str:
        return self._text.getvalue()


class Reduced:
    """Parser of one answer to this path: `feed` it as it comes, then take what is left."""

    def __init__(self, path: str, most: int = _MAX_KEPT) -> None:
        import ijson  # here, since most answers are short and most processes meet no other

        found = _ROUTES.search(path.partition("?")[0])
        self._kind, one = (found[1], bool(found[2])) if found else ("", False)
        self._one_job = self._kind == "jobs" and one
        self._events: list[tuple[str, Any]] = ijson.sendable_list()
        self._parser = ijson.basic_parse_coro(self._events)
        self._writer = _Writer()
        self._wrong: type[Exception] = ijson.JSONError
        self._most = most
        self._path: list[str | int] = []
        self._skipped = self._kept = self._since = 0
        self._tail = b""

    async def take(self, chunk: bytes) -> None:
        """Feed it in another thread; raises TooMuch or Unreadable."""
        await asyncio.to_thread(self.feed_all, chunk)

    def feed_all(self, chunk: bytes) -> None:
        """Feed it in pieces so small that none of them keeps the interpreter from other threads for long."""
        for start in range(0, len(chunk), _PIECE):
            self.feed(chunk[start : start + _PIECE])

    def feed(self, chunk: bytes) -> None:
        """Parse the next piece; raises TooMuch or Unreadable."""
        if self._skipped and self._tail.isalnum() and (run := _ENCODED.match(chunk)) is not None:
            chunk = chunk[run.end() :]  # a picture that goes on from the piece before, in what is skipped
        chunk, self._tail = _without_tail(_readable(self._tail + chunk))
        if chunk:  # an empty one would be the end
            self._parse(chunk)

    def close(self) -> bytes:
        """Return what is left, as JSON; raises TooMuch or Unreadable."""
        self._parse(_readable(self._tail + b" "))
        try:
            self._parser.close()
        except self._wrong as error:
            raise Unreadable(str(error)) from None
        self._take()
        return self._writer.text().encode()

    def _parse(self, chunk: bytes) -> None:
        self._since += len(chunk)
        try:
            self._parser.send(chunk)
        except self._wrong as error:
            raise Unreadable(str(error)) from None
        self._take()
        if self._since > MAX_TEXT or self._kept > self._most:
            raise TooMuch

    def _take(self) -> None:
        """Count a parsed event if it is skipped, otherwise pass it to the builder."""
        if not self._events:
            return
        self._since = 0
        for event, value in self._events:
            if self._skipped:  # a few million times in a long answer
                if event in _DEEPER:
                    self._skipped += _DEEPER[event]
                    if not self._skipped:
                        self._put(event, value)
            elif event in ("start_map", "start_array"):
                self._begin(event)
            elif event in _DEEPER:
                self._path.pop()
                self._put(event, value)
            elif event == "map_key":
                self._path[-1] = value
                self._put(event, value)
            else:
                self._place()
                self._put(*((event, value) if not self._drops(tuple(self._path), False) else ("null", None)))
        self._events.clear()
        if self._skipped > MAX_DEPTH:
            raise TooMuch

    def _begin(self, event: str) -> None:
        self._place()
        self._put(event, None)
        if self._drops(tuple(self._path), True):
            self._skipped = 1
        else:
            self._path.append("" if event == "start_map" else -1)
            if len(self._path) > _MAX_KEPT_DEPTH:
                raise TooMuch

    def _place(self) -> None:
        """Note the index of the next value of a list."""
        if self._path and isinstance(self._path[-1], int):
            self._path[-1] += 1

    def _put(self, event: str, value: Any) -> None:
        if isinstance(value, str):
            self._kept += len(value)
            value = _as_it_came(value)
        self._kept += _VALUE
        self._writer.event(event, value)

    def _drops(self, path: _Path, container: bool) -> bool:
        """Return whether no verdict, no output and no mark of ours needs this."""
        if path and path[-1] in _ECHOES:
            return True
        match self._kind, path:
            case "queue", (str(), int(), *rest):
                return _of_item(rest, container)
            case "history" | "history_v2", (str(), str(name), *rest):
                return name not in _RECORD or (name == "prompt" and _of_item(rest, container))
            case "jobs", _:
                rest = list(path) if self._one_job else list(path[2:])
                return container and rest[:1] == ["workflow"]
        return False


def _of_item(place: list[str | int], container: bool) -> bool:
    """Return whether this is part of a prompt in queue or history that is dropped: its graph, and nested values in
    `extra_data`.
    """
    match place:
        case [2 | "prompt"]:
            return True
        case [3 | "extra_data", _]:
            return container
    return False


def _without_tail(text: bytes) -> tuple[bytes, bytes]:
    return (text[:-_TAIL], text[-_TAIL:]) if len(text) > _TAIL else (b"", text)


def _readable(text: bytes) -> bytes:
    """Replace the words that Python writes for numbers which JSON lacks."""
    return _WORDS.sub(_stand_in, text)


def _stand_in(found: re.Match[bytes]) -> bytes:
    start, end = found.span()
    alone = found.string[start - 1 : start] in _BEFORE and found.string[end : end + 1] in _AFTER
    return _STANDING_IN[found[0]] if alone else found[0]


def _as_it_came(text: str) -> str:
    """Restore such a word within a text, which is not a number."""
    if "4.0404040404e-303" in text:
        for word, number in _STANDING_IN.items():
            text = text.replace(number.decode(), word.decode())
    return text


def _number(value: object) -> float | None:
    if not isinstance(value, Decimal):
        raise TypeError(type(value).__name__)
    return float(value) if abs(value) not in _NO_NUMBERS else None
