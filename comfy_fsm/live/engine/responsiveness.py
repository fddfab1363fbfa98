"""Responsiveness of the application's loop: thousands of things are taken up in turns, and no collection is long.

A full collection looks at every container of the process while nothing else runs, in whatever thread it falls due:
0.3 s where an earlier process left 10,000 tasks. So nothing is collected while what stays is made, and the tasks of a
large board are left out of collections until their client is closed. All that a collection ever frees is cycles, and
a task that ends is in none.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["IN_A_TURN", "MANY_TASKS", "Exemption", "in_turns", "paused", "undisturbed"]

IN_A_TURN = 100
"""Of thousands of tasks or effects, how many are taken up in one turn of the application's loop."""
MANY_TASKS = 1_000
"""Tasks on a board from which on they are left out: they are some 40,000 containers, and 10 ms of a collection."""

_T = TypeVar("_T")
_door = threading.Lock()
_pauses = 0
_exempting = 0


async def in_turns(items: Iterable[_T]) -> AsyncIterator[_T]:
    """Yield each of them, and let others have the loop in between."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % IN_A_TURN:
            await asyncio.sleep(0)


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing meanwhile, in no thread; nothing changes where the application does not collect by itself."""
    global _pauses
    with _door:
        pauses = _pauses > 0 or gc.isenabled()
        _pauses += pauses
        gc.disable()
    try:
        yield
    finally:
        with _door:
            _pauses -= pauses
            if pauses and not _pauses:
                gc.enable()


def undisturbed(work: Callable[[], _T]) -> _T:
    """Do work that makes many containers, with collections paused."""
    with paused():
        return work()


class Exemption:
    """Exemption of all that exists from collections, begun by one client and ended by it.

    Cycles that are garbage by then are freed after it ends. An application that froze its containers itself decides
    that for itself: then nothing is done.
    """

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        global _exempting
        with _door:
            if not self._begun and (_exempting or not gc.get_freeze_count()):
                gc.freeze()
                self._begun, _exempting = True, _exempting + 1

    def end(self) -> None:
        global _exempting
        with _door:
            if self._begun:
                self._begun, _exempting = False, _exempting - 1
                if not _exempting:
                    gc.unfreeze()
