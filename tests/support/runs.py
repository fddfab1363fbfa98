"""What is decided about a true run, however its sources were mixed."""

from __future__ import annotations

from typing import Any

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.testing.strategies import TrueRun
from tests.support.folding import outcomes


def decided(run: TrueRun, board: Board) -> dict[Any, Any]:
    """State and outcome of each task.

    Whether a run goes on that was heard to have nothing left (P16), while an older answer still lists it, is for the
    last word to say: of two sources, either may have it. Not so once the server said that it ended: that stands.
    """
    found = outcomes(board)
    for (server, prompt_id), tasks in found.items():
        if prompt_id not in run.reported_ended():
            found[server, prompt_id] = [("running", None) if t in CONCLUDED else t for t in tasks]
    return found


CONCLUDED = ((str(State.IN_PROGRESS), None), (str(State.ENDING), None))
