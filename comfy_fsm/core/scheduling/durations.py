"""Durations that runs are expected to take: learned from each, by the size of its graph and the pace of its server."""

from __future__ import annotations

import math
from collections import OrderedDict, deque

__all__ = ["Durations"]

_REMEMBERED = 4_096  # pairs of graph and server with known durations; the oldest is dropped first
_RECENT = 7  # runs of a pair over which the median is taken: an outlier (a cold start, all from the cache) says little
_STEP = 0.3  # share of a deviation by which a graph's size and a server's pace are corrected
_LEAST = 0.001  # seconds: a cached run takes none, and zero has no logarithm


class Durations:
    """Expected durations of runs: the median of a known pair of graph and server, otherwise size times pace.

    Nothing states them beforehand. The logarithms of size and pace are learned from each run, each by a share of the
    deviation.
    """

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._medians: dict[tuple[str, str], float] = {}
        self._sizes: OrderedDict[str, float] = OrderedDict()
        self._paces: dict[str, float] = {}
        self._usual = 0.0

    def learn(self, graph: str, url: str, seconds: float) -> None:
        told = math.log(max(seconds, _LEAST))
        size, pace = self._sizes.get(graph), self._paces.get(url)
        if size is None or pace is None:  # the one that is new takes what the other leaves
            known = self._usual_pace() if pace is None and size is None else pace or 0.0
            size = told - known if size is None else size
            pace = told - size if pace is None else pace
        surprise = told - size - pace
        self._sizes[graph] = size + _STEP * surprise / 2
        self._paces[url] = pace + _STEP * surprise / 2
        self._usual += _STEP * (self._sizes[graph] - self._usual) if len(self._sizes) > 1 else size - self._usual
        runs = self._pairs.setdefault((graph, url), deque(maxlen=_RECENT))
        runs.append(max(seconds, _LEAST))
        self._medians[graph, url] = sorted(runs)[len(runs) // 2]
        self._forget(graph, url)

    def _forget(self, graph: str, url: str) -> None:
        self._pairs.move_to_end((graph, url))
        self._sizes.move_to_end(graph)
        if len(self._pairs) > _REMEMBERED:
            del self._medians[self._pairs.popitem(last=False)[0]]
        if len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)

    def _usual_pace(self) -> float:
        return sum(self._paces.values()) / len(self._paces) if self._paces else 0.0

    def size(self, graph: str) -> float:
        """Return the seconds on a server of pace 1; for an unknown graph, the usual size."""
        return math.exp(self._sizes.get(graph, self._usual))

    def pace(self, url: str) -> float:
        """Return the seconds for a run of size 1; for an unknown server, the usual pace."""
        known = self._paces.get(url)
        return math.exp(self._usual_pace() if known is None else known)

    def expected(self, graph: str, url: str) -> float:
        known = self._medians.get((graph, url))
        return known if known is not None else self.size(graph) * self.pace(url)
