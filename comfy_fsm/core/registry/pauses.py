"""The times in which a server could not be asked: they are nobody's silence (R5.1)."""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct, field

MOST = 256
"""Remembered of one server: a quiet task is looked at far more often than a server can go away so many times."""


class Pauses(Struct, eq=False):
    """One after the other; `skip` costs the same however many there were since."""

    begun: list[float] = field(default_factory=list)
    over: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    """Seconds between all of them until this one began."""
    gone: int = 0
    """How many are remembered no more."""

    def __len__(self) -> int:
        return self.gone + len(self.over)

    def add(self, begun: float, over: float) -> None:
        last = self.over[-1] if self.over else begun
        self.between.append((self.between[-1] if self.between else 0.0) + max(0.0, begun - last))
        self.begun.append(begun)
        self.over.append(max(over, last))
        if len(self.over) > 2 * MOST:
            for each in (self.begun, self.over, self.between):
                del each[:MOST]
            self.gone += MOST

    def skip(self, since: float, told: int) -> float:
        """From when on a silence counts that began at `since`, of which the first `told` pauses were skipped before."""
        first = max(told - self.gone, bisect_right(self.over, since))
        if first >= len(self.over):
            return since
        asked = max(0.0, self.begun[first] - since) + self.between[-1] - self.between[first]
        return self.over[-1] - asked
