"""WebSocket connection: follows no redirect, reads little at a time, and bounds what it owes a peer that never reads.

A long frame reaches the library in pieces, as if the server had sent it so: no copy is ever long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Opcode
from websockets.http11 import Response

from comfy_fsm.live.transport.arrivals import Long

__all__ = ["FRAMES_AT_ONCE", "PIECE", "UNREAD_SIZE", "WAITING_BYTES", "Connect", "Connection", "Splitter"]

_READ_SIZE = 16 * 1024
"""Bytes taken off the wire in one turn of the loop: asyncio's 256 KiB of tiny frames take 0.1 s to parse."""
FRAMES_AT_ONCE = 500
"""Frames that the library is handed in one turn: 16 KiB of empty ones are 8,192."""
UNREAD_SIZE = 1024 * 1024
"""Bytes of our answers to pings, and of whatever else we sent, that a server may leave unread."""
PIECE = 256 * 1024
"""Bytes of a frame from which on it comes in pieces, and of each of them."""
_WAITING_FRAMES = 16_384
"""Read ahead of a consumer who is behind by a second; then, and only then, reading pauses (P6)."""
WAITING_BYTES = 8 * 1024 * 1024
"""The same, for frames that are long."""
_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
_HEAD_END = b"\r\n\r\n"


class Splitter:
    """Splitter of frames: short ones pass unchanged, a long one becomes a frame and its continuations (RFC 6455,
    5.4).
    """

    def __init__(self) -> None:
        self._head = b""
        self._left = 0  # bytes of the payload that is under way
        self._piece = 0  # of the piece of it, where it is long
        self._ends = 0  # FIN, as the long one has it

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data in parts, each small enough for one turn of the loop."""
        parts: list[bytes] = []
        segments: list[bytes] = []
        for segment in self._cut(self._head + data):
            if segment is None:
                parts.append(b"".join(segments))
                segments.clear()
            else:
                segments.append(segment)
        return [*parts, b"".join(segments)]

    def _cut(self, data: bytes) -> Iterator[bytes | None]:
        at, size, self._head = 0, len(data), b""
        frames = 0
        passed = 0  # up to here all is as it came
        while at < size:
            if self._left:
                step = min(self._left, size - at, self._piece or size)
                at, self._left = at + step, self._left - step
                if self._piece:
                    self._piece -= step
                    if not self._piece and self._left:
                        yield data[passed:at]
                        passed = at
                        yield self._begin(Opcode.CONT, 0)
                continue
            length = data[at + 1] & 0x7F if at + 1 < size else 0
            start = at + 2 + {126: 2, 127: 8}.get(length, 0)
            if start > size:
                yield data[passed:at]
                self._head = data[at:]
                return
            frames += 1
            if not frames % FRAMES_AT_ONCE:
                yield data[passed:at]
                passed = at
                yield None
            length = int.from_bytes(data[at + 2 : start]) if start > at + 2 else length
            first = data[at]
            if length > PIECE and first & 0x0F in _DATA and not data[at + 1] & 0x80:
                yield data[passed:at]
                passed, self._left, self._ends = start, length, first & 0x80
                yield self._begin(first & 0x0F, first & 0x70)
            else:
                self._left = length
            at = start
        yield data[passed:]

    def _begin(self, opcode: int, reserved: int) -> bytes:
        """Return the header of the next piece."""
        self._piece = min(PIECE, self._left)
        ends = self._ends if self._piece == self._left else 0
        self._piece = self._piece if self._piece < self._left else 0  # the last one needs no cut after it
        size = min(PIECE, self._left)
        return bytes([ends | reserved | opcode, 127]) + size.to_bytes(8)


class Connection(ClientConnection):
    """Connection whose buffers are bounded in both directions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answer = b""
        self._splitter: Splitter | None = None
        self._coming: deque[tuple[bool, bool]] = deque()  # messages: whether in pieces, whether of text
        self._waiting = self._weight = 0  # frames and bytes of them that nobody took yet
        self._later: deque[bytes] = deque()  # what was read and is for a later turn; meanwhile nothing more is
        self._news = asyncio.Event()
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if hasattr(transport, "max_size"):  # asyncio's own; where there is none, it reads as it likes
            transport.max_size = _READ_SIZE
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._splitter is None:
            data = self._shake_hands(data)
        if self._splitter is not None and data:
            first, *rest = self._splitter.feed(data)
            if self._later:
                self._later += first, *rest
                return
            super().data_received(first)
            self._put_off(rest)
        self._bound()

    def _put_off(self, parts: list[bytes]) -> None:
        if parts:
            self._later.extend(parts)
            self.transport.pause_reading()
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Process the next part, in a turn of its own."""
        if not self._later or self.transport.is_closing():
            return
        super().data_received(self._later.popleft())
        self._bound()
        if self._later:
            self.loop.call_soon(self._go_on)
        else:
            self._resume()

    def _bound(self) -> None:
        if self.transport.get_write_buffer_size() > UNREAD_SIZE:
            self.transport.abort()
        if self._end is None and self.protocol.close_expected():  # either side gave it up: a server may not hang up
            self._end = self.loop.call_later(self.close_timeout or 0.0, self.transport.abort)

    def _shake_hands(self, data: bytes) -> bytes:
        """Return what follows the answer to the handshake."""
        end = (self._answer + data).find(_HEAD_END)
        if end < 0 or self.response is not None:
            super().data_received(data)
            self._answer = (self._answer + data)[-len(_HEAD_END) + 1 :]
            return b""
        cut = end + len(_HEAD_END) - len(self._answer)
        super().data_received(data[:cut])
        answer: Response | None = self.response  # which it has now
        if answer is None or answer.status_code != 101:
            super().data_received(data[cut:])
            return b""
        self._splitter = Splitter()
        return data[cut:]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)
        self._news.set()

    def process_event(self, event: Any) -> None:
        if self.response is not None and event.opcode in _DATA:
            if event.opcode is not Opcode.CONT:
                self._coming.append((not event.fin, event.opcode is Opcode.TEXT))
                self._news.set()
            self._waiting, self._weight = self._waiting + 1, self._weight + len(event.data)
            if self._waiting > _WAITING_FRAMES or self._weight > WAITING_BYTES:
                self.transport.pause_reading()
        super().process_event(event)

    async def receive(self) -> str | bytes | Long:
        """Return the next message; raises ConnectionClosed after the last one."""
        while not self._coming:
            if self.connection_lost_waiter.done():
                return await self.recv()  # which tells why
            self._news.clear()
            await self._news.wait()
        in_pieces, is_text = self._coming.popleft()
        if in_pieces:
            return await self._gather(is_text)
        whole = await self.recv(decode=False)
        self._take(len(whole))
        return whole.decode() if is_text else whole

    async def _gather(self, is_text: bool) -> str | bytes | Long:
        parts, open_part = list[bytes](), bytearray()
        async for part in self.recv_streaming(decode=False):
            self._take(len(part))
            open_part += part
            if len(open_part) >= PIECE:  # a server may send one byte in each
                parts.append(bytes(open_part))
                open_part.clear()
        parts.append(bytes(open_part))
        if len(parts) > 1:
            return Long(is_text, parts)
        return parts[0].decode() if is_text else parts[0]

    def _take(self, size: int) -> None:
        self._waiting, self._weight = self._waiting - 1, self._weight - size
        self._resume()

    def _resume(self) -> None:
        if not self._later and self._waiting <= _WAITING_FRAMES // 4 and self._weight <= WAITING_BYTES // 4:
            self.transport.resume_reading()


class Connect(connect):
    """Handshake that follows no redirect: our credentials stay with the server that they are for."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
