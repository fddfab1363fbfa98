"""Spans of time in which a server could not be asked, which do not count as silence of its tasks."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

__all__ = ["MOST", "UnreachableSpans"]

MOST = 256
"""Spans remembered for each server: a silent task is asked about far more often than a server can be away so many
times."""


@dataclass(slots=True, eq=False)
class UnreachableSpans:
    """Spans in order of time; `skip` costs the same however many there were."""

    begun: list[float] = field(default_factory=list)
    over: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    """Seconds outside of them, summed up to the start of each."""
    count: int = 0
    """Number of all spans, also of those that are no longer remembered."""

    def add(self, begun: float, over: float) -> None:
        last = self.over[-1] if self.over else begun
        self.between.append((self.between[-1] if self.between else 0.0) + max(0.0, begun - last))
        self.begun.append(begun)
        self.over.append(max(over, last))
        self.count += 1
        if len(self.over) > 2 * MOST:
            for each in (self.begun, self.over, self.between):
                del each[:MOST]

    def skip(self, since: float, told: int) -> float:
        """Return the time from which a silence counts that began at `since`; its first `told` spans were skipped
        before."""
        if not self.over:
            return since
        gone = self.count - len(self.over)
        first = max(told - gone, bisect_right(self.over, since))
        if first >= len(self.over):
            return since
        asked = max(0.0, self.begun[first] - since) + self.between[-1] - self.between[first]
        return self.over[-1] - asked
