"""Makespan of a batch: assigns its last jobs so that all end early, so few that most assignments can be tried.

Numbers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

__all__ = ["BUDGET", "assign"]

BUDGET = 2_000
"""Steps of the search: a few milliseconds. It starts with the greedy plan, and may stop anywhere after that."""
_GAIN = 1e-9


class _Search(Struct, eq=False):
    seconds: Sequence[Sequence[float]]
    loads: list[float]
    chosen: list[int]
    best: list[int]
    ends: float
    steps: int


def assign(seconds: Sequence[Sequence[float]], loads: Sequence[float]) -> list[int]:
    """Return for each job the server that it should go to, so that the last of all ends as early as possible.

    `seconds[job][server]` is what a job takes there, the longest jobs first; `loads` are the seconds of work that each
    server has already.
    """
    search = _Search(seconds, list(loads), [0] * len(seconds), [], float("inf"), BUDGET)
    _descend(search, 0, max(loads, default=0.0))
    return search.best


def _descend(search: _Search, job: int, ends: float) -> None:
    """Search depth first, the earliest end first, so that the first plan found is the greedy one."""
    if job == len(search.seconds):
        search.best, search.ends = list(search.chosen), ends
        return
    loads, takes = search.loads, search.seconds[job]
    ways = sorted((load + takes[server], server) for server, load in enumerate(loads))
    for after, server in ways:
        if max(ends, after) >= search.ends - _GAIN or (search.best and search.steps <= 0):
            return  # the other servers end it even later
        search.steps -= 1
        before, loads[server] = loads[server], after
        search.chosen[job] = server
        _descend(search, job + 1, max(ends, after))
        loads[server] = before
