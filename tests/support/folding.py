"""Helpers that fold observations and return what the board says of each task."""

from __future__ import annotations

from collections.abc import Iterable

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


def outcomes(board: Board) -> dict[tuple[str, str | None], list[tuple[str, str | None]]]:
    """State and outcome of every task, by server and prompt id; a list, since one id may be posted twice."""
    found: dict[tuple[str, str | None], list[tuple[str, str | None]]] = {}
    for task in board.tasks:
        outcome = None if task.outcome is None else str(task.outcome)
        found.setdefault((task.server, task.prompt_id), []).append((str(task.state), outcome))
    return {key: sorted(tasks, key=str) for key, tasks in found.items()}
