"""Selects lines: whole sources first, then tasks, exchanges and single lines."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

from comfy_fsm.core import observations as seen
from replay.lines.order import admissible, needs, prompt_of, source_of
from replay.lines.reading import Line
from replay.reduction.delta_debugging import minimal, minimal_in_pairs
from replay.reduction.goal import Goal, fold

__all__ = ["Trials", "select"]


class Trials:
    """Parts of a trace that are folded to see whether they still show what is wanted; counted, and ended in time."""

    def __init__(self, goal: Goal, deadline: float) -> None:
        self.goal = goal
        self.folds = 0
        self.given_up = False
        self._deadline = deadline

    def holds(self, lines: Iterable[Line]) -> bool:
        """Return whether these lines show it; once the time is over, nothing is tried any more."""
        if time.monotonic() > self._deadline:
            self.given_up = True
            return False
        observations = [line.observation for line in lines]
        if all(isinstance(o, seen.Damaged) for o in observations):
            return False  # which would be no trace at all
        self.folds += 1
        return self.goal.met(fold(observations))


def select(lines: Sequence[Line], trials: Trials) -> list[Line]:
    """Return the fewest lines, in their order and admissible, that hold in these trials."""
    needed = needs(lines)
    kept = list(range(len(lines)))

    def holds(groups: list[list[int]]) -> bool:
        return trials.holds(lines[index] for index in admissible(_flat(groups), needed))

    for key in (_sources(lines), _tasks(lines), _exchanges(lines)):
        kept = admissible(_flat(minimal(_grouped(kept, key), holds)), needed)
    kept = admissible(_flat(minimal_in_pairs([[index] for index in kept], holds)), needed)
    return [lines[index] for index in kept]


def _flat(groups: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(groups))


def _grouped(kept: Iterable[int], keys: Sequence[Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for index in kept:
        groups.setdefault(keys[index], []).append(index)
    return list(groups.values())


def _sources(lines: Sequence[Line]) -> list[Hashable]:
    return [source_of(line.observation) for line in lines]


def _tasks(lines: Sequence[Line]) -> list[Hashable]:
    """Keys by which lines that name one prompt belong together, with what was answered to them; all others, too."""
    asked = {
        line.observation.data.id: prompt_of(line.observation)
        for line in lines
        if isinstance(line.observation, seen.Request)
    }
    return [asked.get(_exchange(line) or "", prompt_of(line.observation)) for line in lines]


def _exchanges(lines: Sequence[Line]) -> list[Hashable]:
    return [_exchange(line) or index for index, line in enumerate(lines)]


def _exchange(line: Line) -> str | None:
    o = line.observation
    return o.data.id if isinstance(o, seen.Request | seen.Response | seen.NoAnswer) else None
