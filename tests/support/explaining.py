"""What a board says, and what a diagnosis of it cites and shows."""

from __future__ import annotations

from comfy_fsm.core.explain.diagnosis import Diagnosis
from comfy_fsm.core.fold.board import Board
from comfy_fsm.report.diagnosis_text import lines
from replay import Replay


def dump(board: Board) -> object:
    """All that is told of a board, and all that it wants."""
    return repr((board.tasks, board.findings, board.drain(), board.due, board.frames, board.windows, board.addresses))


def cited(told: Diagnosis) -> set[int]:
    remarks = [told.says, *told.missing, *told.findings]
    return {each.position for each in told.evidence} | {p for remark in remarks for p in remark.positions}


def text_of(found: Replay, width: int = 80, *, whole: bool = True) -> str:
    return "\n".join("".join(text for text, _ in line) for line in lines(found, width, whole=whole))
