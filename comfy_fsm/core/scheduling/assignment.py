"""The end of a batch, planned: so few jobs that most ways to share them out can be tried. Numbers in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

BUDGET = 2_000
"""Steps of the search: a few milliseconds. It begins with the greedy plan, and may end anywhere after."""
_GAIN = 1e-9


class _Search(Struct, eq=False):
    seconds: Sequence[Sequence[float]]
    loads: list[float]
    chosen: list[int]
    best: list[int]
    ends: float
    steps: int


def assign(seconds: Sequence[Sequence[float]], loads: Sequence[float]) -> list[int]:
    """For each job the server that it should go to, so that the last of all ends as early as can be.

    `seconds[job][server]` is what it takes there, the longest jobs first; `loads` what each server has to do already.
    """
    search = _Search(seconds, list(loads), [0] * len(seconds), [], float("inf"), BUDGET)
    _descend(search, 0, max(loads, default=0.0))
    return search.best


def _descend(search: _Search, job: int, ends: float) -> None:
    """Depth first, the earliest end first: the first way down is the greedy plan."""
    if job == len(search.seconds):
        search.best, search.ends = list(search.chosen), ends
        return
    loads, takes = search.loads, search.seconds[job]
    ways = sorted((load + takes[server], server) for server, load in enumerate(loads))
    for after, server in ways:
        if max(ends, after) >= search.ends - _GAIN or (search.best and search.steps <= 0):
            return  # the further ways end later still
        search.steps -= 1
        before, loads[server] = loads[server], after
        search.chosen[job] = server
        _descend(search, job + 1, max(ends, after))
        loads[server] = before
