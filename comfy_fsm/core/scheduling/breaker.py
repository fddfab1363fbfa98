"""Circuit breaker: takes a server out when it fails or makes no progress, and tries it again at growing intervals.

    up ──fail──► out ──answer, from `again_at` on──► trial ──accept──► up      trial ──fail──► out, twice as long
     └──stall──► still ──progress, or empty from `again_at` on──► trial ──complete──► up

Knows no clock and no socket: time is an argument, and the caller reports the results.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comfy_fsm.core.policy import backoff

__all__ = ["Breaker", "Standing"]


class Standing(StrEnum):
    """Standing of a server: whether it may be given tasks."""

    __hash__ = str.__hash__

    UP = "up"
    TRIAL = "trial"
    """It answers again: one task may be tried there."""
    OUT = "out"
    """It refused, or did not answer."""
    STILL = "still"
    """It answers and accepts, but makes no progress (P34): only progress clears this, no answer does."""


@dataclass(slots=True, eq=False)
class Breaker:
    """Standing of one server, and when it is tried again."""

    first_seconds: float = 1.0
    """Seconds for which it is left alone after its first failure; doubled by each further one."""
    limit_seconds: float = 60.0
    """Longest time for which it is left alone, in seconds: a server that was repaired should not wait for an hour."""
    still_seconds: float = 120.0
    """Seconds without progress, while it has work, after which it is taken out. A node may be silent without fault
    (P5), but giving it no more work meanwhile costs little."""
    standing: Standing = Standing.UP
    failures: int = 0
    again_at: float = 0.0
    moved_at: float = 0.0
    _doubt: Standing = Standing.OUT
    """Reason why it was last taken out."""
    _listed: frozenset[str] = frozenset()
    _frames: int = 0

    def room(self, capacity: int) -> int:
        """Return how many of our tasks it may hold now."""
        if self.standing is Standing.UP:
            return capacity
        return min(capacity, 1) if self.standing is Standing.TRIAL else 0

    def fail(self, now: float) -> None:
        """Note that it refused, or did not answer in time."""
        self._leave(Standing.OUT, now)

    def answer(self, now: float) -> None:
        """Note that it answered a question: that does not prove that it works, but is a reason to try."""
        if self.standing is Standing.OUT and now >= self.again_at:
            self.standing = Standing.TRIAL

    def accept(self) -> None:
        """Note that it accepted a task: that ends an outage, but not a standstill, in which it accepts tasks, too."""
        if self.standing is Standing.TRIAL and self._doubt is Standing.OUT:
            self.standing = Standing.UP

    def complete(self) -> None:
        """Note that it ran a task to its end: whatever was in doubt, it works."""
        self.failures = 0
        if self.standing is Standing.TRIAL:
            self.standing = Standing.UP

    def see(self, listed: frozenset[str], frames: int, now: float, removed: frozenset[str] = frozenset()) -> None:
        """Note what its queue lists, how many frames about our tasks came, and what we removed from that queue
        ourselves.

        A prompt that left the queue by itself, or a frame, is progress. A queue that we emptied is not, but leaves
        nothing to observe: then a task may be tried, later each time.
        """
        moved = bool(self._listed - listed - removed) or frames > self._frames
        if moved or not listed or not self._listed:
            self.moved_at = now
        if self.standing is Standing.STILL and (moved or (not listed and now >= self.again_at)):
            self.standing = Standing.TRIAL
        self._listed, self._frames = listed, frames
        if listed and now - self.moved_at >= self.still_seconds and self.standing in (Standing.UP, Standing.TRIAL):
            self._leave(Standing.STILL, now)

    def _leave(self, standing: Standing, now: float) -> None:
        first = self.first_seconds if standing is Standing.OUT else self.still_seconds
        limit = max(self.limit_seconds, first)
        self.standing = self._doubt = standing
        self.again_at = now + backoff(first, limit, self.failures)
        self.failures += 1
