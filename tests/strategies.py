"""What other tests draw from: a small universe, true runs of a scripted server, odd observations, and mixtures.

The universe is small so that things collide: two servers, three windows, three prompt ids, graphs of three nodes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core import wire
from comfy_fsm.core.board import Board
from comfy_fsm.core.observations import AnyObservation, Entry

SERVERS = ("http://one:8188", "http://two:8188")
WINDOWS = ("window-a", "window-b", "window-c")
PROMPTS = tuple(f"0000000{n}-aaaa-4bbb-8ccc-00000000000{n}" for n in (1, 2, 3))
GRAPHS = (
    {"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "B", "inputs": {"x": ["1", 0]}},
     "3": {"class_type": "C", "inputs": {"x": ["2", 0]}}},
    {"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "C", "inputs": {"x": ["1", 0]}},
     "3": {"class_type": "C", "inputs": {"x": ["1", 0]}}},
)  # fmt: skip
START = 1_795_000_000.0
Source = tuple[str | None, str | None, str]

# folding


def entries(observations: Iterable[AnyObservation], first: int = 1) -> list[Entry]:
    return [Entry(position, o) for position, o in enumerate(observations, first)]


def fold_all(observations: Iterable[AnyObservation], *, finish: bool = True) -> Board:
    board = Board()
    for position, o in enumerate(observations, 1):
        board.fold(Entry(position, o))
    if finish:
        board.finish()
    return board


def outcomes(board: Board) -> dict[tuple[str, str | None], list[tuple[str, str | None]]]:
    """State and outcome of every task, by server and prompt id; a list, since one id may be posted twice."""
    found: dict[tuple[str, str | None], list[tuple[str, str | None]]] = {}
    for task in board.tasks:
        outcome = None if task.outcome is None else str(task.outcome)
        found.setdefault((task.server, task.prompt_id), []).append((str(task.state), outcome))
    return {key: sorted(tasks, key=str) for key, tasks in found.items()}


# mixing


def source_of(o: AnyObservation) -> Source:
    """Whose order an observation keeps: that of one window's socket at one server, or of one window's own acts."""
    if isinstance(o, seen.Opened | seen.Closed | seen.Message | seen.Binary | seen.Undecodable):
        return o.window, o.server, "ws"
    return o.window, None, "http"


def sources_of(observations: Iterable[AnyObservation]) -> list[list[AnyObservation]]:
    found: dict[Source, list[AnyObservation]] = {}
    for o in observations:
        found.setdefault(source_of(o), []).append(o)
    return list(found.values())


def interleave(
    sources: Sequence[Sequence[AnyObservation]], dice: random.Random, lag: int | None = None
) -> list[AnyObservation]:
    """A merge that keeps each source's order; with `lag`, none runs ahead of the oldest by more than so many."""
    order = {id(o): n for n, o in enumerate(sorted((o for s in sources for o in s), key=lambda o: o.at))}
    heads = [0] * len(sources)
    mixed: list[AnyObservation] = []
    while True:
        waiting = [n for n, source in enumerate(sources) if heads[n] < len(source)]
        if not waiting:
            return mixed
        if lag is not None:
            oldest = min(order[id(sources[n][heads[n]])] for n in waiting)
            waiting = [n for n in waiting if order[id(sources[n][heads[n]])] <= oldest + lag]
        chosen = dice.choice(waiting)
        mixed.append(sources[chosen][heads[chosen]])
        heads[chosen] += 1


