"""Sockets of a server, and the one queue in which every frame waits its turn (P1, P3, P6)."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import struct
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from comfy_fsm.testing.faults import FRAMES, Faults

__all__ = ["Frame", "Pipe", "Publisher", "Socket", "Writable", "flags_in", "preview", "preview_with", "reset", "text"]

_JPEG_FORMAT, _PNG_FORMAT = 1, 2
_FAREWELL = 1.0  # seconds for the other side to close, too
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no farewell, neither of the WebSocket nor of TCP


class Socket(Protocol):
    """Socket that frames are written to."""

    @property
    def waiting(self) -> int:
        """Number of bytes that the reader has not taken yet."""
        ...

    async def send_str(self, data: str) -> None: ...

    async def send_bytes(self, data: bytes) -> None: ...

    async def close(self, code: int) -> None: ...

    def abort(self) -> None: ...


class Writable(Protocol):
    """Connection, as far as a socket needs it."""

    async def send_str(self, data: str) -> None: ...

    async def send_bytes(self, data: bytes) -> None: ...

    async def close(self, *, code: int = ...) -> bool: ...


class Pipe:
    """Socket as the publisher uses it."""

    def __init__(self, ws: Writable, transport: asyncio.BaseTransport | None) -> None:
        self.send_str = ws.send_str
        self.send_bytes = ws.send_bytes
        self._close = ws.close
        self._transport = transport

    @property
    def waiting(self) -> int:
        return self._transport.get_write_buffer_size() if isinstance(self._transport, asyncio.WriteTransport) else 0

    async def close(self, code: int) -> None:
        """Close with a handshake, for which the client has a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await self._close(code=code)
        self.abort()

    def abort(self) -> None:
        reset(self._transport)


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Break a connection as a crash does."""
    if isinstance(transport, asyncio.Transport):
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _RESET)
        transport.abort()


class Frame(NamedTuple):
    """Frame, and the client id of its reader; None sends it to everybody."""

    kind: str
    payload: str | bytes
    reader: str | None


class Publisher:
    """Table of a server's sockets, and the loop that writes to them."""

    def __init__(self, faults: Faults) -> None:
        self.sockets: dict[str, Socket] = {}
        self.flags: dict[str, dict[str, object]] = {}  # what a client said in its first frame (P7)
        self.open: dict[Socket, str] = {}  # those that are in no table any more, too (P3)
        self.news = asyncio.Condition()
        """Somebody came or went, or a client did something that a playback waits for."""
        self._faults = faults
        self._frames: deque[Frame] = deque()
        self._news = asyncio.Event()

    def enqueue(self, kind: str, data: Mapping[str, object], reader: str | None) -> None:
        """Queue a frame. Like the real server, this writes NaN and lone surrogates as they come (P20)."""
        self._put(Frame(kind, json.dumps({"type": kind, "data": data}), reader))

    def enqueue_binary(self, number: int, payload: bytes, reader: str | None) -> None:
        self._put(Frame(f"binary {number}", struct.pack(">I", number) + payload, reader))

    def wants_metadata(self, reader: str | None) -> bool:
        """Return whether previews for this reader name their prompt (P7)."""
        return reader is not None and bool(self.flags.get(reader, {}).get("supports_preview_metadata"))

    def cut(self, client_id: str | None) -> None:
        """Break the sockets of one client, or of all."""
        for socket, sid in [*self.open.items()]:
            if client_id in (None, sid):
                socket.abort()

    def _put(self, frame: Frame) -> None:
        assert frame.kind in FRAMES, frame.kind
        if frame.kind in self._faults.drop_types:
            return
        self._frames.extend([frame] * (2 if self._faults.double else 1))
        self._news.set()

    async def publish(self) -> None:
        """Write the queued frames for ever, one after another, to one reader after another (P6)."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._frames:
                frame = self._frames.popleft()
                for reader in [*self.sockets] if frame.reader is None else [frame.reader]:
                    await self._write(reader, frame)

    async def send_now(self, kind: str, data: Mapping[str, object], reader: str) -> None:
        """Send a frame at once, ahead of the queue: for frames that belong to a connection and not to a prompt."""
        await self.send(Frame(kind, json.dumps({"type": kind, "data": data}), reader))

    async def send(self, frame: Frame) -> None:
        """Send a frame to its reader, or to all."""
        if frame.kind not in self._faults.drop_types:
            for reader in [*self.sockets] if frame.reader is None else [frame.reader]:
                await self._write(reader, frame)

    async def notify(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def _write(self, reader: str, frame: Frame) -> None:
        """Write to the socket that is registered under this id now, if there is one (P3)."""
        socket = self.sockets.get(reader)
        if socket is None or self._faults.mute:
            return
        try:
            async with _Patience(socket, self._faults.write_seconds):
                if isinstance(frame.payload, str):
                    await socket.send_str(frame.payload)
                else:
                    await socket.send_bytes(frame.payload)
        except TimeoutError:
            socket.abort()
        except ConnectionError:
            pass  # its handler will see it


class _Patience:
    """Deadline that raises TimeoutError if a reader took nothing for too long; a slow one is not cut off."""

    def __init__(self, socket: Socket, seconds: float) -> None:
        self._socket = socket
        self._seconds = seconds
        self._limit = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._limit.__aenter__()
        self._left = float("inf")
        self._look()

    def _look(self) -> None:
        left = self._socket.waiting
        if left < self._left:
            self._left = left
            self._limit.reschedule(self._loop.time() + self._seconds)
        self._next = self._loop.call_later(self._seconds / 4, self._look)

    async def __aexit__(self, *raised: Any) -> None:
        self._next.cancel()
        await self._limit.__aexit__(*raised)


def preview(picture: bytes) -> bytes:
    """Return the payload of binary 1."""
    return struct.pack(">I", _PNG_FORMAT if picture.startswith(b"\x89PNG") else _JPEG_FORMAT) + picture


def preview_with(metadata: Mapping[str, object], picture: bytes) -> bytes:
    """Return the payload of binary 4."""
    kind = "image/png" if picture.startswith(b"\x89PNG") else "image/jpeg"
    told = json.dumps({**metadata, "image_type": kind}).encode()
    return struct.pack(">I", len(told)) + told + picture


def text(node_id: str, words: str) -> bytes:
    """Return the payload of binary 3."""
    return struct.pack(">I", len(node_id.encode())) + node_id.encode() + words.encode("utf-8", "replace")


def flags_in(message: str) -> dict[str, object] | None:
    """Return the features that a client announces, if this frame does so."""
    with suppress(ValueError):
        match json.loads(message):
            case {"type": "feature_flags", "data": dict(flags)}:
                return flags
    return None
