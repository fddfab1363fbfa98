"""Listener: one socket of one window at one server, whose frames become log entries.

It reads as long as the socket is open. An open socket proves nothing (P3): `frames` counts the frames except those that
greet every connection. If it does not grow although frames are due, the runner replaces the listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec
from comfy_fsm.core.wire.status import greets
from comfy_fsm.errors import InvariantBroken
from comfy_fsm.live.engine.closing import finish
from comfy_fsm.live.engine.frame_lines import FrameLines
from comfy_fsm.live.engine.ingest import Ingest, Noted
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.arrivals import Long, Message, Refused, SocketDown, SocketUp
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.websocket import handshake_errors

__all__ = ["Listener"]

_FRAMES_AT_ONCE = 50  # while frames wait, reading the next one gives no turn to anybody else


class Listener:
    """Socket that is read from `open` until `close`, and reconnects in between."""

    def __init__(
        self, server: Comfy, client_id: str, ingest: Ingest, redactor: Redactor, clock: Callable[[], float]
    ) -> None:
        self.server = server
        self.client_id = client_id
        self.frames = 0
        self.is_open = False
        self._ingest = ingest
        self._frames = FrameLines(redactor, server.url, client_id)
        self._clock = clock
        self.refused: Refused | None = None
        """Why the last handshake opened no socket."""
        self._refusals = 0
        self._changed = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def ready(self, patience: float) -> None:
        """Wait until the socket is open; raises HandshakeRefused or ServerUnreachable if it cannot be opened."""
        self.open()
        if self._listening is None:
            raise InvariantBroken("a socket was opened, and nobody listens to it")
        self._refusals = 0
        self.server.wake()
        try:
            async with asyncio.timeout(patience):
                while not self.is_open:
                    if self._tried_enough():
                        raise handshake_errors.error_of(self.server.url, self.refused, patience)
                    if self._listening.done():
                        self._listening.result()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise handshake_errors.error_of(self.server.url, self.refused, patience) from None

    def _tried_enough(self) -> bool:
        """Return whether to stop trying: at once if nothing will change, after a few attempts if nobody accepts the
        connection.
        """
        refused = self.refused
        if refused is None:
            return False
        nobody = handshake_errors.is_nobody(refused) and self._refusals >= handshake_errors.TRIES
        return handshake_errors.for_good(refused) or nobody

    def open(self) -> None:
        """Start listening, without waiting for the connection."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(), name=f"listener {self.client_id} {self.server.url}")
            self._listening.add_done_callback(lambda _: self._changed.set())  # a log that fails is no deaf socket

    async def _listen(self) -> None:
        url, window, conn = self.server.url, self.client_id, None
        frames, read = self.server.listen(window), 0
        try:
            async for heard in frames:
                if type(heard) is list:
                    await self._take(heard, conn)
                    read += len(heard)
                    if read >= _FRAMES_AT_ONCE:
                        read = 0
                        await asyncio.sleep(0)
                elif type(heard) is SocketUp:
                    conn = heard.conn
                    await self._ingest.write(seen.Opened(at=self._clock(), window=window, server=url, conn=conn))
                    self._turn(True, None)
                elif type(heard) is SocketDown:
                    self._turn(False, None)
                    await self._closed(heard.code, heard.reason, conn)
                elif type(heard) is Refused:
                    self._turn(False, heard)
                else:
                    raise InvariantBroken(f"a socket brought what no listener takes: {type(heard).__name__}")
        finally:
            await frames.aclose()
            if self.is_open:
                self._turn(False, None)
                await self._closed(1000, "closed by us", conn)

    async def _take(self, messages: list[Message], conn: int | None) -> None:
        """Write messages down that came together, and count them."""
        at, told, noted = self._clock(), self._frames.told, list[Noted]()
        for message in messages:
            if isinstance(message, str) or (isinstance(message, Long) and message.is_text):
                text = self._frames.text
                line, observation = told(message, at, conn) if type(message) is str else await text(message, at, conn)
                self.frames += not greets(getattr(observation, "data", None))
                noted.append(Noted(line, observation))
            else:
                line, image = await self._frames.binary(message, at, conn)
                self.frames += 1
                noted.append(Noted(line, codec.read(line), image))
        if len(noted) == 1:  # only what comes alone may be long
            noted[0].kept = await self._ingest.clean(noted[0].line)
        if not self._ingest.put_all(noted):
            await self._ingest.room()

    def _turn(self, is_open: bool, refused: Refused | None) -> None:
        self.is_open, self.refused = is_open, refused
        self._refusals += refused is not None
        self._changed.set()

    async def _closed(self, code: int, reason: str, conn: int | None) -> None:
        data = seen.CloseData(code)
        closed = seen.Closed(at=self._clock(), window=self.client_id, server=self.server.url, conn=conn, data=data)
        await self._ingest.write(closed)

    async def close(self) -> None:
        """Close the connection properly, so that the server forgets the right one (P3)."""
        if self._listening is not None:
            self._listening.cancel()
            await finish(self._listening)  # what ended it was told by whoever waited
