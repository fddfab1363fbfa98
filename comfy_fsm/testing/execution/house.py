"""What all prompts of one server share while they run: its cache, its files, and who may interrupt whom."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from comfy_fsm.testing.execution.nodes import Graph, Interrupted
from comfy_fsm.testing.execution.pictures import Files
from comfy_fsm.testing.faults import Faults
from comfy_fsm.testing.profiles import Profile
from comfy_fsm.testing.publishing import Publisher

__all__ = ["STANDING", "Ended", "House", "Item", "Kept"]

STANDING = 0.005  # seconds between two looks whether a dead worker was brought back


class Item(NamedTuple):
    """A prompt in the queue. Compared as a tuple: a tie of number and id comes to the graph, and fails (P11)."""

    number: float
    prompt_id: str
    graph: Graph
    extra_data: dict[str, object]
    outputs: list[str]

    @property
    def client_id(self) -> str | None:
        owner = self.extra_data.get("client_id")
        return owner if isinstance(owner, str) else None


class Kept(NamedTuple):
    """What the cache has of a node."""

    values: tuple[object, ...]
    shown: dict[str, object] | None


class Ended(NamedTuple):
    """How it ended, for the history."""

    success: bool
    messages: list[tuple[str, dict[str, object]]]
    outputs: dict[str, object]
    meta: dict[str, object]


@dataclass
class House:
    """What all prompts of a server share, one after another."""

    profile: Profile
    faults: Faults
    files: Files
    publisher: Publisher
    step_seconds: float
    broken: list[Exception]  # what went wrong in the fake itself, over all its lives
    cache: dict[str, Kept] = field(default_factory=dict)
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    on_air: tuple[str, str] | None = None  # who would be told which node on connecting again (P4)

    async def pause(self, seconds: float) -> None:
        """Time goes by; raises Interrupted if somebody asked for it meanwhile."""
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.interrupted.wait()
        else:
            await asyncio.sleep(0)
        await self.stand()
        if self.interrupted.is_set():
            raise Interrupted

    def evict(self, needed: set[str]) -> None:
        """Where memory is short, the cache keeps no values but of these nodes, and what is shown (P49)."""
        if self.profile.evicts_under_pressure and self.faults.short_memory:
            self.cache = {key: kept for key, kept in self.cache.items() if kept.shown or key in needed}

    async def stand(self) -> None:
        """For as long as the worker is dead, nothing goes on (P34)."""
        while self.faults.dead_worker:  # noqa: ASYNC110 (a knob is a plain value, which anybody may set)
            await asyncio.sleep(STANDING)
