"""Arrivals from a server, as values: answers, sockets that open and close, and missing answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

__all__ = ["Answer", "Heard", "Long", "Message", "Refused", "SocketDown", "SocketUp", "Stream", "Unanswered"]


class Answer(NamedTuple):
    """Answer of any kind; `location` is the target of a redirect, `date` the time that the server said it was."""

    status: int
    body: bytes
    retry_after: float | None = None
    content_type: str = ""
    location: str = ""
    date: str = ""


class Stream(NamedTuple):
    """Answer whose body comes in pieces; `location` is the target of a redirect."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]
    location: str = ""


class Long(NamedTuple):
    """Long frame in pieces: text in UTF-8, or bytes."""

    is_text: bool
    parts: list[bytes]


class SocketUp(NamedTuple):
    """Opening of the socket, for the `conn`th time; our first frame was sent."""

    conn: int


class SocketDown(NamedTuple):
    """End of the socket, with the other side's close code, ours, or 1006 if there was none."""

    code: int
    reason: str
    conn: int


class Refused(NamedTuple):
    """Refusal of a socket, with an HTTP status, or 0 if none came. `passing`: another attempt may succeed.

    `location` is the target of a redirect, `detail` what the library reported about a failed connection.
    """

    status: int
    retry_after: float | None
    reason: str
    passing: bool
    location: str = ""
    detail: str = ""


Message = str | bytes | Long
"""One message of a socket: text, or bytes, or a long one of either kind."""
Heard = list[Message] | SocketUp | SocketDown | Refused


class Unanswered(Exception):
    """Error for a missing answer; `name` says why in one word, `detail` in the words of a library. Internal to this
    project.
    """

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(name)
        self.name = name
        self.detail = detail
