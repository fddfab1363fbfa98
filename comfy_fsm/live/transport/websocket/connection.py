"""WebSocket connection: follows no redirect, reads little at a time, and bounds what it owes a peer that never reads.

A long frame reaches the library in pieces, as if the server had sent it so: no copy is ever long. A short message does
not reach the library at all: it is read where frames are split, in a tenth of the time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.protocol import State

from comfy_fsm.live.transport.arrivals import Long, Message

__all__ = [
    "FRAMES_AT_ONCE",
    "MESSAGES_AT_ONCE",
    "PIECE",
    "UNREAD_SIZE",
    "WAITING_BYTES",
    "Connect",
    "Connection",
    "Short",
    "Splitter",
]

_READ_SIZE = 16 * 1024
"""Bytes taken off the wire in one turn of the loop: asyncio's 256 KiB of tiny frames take 0.1 s to parse."""
FRAMES_AT_ONCE = 500
"""Frames that are taken in one turn: 16 KiB of empty ones are 8,192."""
MESSAGES_AT_ONCE = 50
"""Messages that `receive` returns together, if as many wait."""
UNREAD_SIZE = 1024 * 1024
"""Bytes of our answers to pings, and of whatever else we sent, that a server may leave unread."""
PIECE = 256 * 1024
"""Bytes of a frame from which on it comes in pieces, and of each of them."""
_GATHER_SECONDS = 0.012
"""Time between two reads of a socket on which frames follow each other closer than this, which is less than a screen
takes for a picture: what comes meanwhile is taken together and shares one commit, for two thirds of the CPU. What comes
alone, or more than is read at once, never waits."""
_WAITING_FRAMES = 16_384
"""Read ahead of a consumer who is behind by a second; then, and only then, reading pauses (P6)."""
WAITING_BYTES = 8 * 1024 * 1024
"""The same, for frames that are long."""
_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
_WHOLE = {0x80 | Opcode.TEXT: True, 0x80 | Opcode.BINARY: False}
"""First bytes of frames that are a whole message, without extensions: whether of text."""
_HEAD_END = b"\r\n\r\n"
Short = tuple[bool, bytes]
"""Message that came in one frame: whether it is text, and its payload."""


class Splitter:
    """Splitter of frames: short messages are taken out, which is all that most sockets ever bring; a long frame becomes
    a frame and its continuations (RFC 6455, 5.4); whatever else comes passes unchanged.
    """

    def __init__(self, limit: int | None = None) -> None:
        """Start between two frames; a message of more bytes than `limit` is for the library to refuse."""
        self._short = _READ_SIZE if limit is None else min(_READ_SIZE, limit)
        self._head = b""
        self._left = 0  # bytes of the payload that is under way
        self._piece = 0  # of the piece of it, where it is long
        self._ends = 0  # FIN, as the long one has it
        self._fragmented = False  # a message is under way, within which no other may come

    def feed(self, data: bytes) -> list[list[bytes | list[Short]]]:
        """Return what came in parts for a turn of the loop each: bytes for the library, and messages."""
        parts: list[list[bytes | list[Short]]] = [[]]
        for segment in self._cut(self._head + data if self._head else data):
            if segment is None:
                parts.append([])
            elif segment:
                parts[-1].append(segment)
        return parts

    def _cut(self, data: bytes) -> Iterator[bytes | list[Short] | None]:
        at, size, self._head = 0, len(data), b""
        frames = passed = 0  # up to here all is as it came
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
            if frames >= FRAMES_AT_ONCE:
                yield data[passed:at]
                passed, frames = at, 0
                yield None
            messages, end = self._messages(data, at, FRAMES_AT_ONCE - frames)
            if messages:
                yield data[passed:at]
                yield messages
                passed, at, frames = end, end, frames + len(messages)
                continue
            start, length = _header(data, at)
            if start > size or (start + length > size and self._is_short(data, at, length)):
                yield data[passed:at]
                self._head = data[at:]
                return
            frames += 1
            if length > PIECE and _is_data(data, at):
                yield data[passed:at]
                passed, self._left, self._ends = start, length, data[at] & 0x80
                yield self._begin(data[at] & 0x0F, data[at] & 0x70)
            else:
                self._left = length
            if _is_data(data, at):
                self._fragmented = not data[at] & 0x80
            at = start
        yield data[passed:]

    def _messages(self, data: bytes, at: int, most: int) -> tuple[list[Short], int]:
        """Return the short messages that begin here, one after the other, and where they end."""
        found: list[Short] = []
        if self._fragmented:
            return found, at
        size, kind_of, short = len(data), _WHOLE.get, self._short
        while len(found) < most and at + 1 < size and (is_text := kind_of(data[at])) is not None:
            start, length = at + 2, data[at + 1]
            if length > 125:
                if length > 126 or at + 4 > size:
                    break
                start, length = at + 4, data[at + 2] << 8 | data[at + 3]
            end = start + length
            if end > size or length > short:
                break
            found.append((is_text, data[start:end]))
            at = end
        return found, at

    def _is_short(self, data: bytes, at: int, length: int) -> bool:
        """Return whether the frame that begins here is a message of its own and so short that it waits to be whole."""
        return data[at] in _WHOLE and data[at + 1] < 127 and length <= self._short and not self._fragmented

    def _begin(self, opcode: int, reserved: int) -> bytes:
        """Return the header of the next piece."""
        self._piece = min(PIECE, self._left)
        ends = self._ends if self._piece == self._left else 0
        self._piece = self._piece if self._piece < self._left else 0  # the last one needs no cut after it
        size = min(PIECE, self._left)
        return bytes([ends | reserved | opcode, 127]) + size.to_bytes(8)


