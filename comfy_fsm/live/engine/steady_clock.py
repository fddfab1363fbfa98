"""Time of day that does not step: setting the system clock moves no deadline and no silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["STEP", "SteadyClock"]

STEP = 5.0
"""Seconds by which the two may differ before that is told: clocks are slewed, and not all run alike."""


class SteadyClock:
    """Time of day when it was created, carried on by the clock of the running loop; call it for the time."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._loop_time = asyncio.get_running_loop().time
        self._ahead = wall() - self._loop_time()
        self._told = 0.0

    def __call__(self) -> float:
        return self._ahead + self._loop_time()

    def step(self) -> float | None:
        """Return by how much the system clock is ahead of this one, once after each change; otherwise None."""
        ahead = self._wall() - self()
        if abs(ahead - self._told) < STEP:
            return None
        self._told = ahead
        return ahead
