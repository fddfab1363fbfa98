"""Entries: the one way from what passes into the log, for all servers, and who of the clients has which windows.

What passes never waits for the disk, except where more waits for it than may: then reading pauses, and nothing is lost.
If the log refuses, what passes from then on is counted and not written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import ClientClosed, LogError
from comfy_fsm.live.engine.ingest import Ingest
from comfy_fsm.live.redaction.messages import Redactor

__all__ = ["Entries", "Visitor"]


class Visitor(NamedTuple):
    """Client, as far as one can be told from another: two tabs of a browser cannot."""

    host: str
    agent: str


class Entries:
    """Entries of one recording."""

    def __init__(
        self, ingest: Ingest, redactor: Redactor, clock: Callable[[], float], say: Callable[[str], object]
    ) -> None:
        self.redactor = redactor
        self.clock = clock
        self.say = say
        """Tells the user something that no entry tells."""
        self.written = self.unwritten = 0
        self.numbers = count(1)
        self.connections = count(1)
        self._ingest = ingest
        self._windows: dict[tuple[str, Visitor], Counter[str]] = {}
        self._said: set[str] = set()

    def put(self, observation: AnyObservation, line: bytes = b"", kept: bytes = b"") -> bool:
        """Take an entry; returns whether there is room for another."""
        try:
            room = self._ingest.put(line or codec.encode(observation), observation, kept=kept)
        except (LogError, ClientClosed):  # which is told by who waits for the ingest
            self.unwritten += 1
            return True
        self.written += 1
        return room

    async def clean(self, line: bytes) -> bytes:
        """Redact a long line in another thread; empty for a short one."""
        return await self._ingest.clean(line)

    async def room(self) -> None:
        """Wait until the disk has taken some of it."""
        await self._ingest.room()

    def say_once(self, text: str) -> None:
        """Tell something, and not again."""
        if text not in self._said and len(self._said) < 1_000:
            self._said.add(text)
            self.say(text)

    # windows

    def open_window(self, server: str, visitor: Visitor, window: str) -> None:
        self._windows.setdefault((server, visitor), Counter())[window] += 1

    def close_window(self, server: str, visitor: Visitor, window: str) -> None:
        windows = self._windows[server, visitor]
        windows[window] -= 1
        if not windows[window]:
            del windows[window]
        if not windows:
            del self._windows[server, visitor]

    def window_of(self, server: str, visitor: Visitor) -> str | None:
        """Return the only window that the client has at this server; None if it has none, or several."""
        windows = self._windows.get((server, visitor), ())
        return next(iter(windows)) if len(windows) == 1 else None