def _header(data: bytes, at: int) -> tuple[int, int]:
    """Return where the payload of a frame begins, beyond the end of what came if its header is cut, and its length."""
    length = data[at + 1] & 0x7F if at + 1 < len(data) else 0
    start = at + 2 + {126: 2, 127: 8}.get(length, 0)
    return start, int.from_bytes(data[at + 2 : start]) if start > at + 2 else length


def _is_data(data: bytes, at: int) -> bool:
    """Return whether a frame of a message begins here, as a server sends it: unmasked."""
    return data[at] & 0x0F in _DATA and not data[at + 1] & 0x80


class Connection(ClientConnection):
    """Connection whose buffers are bounded in both directions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answer = b""
        self._splitter: Splitter | None = None
        self._coming: deque[tuple[bool, bytes | None]] = deque()  # messages, with None for what the library has
        self._waiting = self._weight = 0  # frames and bytes of them that nobody took yet
        self._later: deque[list[bytes | list[Short]]] = (
            deque()
        )  # read, and for a later turn; until then nothing more is
        self._read_at = 0.0  # by the loop's clock
        self._gathering: asyncio.TimerHandle | None = None  # until then nothing is read
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
            self._process(first)
            self._put_off(rest)
            if len(data) < _READ_SIZE:  # else more is there already
                self._gather()
        self._bound()

    def _process(self, part: list[bytes | list[Short]]) -> None:
        for each in part:
            if isinstance(each, bytes):
                super().data_received(each)
            elif self.protocol.state is State.OPEN:  # after an end or an error nothing counts any more
                self._coming += each
                self._news.set()
                self._hold(len(each), sum([len(payload) for _, payload in each]))

    def _gather(self) -> None:
        """Read again only when some more may have come, if frames follow each other closely."""
        now, before = self.loop.time(), self._read_at
        self._read_at = now
        if now - before < _GATHER_SECONDS and self._gathering is None:
            self.transport.pause_reading()
            self._gathering = self.loop.call_later(_GATHER_SECONDS, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._resume()

    def _put_off(self, parts: list[list[bytes | list[Short]]]) -> None:
        if parts:
            self._later.extend(parts)
            self.transport.pause_reading()
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Process the next part, in a turn of its own."""
        if not self._later or self.transport.is_closing():
            return
        self._process(self._later.popleft())
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
        limit = self.protocol.max_message_size
        self._splitter = Splitter(limit)
        return data[cut:]

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in filter(None, (self._end, self._gathering)):
            timer.cancel()
        super().connection_lost(exc)
        self._news.set()

    def process_event(self, event: Any) -> None:
        if self.response is not None and event.opcode in _DATA:
            if event.opcode is not Opcode.CONT:
                self._coming.append((event.opcode is Opcode.TEXT, None))
                self._news.set()
            self._hold(1, len(event.data))
        super().process_event(event)

    def _hold(self, frames: int, size: int) -> None:
        self._waiting, self._weight = self._waiting + frames, self._weight + size
        if self._waiting > _WAITING_FRAMES or self._weight > WAITING_BYTES:
            self.transport.pause_reading()

    async def receive(self) -> list[Message]:
        """Return the next messages, as many as wait and are read at once; raises ConnectionClosed after the last one,
        and UnicodeDecodeError for a text that is no UTF-8.
        """
        while not self._coming:
            if self.connection_lost_waiter.done():
                await self.recv()  # which tells why
            self._news.clear()
            await self._news.wait()
        if self._coming[0][1] is None:
            return [await self._join(self._coming.popleft()[0])]
        return self._take_short()

    def _take_short(self) -> list[Message]:
        taken: list[Message] = []
        size = 0
        while self._coming and len(taken) < MESSAGES_AT_ONCE and (payload := self._coming[0][1]) is not None:
            try:
                taken.append(payload.decode() if self._coming[0][0] else payload)
            except UnicodeDecodeError:
                if not taken:
                    raise
                break  # what came before it counts
            size += len(payload)
            self._coming.popleft()
        self._take(len(taken), size)
        return taken

    async def _join(self, is_text: bool) -> Message:
        parts, open_part = list[bytes](), bytearray()
        async for part in self.recv_streaming(decode=False):
            self._take(1, len(part))
            open_part += part
            if len(open_part) >= PIECE:  # a server may send one byte in each
                parts.append(bytes(open_part))
                open_part.clear()
        parts.append(bytes(open_part))
        if len(parts) > 1:
            return Long(is_text, parts)
        return parts[0].decode() if is_text else parts[0]

    def _take(self, frames: int, size: int) -> None:
        self._waiting, self._weight = self._waiting - frames, self._weight - size
        self._resume()

    def _resume(self) -> None:
        if (
            not self._later
            and self._gathering is None
            and self._waiting <= _WAITING_FRAMES // 4
            and self._weight <= WAITING_BYTES // 4
        ):
            self.transport.resume_reading()


class Connect(connect):
    """Handshake that follows no redirect: our credentials stay with the server that they are for."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
