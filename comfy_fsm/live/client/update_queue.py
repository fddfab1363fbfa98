"""Queue of updates for one listener, which drops outdated ones if the listener is slow.

Among updates that wait, a later one about the same node replaces the earlier; the end is never replaced or lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec

from comfy_fsm.core.updates import Update
from comfy_fsm.live.client.image_spool import KeptImage
from comfy_fsm.mime_types import type_in

__all__ = ["WAITING", "UpdateQueue"]

WAITING = 1_000
"""Updates that wait in one queue; beyond, the oldest makes room."""


class UpdateQueue:
    """Queue of updates for one reader."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str | None], tuple[Update, KeptImage | None]] = {}
        self._images = 0
        self._news = asyncio.Event()
        self._ended = False

    def put(self, update: Update, kept: KeptImage | None = None) -> None:
        """Add an update; `kept` is the image of a result, which replaces no other and is read when its turn comes."""
        key = (update.name, update.node if kept is None else update.text)
        self._waiting.pop(key, None)  # the newest goes to the end: a reader sees things in the order they happened last
        self._waiting[key] = update, kept
        self._images += kept is not None
        if len(self._waiting) - self._images > WAITING:
            del self._waiting[next(key for key, (_, kept) in self._waiting.items() if kept is None)]
        self._news.set()

    @property
    def images(self) -> int:
        """Number of waiting images that are results, which the reader gets nowhere else."""
        return self._images

    def end(self) -> None:
        """Accept no more; what waits can still be read."""
        self._ended = True
        self._news.set()

    def empty(self) -> None:
        self._waiting.clear()
        self._images = 0

    async def __aiter__(self) -> AsyncIterator[Update]:
        while True:
            while self._waiting:
                update, kept = self._waiting.pop(next(iter(self._waiting)))
                if kept is not None:
                    self._images -= 1
                    with suppress(OSError):  # it is gone: whoever saves the outputs is told why
                        image = kept.read()
                        update = msgspec.structs.replace(update, image=image, format=type_in(image))
                yield update
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()
