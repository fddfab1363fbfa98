"""Consequences of a fault: what of a judgement is compared, and how it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

from msgspec import Struct

from comfy_fsm.core.findings import CODES, Code, Severity
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import AnyObservation
from replay.reduction.goal import Key, fold

__all__ = ["EFFECTS", "NOTHING", "Consequence", "Effect", "Judged", "TaskKey", "compare", "judge", "judged"]

TaskKey = tuple[str, str | None, int]
"""Server, prompt id, and which one it is of those under this id."""

Effect = Literal["task", "error", "warning"]
"""The gravest of what changes: a state or outcome, an error, or warnings alone."""
EFFECTS: tuple[Effect, ...] = get_args(Effect)


class Judged(Struct, frozen=True):
    """States and outcomes of tasks, with errors and warnings."""

    tasks: dict[TaskKey, tuple[State, State | None]]
    findings: frozenset[Key]


class Consequence(Struct, frozen=True):
    """Difference of one judgement from another: tasks that are one way before and another after, and findings."""

    tasks: tuple[tuple[TaskKey, State | None, State | None], ...]
    added: tuple[Code, ...]
    gone: tuple[Code, ...]

    @property
    def is_nothing(self) -> bool:
        return not (self.tasks or self.added or self.gone)

    @property
    def effect(self) -> Effect | None:
        if self.is_nothing:
            return None
        return "task" if self.tasks else "error" if self.is_grave else "warning"

    @property
    def is_grave(self) -> bool:
        """Return whether a state or an error differs, and not warnings alone."""
        return bool(self.tasks) or any(CODES[code].severity is Severity.ERROR for code in (*self.added, *self.gone))


NOTHING = Consequence((), (), ())


def judge(observations: Iterable[AnyObservation]) -> Judged:
    return judged(fold(observations))


def compare(before: Judged, after: Judged) -> Consequence:
    keys = dict.fromkeys((*before.tasks, *after.tasks))
    tasks = tuple(
        (key, _state(before, key), _state(after, key)) for key in keys if before.tasks.get(key) != after.tasks.get(key)
    )
    return Consequence(
        tasks, _codes(after.findings - before.findings), _codes(before.findings - after.findings)
    )  # fmt: skip


def judged(board: Board) -> Judged:
    """Return what is judged of a finished board."""
    tasks: dict[TaskKey, tuple[State, State | None]] = {}
    number: Counter[tuple[str, str | None]] = Counter()
    for task in board.tasks:
        number[task.server, task.prompt_id] += 1
        tasks[task.server, task.prompt_id, number[task.server, task.prompt_id]] = (task.state, task.outcome)
    grave = (each for each in board.findings if each.severity is not Severity.NOTE)
    return Judged(tasks, frozenset((each.code, each.window, each.server, each.prompt_id) for each in grave))


def _state(judged: Judged, key: TaskKey) -> State | None:
    return judged.tasks[key][0] if key in judged.tasks else None


def _codes(keys: Iterable[Key]) -> tuple[Code, ...]:
    return tuple(sorted({key[0] for key in keys}))
