"""State that all prompts of one server share while they run: cache, files, interrupts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from comfy_fsm.testing.execution.nodes import Graph, Interrupted
from comfy_fsm.testing.execution.pictures import Files
from comfy_fsm.testing.faults import Faults
from comfy_fsm.testing.profiles import Profile
from comfy_fsm.testing.sockets import Publisher

__all__ = ["STANDING", "Ended", "Item", "Kept", "SharedState"]

STANDING = 0.005  # seconds between two looks whether a dead worker was brought back


class Item(NamedTuple):
    """Prompt in the queue. Items compare as tuples: with equal number and id, the graphs are compared, which fails
    (P11).
    """

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
    """Cache entry of a node."""

    values: tuple[object, ...]
    shown: dict[str, object] | None


class Ended(NamedTuple):
    """End of a prompt, for the history."""

    success: bool
    messages: list[tuple[str, dict[str, object]]]
    outputs: dict[str, object]
    meta: dict[str, object]


@dataclass
class SharedState:
    """State shared by all prompts of a server."""

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
        """Let time pass; raises Interrupted if an interrupt comes meanwhile."""
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
        """Drop cached values of nodes that are not needed, as under memory pressure; what was shown is kept (P49)."""
        if self.profile.evicts_under_pressure and self.faults.short_memory:
            self.cache = {key: kept for key, kept in self.cache.items() if kept.shown or key in needed}

    async def stand(self) -> None:
        """Block as long as the worker is dead (P34)."""
        while self.faults.dead_worker:  # noqa: ASYNC110 (a knob is a plain value, which anybody may set)
            await asyncio.sleep(STANDING)
