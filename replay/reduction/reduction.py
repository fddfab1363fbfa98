"""Reduction of a trace to the smallest that shows the same, checked by folding what would be written."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec import Struct

from comfy_fsm.errors import InvariantBroken
from comfy_fsm.log.trace import read_lines
from replay.lines.reading import Line, Lines
from replay.reduction.goal import Goal, fold
from replay.reduction.line_removal import Trials, drop_idle, select
from replay.reduction.line_shortening import shorten

__all__ = ["Reduced", "reduce"]


class Reduced(Struct, frozen=True):
    """Smaller trace, with what it shows, and what it took to find it."""

    lines: list[Line]
    goal: Goal
    """What it shows, under the names that stand in it."""
    folds: int
    seconds: float
    given_up: bool
    """The time was over before nothing more could be left out."""

    @property
    def content(self) -> bytes:
        return b"".join(line.text + b"\n" for line in self.lines)


def reduce(whole: Lines, goal: Goal, budget: float) -> Reduced:
    """Return the smallest part found within so many seconds; raises InvariantBroken if, written, it fails."""
    began = time.monotonic()
    trials = Trials(goal, began + budget)
    lines = select(whole.lines, trials)
    size = _size(lines) + 1
    while _size(lines) < size:  # with one field gone, another may be of no use, and so may a whole line
        size = _size(lines)
        lines = drop_idle(shorten(lines, trials), trials)
    found = Reduced(lines, trials.goal, trials.folds, time.monotonic() - began, trials.given_up)
    blocks = read_lines(found.content.splitlines(), "the smaller trace")
    if not found.goal.met(fold(observation for block in blocks for observation in block.observations)):
        raise InvariantBroken("the smaller trace does not show what it was made to show")
    return found


def _size(lines: Sequence[Line]) -> int:
    return sum(len(line.text) for line in lines)
