"""Thinning: keeps so many of the lines that a picture stays small, evenly over the time, and counts the others."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Thinned"]

_T = TypeVar("_T")


class Thinned(Generic[_T]):
    """Items in their order, at most so many. Where more come, every second of those kept goes, and again."""

    def __init__(self, most: int) -> None:
        self._most = max(most, 2)
        self._stride = 1
        self.seen = 0
        self.items: list[_T] = []

    def add(self, item: _T) -> None:
        if self.seen % self._stride == 0:
            if len(self.items) >= self._most:
                self.items = self.items[::2]
                self._stride *= 2
            if self.seen % self._stride == 0:
                self.items.append(item)
        self.seen += 1

    @property
    def left_out(self) -> int:
        return self.seen - len(self.items)
