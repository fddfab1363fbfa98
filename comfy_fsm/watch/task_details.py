"""Details of one task for the page of `serve`: its diagnosis as plain values, each text of it made harmless."""

from __future__ import annotations

import msgspec

from comfy_fsm.core.explain.diagnosis import explain
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.registry.task import Task
from comfy_fsm.display import harmless
from comfy_fsm.report.diagnosis_text import untold
from comfy_fsm.report.player import tag_of

__all__ = ["details"]

_LONGEST = 4_000
"""Characters of a text: a command is not to be cut, and an error of a node is a paragraph."""
_MOVES = 200
"""Transitions that are told, the newest; a task has about ten."""


def details(board: Board, task: Task, log: str) -> dict[str, object]:
    """Return the diagnosis of a task of a board that was read from this log."""
    (told,) = explain(board, [task], log)
    found = {name: msgspec.to_builtins(getattr(told, name)) for name in told.__struct_fields__}
    found["evidence"] = found["evidence"][-_MOVES:]
    found |= {"tag": tag_of(task, _LONGEST), "error": list(untold(told, task.error))}
    return {name: _harmless(value) for name, value in found.items()}


def _harmless(value: object) -> object:
    if isinstance(value, str):
        return harmless(value, _LONGEST)
    if isinstance(value, list | tuple):
        return [_harmless(each) for each in value]
    if isinstance(value, dict):
        return {name: _harmless(each) for name, each in value.items()}
    return value
