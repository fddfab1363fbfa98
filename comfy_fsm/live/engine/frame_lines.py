"""Frames of one window at one server, as lines for the log: text and binary, long ones in a thread."""

from __future__ import annotations

import asyncio

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.wire import codec
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.arrivals import Long
from comfy_fsm.live.transport.streaming import MAX_TEXT, Reduced, TooMuch, Unreadable

__all__ = ["FrameLines"]

_WHOLE = 2 * 1024 * 1024  # bytes of a text up to which it is read at once; no longer one ever needs to be kept whole
_KEPT = 32 * 1024 * 1024  # bytes that may be kept of a longer one


class FrameLines:
    """Reader of the frames of one window."""

    def __init__(self, redactor: Redactor, server: str, window: str) -> None:
        self.window = window
        self._redactor = redactor
        self._server = server

    async def text(self, frame: str | Long, at: float, conn: int | None) -> tuple[bytes, AnyObservation]:
        """Return the line of a text frame with its observation."""
        if isinstance(frame, str):
            return self.told(frame, at, conn)
        return await asyncio.to_thread(self._told_long, frame.parts, at, conn)

    def told(self, text: str, at: float, conn: int | None) -> tuple[bytes, AnyObservation]:
        """Return the same for a frame that is short."""
        text = self._redactor.frame(text)
        return codec.message(text, at=at, window=self.window, server=self._server, conn=conn)

    def _told_long(self, parts: list[bytes], at: float, conn: int | None) -> tuple[bytes, AnyObservation]:
        """Decode a long frame in a thread, in steps so small that none of them keeps the interpreter from the loop."""
        try:
            if sum(map(len, parts)) <= _WHOLE:
                return self.told(b"".join(parts).decode(), at, conn)
            reduced = Reduced("", _KEPT)
            for part in parts:
                reduced.feed_all(part)
            return self.told(reduced.close().decode(), at, conn)
        except TooMuch:
            most = f"{_KEPT // 2**20} MiB of it, or {MAX_TEXT // 2**20} MiB of one text"
            why = f"too long: more than {most} would have to be kept"
        except (Unreadable, UnicodeDecodeError) as error:
            why = str(error)
        return self.unread(why, parts[0], at, conn)

    def unread(self, why: str, cited: bytes, at: float, conn: int | None) -> tuple[bytes, AnyObservation]:
        """Return the line that keeps the beginning of a frame which could not be read."""
        data = seen.UndecodableData(why, cited[: codec.MAX_CITED].decode("ascii", "backslashreplace"))
        unread = seen.Undecodable(at=at, window=self.window, server=self._server, conn=conn, data=data)
        return codec.encode(unread), unread

    async def binary(self, frame: bytes | Long, at: float, conn: int | None) -> tuple[bytes, bytes]:
        """Return the line of a binary frame, and the image in it."""
        if isinstance(frame, bytes):
            return self.seen(frame, at, conn)
        return await asyncio.to_thread(lambda: self.seen(b"".join(frame.parts), at, conn))

    def seen(self, payload: bytes, at: float, conn: int | None) -> tuple[bytes, bytes]:
        """Return the same for a frame that is short."""
        line = codec.binary_line(payload, at=at, window=self.window, server=self._server, conn=conn)
        return line, codec.image_of(payload) or b""
