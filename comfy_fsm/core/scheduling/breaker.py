"""Whether a server may be given tasks: taken out when it fails or stands still, and tried again, ever later.

    up ──fail──► out ──answer, from `again_at` on──► trial ──accept──► up      trial ──fail──► out, twice as long
     └──stall──► still ──anything moves, or it is empty from `again_at` on──► trial ──complete──► up

Must know no clock and no socket: time is an argument, and whoever asks says what came of it.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Standing(StrEnum):
    """How a server stands with whoever places tasks."""

    __hash__ = str.__hash__

    UP = "up"
    TRIAL = "trial"
    """It answers again: one task may try whether it works, too."""
    OUT = "out"
    """It refused, or did not answer."""
    STILL = "still"
    """It answers and accepts, and nothing moves (P34): a question cannot cure this doubt, only movement can."""


class Breaker(Struct, eq=False):
    """The standing of one server, and when it is asked again."""

    first_seconds: float = 1.0
    """How long it is left alone after its first failure; doubled by each further one."""
    limit_seconds: float = 60.0
    """The longest that it is left alone: a server that is mended should not wait for an hour."""
    still_seconds: float = 120.0
    """So long nothing may move while it has something to do. A node may rightly be silent (P5): to be given no more
    meanwhile costs little."""
    standing: Standing = Standing.UP
    failures: int = 0
    again_at: float = 0.0
    moved_at: float = 0.0
    _doubt: Standing = Standing.OUT
    """Why it was taken out last."""
    _listed: frozenset[str] = frozenset()
    _frames: int = 0

    def room(self, capacity: int) -> int:
        """How many tasks of ours it may hold now."""
        if self.standing is Standing.UP:
            return capacity
        return min(capacity, 1) if self.standing is Standing.TRIAL else 0

    def fail(self, now: float) -> None:
        """It refused, or did not answer in time."""
        self._leave(Standing.OUT, now)

    def answer(self, now: float) -> None:
        """A question was answered: that is no proof that it works, but a reason to try."""
        if self.standing is Standing.OUT and now >= self.again_at:
            self.standing = Standing.TRIAL

    def accept(self) -> None:
        """It accepted a task: what it refused before, it does again. One that stood still did so, too."""
        if self.standing is Standing.TRIAL and self._doubt is Standing.OUT:
            self.standing = Standing.UP

    def complete(self) -> None:
        """It ran a task to its end: whatever was doubted, it works."""
        self.failures = 0
        if self.standing is Standing.TRIAL:
            self.standing = Standing.UP

    def see(self, listed: frozenset[str], frames: int, now: float, removed: frozenset[str] = frozenset()) -> None:
        """What its queue lists, how many frames came of our tasks, and what we took out of that queue ourselves.

        That something left it by itself, or was told of, is movement; that we emptied it is none, but leaves nothing to
        see: then a task may try, later each time.
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
        self.again_at = now + min(first * 2 ** min(self.failures, 16), limit)
        self.failures += 1
