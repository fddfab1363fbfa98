"""Helpers that fold observations and return what the board says of each task."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.observations import AnyObservation, Entry
from comfy_fsm.core.policy import DEFAULT, Policy


def entries(observations: Iterable[AnyObservation], first: int = 1) -> list[Entry]:
    return [Entry(position, o) for position, o in enumerate(observations, first)]


def fold_all(observations: Iterable[AnyObservation], *, finish: bool = True, policy: Policy = DEFAULT) -> Board:
    board = Board(policy)
    for position, o in enumerate(observations, 1):
        board.fold(Entry(position, o))
    if finish:
        board.finish()
    return board


def facts(value: Any) -> Any:
    """A task or a finding as plain values, its parts in it."""
    if is_dataclass(value):
        return {field.name: facts(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: facts(each) for key, each in value.items()}
    return [facts(each) for each in value] if isinstance(value, list | tuple) else value


Outcomes = dict[tuple[str, str | None], list[tuple[str, str | None]]]


def outcomes(board: Board) -> Outcomes:
    """State and outcome of every task, by server and prompt id; a list, since one id may be posted twice."""
    found: Outcomes = {}
    for task in board.tasks:
        outcome = None if task.outcome is None else str(task.outcome)
        found.setdefault((task.server, task.prompt_id), []).append((str(task.state), outcome))
    return {key: sorted(tasks, key=str) for key, tasks in found.items()}
