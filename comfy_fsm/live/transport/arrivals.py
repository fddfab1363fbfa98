"""What arrives from a server, as values: answers, the openings and ends of sockets, and that nothing arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

__all__ = ["Answer", "Heard", "Long", "Refused", "SocketDown", "SocketUp", "Stream", "Unanswered"]


class Answer(NamedTuple):
    """What came back, whatever it is; `location` is where a redirect points to."""

    status: int
    body: bytes
    retry_after: float | None = None
    content_type: str = ""
    location: str = ""


class Stream(NamedTuple):
    """An answer whose body comes in pieces; `location` is where a redirect points to."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]
    location: str = ""


class Long(NamedTuple):
    """A frame that is long, in pieces: of text in UTF-8, or of bytes."""

    is_text: bool
    parts: list[bytes]


class SocketUp(NamedTuple):
    """The socket is open, for the `conn`th time; our first frame was sent."""

    conn: int


class SocketDown(NamedTuple):
    """The socket ended: by the other side's code, by our own, or by 1006 where nobody gave any."""

    code: int
    reason: str
    conn: int


class Refused(NamedTuple):
    """No socket was opened: by an HTTP status, or 0 where none came. `passing`: to try again may well succeed.

    `location` is where a redirect points to, `detail` what the library said of a connection that failed.
    """

    status: int
    retry_after: float | None
    reason: str
    passing: bool
    location: str = ""
    detail: str = ""


Heard = str | bytes | Long | SocketUp | SocketDown | Refused


class Unanswered(Exception):
    """No answer came; `name` says why, in one word, `detail` in those of a library. Never leaves this project."""

    def __init__(self, name: str, detail: str = "") -> None:
        super().__init__(name)
        self.name = name
        self.detail = detail
