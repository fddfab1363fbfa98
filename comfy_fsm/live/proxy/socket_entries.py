"""Socket that passes, as its window would have recorded it: opened, each frame that the server sent, closed."""

from __future__ import annotations

import asyncio
from collections import deque
from urllib.parse import parse_qs

from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec
from comfy_fsm.live.engine.frame_lines import FrameLines
from comfy_fsm.live.proxy.entries import Entries, Visitor
from comfy_fsm.live.proxy.websocket_messages import Broken, downwards, upwards
from comfy_fsm.live.transport.arrivals import Long

__all__ = ["PassingSocket", "client_id_of"]

_LONG = 64 * 1024  # characters or bytes of a frame from which on it is not read in the loop, where all else passes
_WAITING = 8 * 1024 * 1024
"""Bytes of frames that may wait behind a long one before this socket waits, too."""
_NORMAL, _ABNORMAL = 1000, 1006


def client_id_of(target: bytes) -> str | None:
    """Return the client id in the address of a socket; None where the server chooses one (P1)."""
    query = target.partition(b"?")[2].decode("utf-8", "replace")
    try:
        return parse_qs(query, max_num_fields=100).get("clientId", [""])[0] or None
    except ValueError:
        return None


class PassingSocket:
    """Entries of one socket."""

    def __init__(self, entries: Entries, server: str, visitor: Visitor, client_id: str | None, extensions: str) -> None:
        self._entries = entries
        self._server = server
        self._visitor = visitor
        self._conn = next(entries.connections)
        self._down, self._up = downwards(extensions), upwards(extensions)
        self._frames: FrameLines | None = None
        self._opened_at = entries.clock()
        self._client_left = False
        self._long: deque[tuple[float, str | bytes]] = deque()
        self._weight = 0
        self._working: asyncio.Task[None] | None = None
        if client_id is not None:
            self._open(client_id)

    def _open(self, window: str) -> FrameLines:
        self._entries.open_window(self._server, self._visitor, window)
        self._frames = FrameLines(self._entries.redactor, self._server, window)
        opened = seen.Opened(at=self._opened_at, window=window, server=self._server, conn=self._conn)
        self._entries.put(opened)
        return self._frames

    def came(self, data: bytes) -> bool:
        """Take bytes that the server sent; returns whether there is room for more."""
        at, room = self._entries.clock(), True
        for message in self._down.feed(data):
            if isinstance(message, Broken):
                self._end_reading(message.why, at)
            elif self._long or self._working is not None or len(message) > _LONG:
                self._put_off(at, message)
            else:
                room = self._write(at, message) and room
        return room and self._weight < _WAITING

    async def room(self) -> None:
        """Wait until what came is taken."""
        if self._working is not None:
            await asyncio.wait([self._working])
        await self._entries.room()

    def went(self, data: bytes) -> None:
        """Take bytes that the client sent: of these only the close frame matters, by which the client ends it."""
        for _ in self._up.feed(data):
            pass
        if self._up.code is not None and self._down.code is None:
            self._client_left = True

    def client_gone(self) -> None:
        """Note that the client hung up, perhaps without a word."""
        self._client_left |= self._down.code is None

    # frames

    def _write(self, at: float, message: str | bytes) -> bool:
        frames = self._frames or self._open(_sid_of(message) or f"window-{self._conn}")
        if isinstance(message, str):
            line, observation = frames.told(message, at, self._conn)
        else:
            line, _ = frames.seen(message, at, self._conn)
            observation = codec.read(line)
        return self._entries.put(observation, line)

    def _put_off(self, at: float, message: str | bytes) -> None:
        self._long.append((at, message))
        self._weight += len(message)
        if self._working is None:
            self._working = asyncio.create_task(self._write_long(), name=f"long frames {self._conn}")

    async def _write_long(self) -> None:
        """Write long frames, and what came behind them, in order; each is read in a thread."""
        while self._long:
            at, message = self._long[0]
            if len(message) > _LONG:
                await self._write_one(at, message)
            else:
                self._write(at, message)
            self._long.popleft()
            self._weight -= len(message)
        self._working = None

    async def _write_one(self, at: float, message: str | bytes) -> None:
        frames = self._frames or self._open(f"window-{self._conn}")
        if isinstance(message, str):
            parts = Long(True, [message.encode("utf-8", "surrogatepass")])
            line, observation = await frames.text(parts, at, self._conn)
            self._entries.put(observation, line, await self._entries.clean(line))
        else:
            line, _ = await frames.binary(Long(False, [message]), at, self._conn)
            self._entries.put(codec.read(line), line)

    def _end_reading(self, why: str, at: float) -> None:
        frames = self._frames or self._open(f"window-{self._conn}")
        line, unread = frames.unread(f"nothing more of this socket was recorded: {why}", b"", at, self._conn)
        self._entries.put(unread, line)
        self._entries.say(
            f"{self._server}: a socket of window {frames.window} cannot be read ({why}); it passes on unrecorded"
        )

    # the end

    async def close(self, *, by_us: bool) -> None:
        """Write how it ended. `by_us`: the recording ends, and nobody closed it."""
        if self._working is not None:
            await asyncio.wait([self._working])
        if self._frames is None:
            return  # no window was told of
        data = seen.CloseData(None if by_us else self._code())
        closed = seen.Closed(
            at=self._entries.clock(), window=self._frames.window, server=self._server, conn=self._conn, data=data
        )
        self._entries.put(closed)
        self._entries.close_window(self._server, self._visitor, self._frames.window)

    def _code(self) -> int:
        """Return its code as the fold reads it: one of the client's own, such as 1001 of a tab that is closed, would
        tell of a server that went away (P8).
        """
        if self._client_left:
            return _NORMAL
        return _ABNORMAL if self._down.code is None else self._down.code


def _sid_of(message: str | bytes) -> str | None:
    """Return the client id that the first status of a socket names (P1)."""
    if not isinstance(message, str):
        return None
    try:
        value = codec.loads(message.encode("utf-8", "replace"))
    except codec.Unreadable:
        return None
    data = value.get("data") if isinstance(value, dict) else None
    sid = data.get("sid") if isinstance(data, dict) else None
    return sid if isinstance(sid, str) and sid else None
