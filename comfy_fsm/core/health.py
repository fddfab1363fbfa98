"""Whether a server may be given tasks: taken out when it fails or stands still, and tried again, ever later.

    up ──fail──► out ──answer, from `again_at` on──► trial ──succeed──► up
     └──stall──► still ──anything moves──► trial     trial ──fail──► out, for twice as long

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


class Health(Struct, eq=False):
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

    def succeed(self) -> None:
        """It accepted a task: what is wrong with it will show in what becomes of the task."""
        if self.standing is Standing.TRIAL:
            self.standing, self.failures = Standing.UP, 0

    def see(self, listed: frozenset[str], frames: int, now: float) -> None:
        """What its queue lists, and how many frames came of our tasks: something left, or was told of, or nothing."""
        if not listed or not self._listed or self._listed - listed or frames != self._frames:
            self.moved_at = now
            if self.standing is Standing.STILL:
                self.standing = Standing.TRIAL
        self._listed, self._frames = listed, frames
        if listed and now - self.moved_at >= self.still_seconds and self.standing in (Standing.UP, Standing.TRIAL):
            self._leave(Standing.STILL, now)

    def _leave(self, standing: Standing, now: float) -> None:
        self.standing = standing
        self.again_at = now + min(self.first_seconds * 2 ** min(self.failures, 16), self.limit_seconds)
        self.failures += 1
