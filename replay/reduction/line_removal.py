"""Selects lines: whole sources first, then tasks, exchanges and single lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain

from comfy_fsm.core import observations as seen
from replay.lines.order import admissible, needs, prompt_of, source_of
from replay.lines.reading import Line
from replay.reduction.delta_debugging import minimal, minimal_in_pairs
from replay.reduction.goal import Goal, fold

__all__ = ["Trials", "drop_idle", "select"]

_Search = Callable[[Sequence[list[int]], Callable[[list[list[int]]], bool]], list[list[int]]]


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
    for keys in (_sources, _tasks, _exchanges):
        lines = _left(lines, keys(lines), minimal, trials)
    return _left(lines, range(len(lines)), minimal_in_pairs, trials)


def drop_idle(lines: Sequence[Line], trials: Trials) -> list[Line]:
    """Return the lines that hold in these trials, without those that can be left out one by one.

    For lines that were shortened: what a field asked for, such as another frame, may be of no use without it.
    """
    return _left(lines, range(len(lines)), minimal, trials)


def _left(lines: Sequence[Line], keys: Sequence[Hashable], smallest: _Search, trials: Trials) -> list[Line]:
    """Return what a search leaves of the lines, of which those with the same key stay or go together."""
    needed = needs(lines)

    def holds(groups: list[list[int]]) -> bool:
        return trials.holds(lines[index] for index in admissible(_flat(groups), needed))

    return [lines[index] for index in admissible(_flat(smallest(_grouped(keys), holds)), needed)]


def _flat(groups: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(groups))


def _grouped(keys: Iterable[Hashable]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
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
