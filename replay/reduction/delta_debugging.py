"""Delta debugging: the part of a list without which what is wanted no longer holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

__all__ = ["minimal", "minimal_in_pairs"]

_T = TypeVar("_T")
_FEW = 24
"""Parts of which each pair is tried: some are of no use but to each other, such as a question and the next one."""


def minimal(parts: Sequence[_T], holds: Callable[[list[_T]], bool]) -> list[_T]:
    """Return a part, in order, of which nothing more can be left out, one by one; the whole is known to hold.

    Chunks are left out from the end, half of it first: what a finding needs is mostly near the beginning, and the later
    a line, the fewer need it. Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", without the
    subsets, which hardly ever hold by themselves where each line needs others.
    """
    kept = list(parts)
    size = max(len(kept) // 2, 1)
    while kept:
        before = len(kept)
        for start in range((before - 1) // size * size, -1, -size):
            smaller = kept[:start] + kept[start + size :]
            if holds(smaller):
                kept = smaller
        if size == 1 and len(kept) == before:
            break
        size = max(min(size, len(kept)) // 2, 1)
    return kept


def minimal_in_pairs(parts: Sequence[_T], holds: Callable[[list[_T]], bool]) -> list[_T]:
    """Return a part, in order, of which neither one nor two can be left out; of many, not one."""
    kept = minimal(parts, holds)
    while len(kept) <= _FEW:
        smaller = (kept[:i] + kept[i + 1 : j] + kept[j + 1 :] for i, j in combinations(range(len(kept)), 2))
        found = next((part for part in smaller if holds(part)), None)
        if found is None:
            break
        kept = minimal(found, holds)
    return kept
