"""A time of day that does not step: whoever sets the clock moves no deadline and no silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["STEP", "SteadyClock"]

STEP = 5.0
"""Seconds by which the two may differ before that is told: clocks are slewed, and not all run alike."""


class SteadyClock:
    """The time of day when it was made, carried on by the clock of the running loop; call it for the time."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._loop_time = asyncio.get_running_loop().time
        self._ahead = wall() - self._loop_time()
        self._told = 0.0

    def __call__(self) -> float:
        return self._ahead + self._loop_time()

    def step(self) -> float | None:
        """By how much the wall clock is ahead of ours now, each time that this has changed; it is told once."""
        ahead = self._wall() - self()
        if abs(ahead - self._told) < STEP:
            return None
        self._told = ahead
        return ahead
