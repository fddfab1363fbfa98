"""Incremental fold of a trace: all its lines once, and for each fault only those that follow it."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.policy import DEFAULT
from replay.faults.board_copies import copied
from replay.faults.consequences import NOTHING, Consequence, compare, judged
from replay.faults.faults import Fault, after

__all__ = ["IncrementalFold", "denies"]

_OF_THE_RUN = seen.Progress | seen.ProgressState | seen.Executing
"""Frames of which most say no more than that a run goes on."""


class IncrementalFold:
    """Fold of a trace without a fault; its faults are cheapest in the order of their lines."""

    def __init__(self, observations: list[AnyObservation]) -> None:
        self._observations = observations
        self._next = [*observations[1:], None]
        self._board, self._folded = Board(DEFAULT), 0
        self._idle: set[int] = set()
        self.end = self._fold_all()
        """Finished board of the trace without a fault."""
        self.denies = False
        """Whether, with the last fault, a server answered of any task that it has none."""
        self._judged = judged(self.end)

    def consequence(self, fault: Fault) -> Consequence:
        """Return what comes of a fault."""
        if self._changes_nothing(fault):
            self.denies = False
            return NOTHING
        board = self._with(fault)
        self.denies = denies(board)
        return compare(self._judged, judged(board))

    def _changes_nothing(self, fault: Fault) -> bool:
        """Return whether it is certain, without a fold, that the fault changes nothing that is judged.

        A frame that is idle changed nothing but when its socket and its task were heard last. So to fold it again
        changes no more; and if it is missing, the next frame that tells the same makes up for it.
        """
        index = fault.index
        if index not in self._idle:
            return False
        if fault.kind == "double":
            return True
        return fault.kind == "drop" and _makes_up_for(self._next[index], self._observations[index])

    def _with(self, fault: Fault) -> Board:
        """Return the finished board of the trace with this fault."""
        if fault.index < self._folded:
            self._board, self._folded = Board(DEFAULT), 0
        for index in range(self._folded, fault.index):
            self._board.fold_observation(index + 1, self._observations[index])
        self._folded = fault.index
        board = copied(self._board)
        for position, o in enumerate(after(fault, self._observations), fault.index + 1):
            board.fold_observation(position, o)
        return _finished(board)

    def _fold_all(self) -> Board:
        board = Board(DEFAULT)
        for index, o in enumerate(self._observations):
            before = _touched(board, o)
            due = board.registry.due
            board.fold_observation(index + 1, o)
            coming = self._next[index]
            in_time = coming is not None and coming.at < due
            if before is not None and in_time and before == _touched(board, o):
                self._idle.add(index)
        return _finished(board)


def denies(board: Board) -> bool:
    """Return whether a server answered of any task that it has none."""
    return board.registry.counters.looks["absent"] > 0


def _finished(board: Board) -> Board:
    board.discard()
    board.finish()
    return board


def _touched(board: Board, o: AnyObservation) -> Sequence[object] | None:
    """Return what a frame of the run could change, but when it was heard; None where it could change more."""
    if not isinstance(o, seen.Message) or not isinstance(o.data, _OF_THE_RUN) or o.redacted:
        return None
    server, prompt_id = board.server(o.server), o.data.data.prompt_id
    socket, task = server.sockets.get(o.window), server.tasks.get(prompt_id or "")
    if socket is None or task is None or server.absent or o.at < socket.read_to:
        return None
    if o.window not in task.windows:
        return (task.number,) if prompt_id in socket.overheard else None
    if task.state is not State.IN_PROGRESS or task.imaging is not None or not task.frames:
        return None
    return task.number, task.phase, len(task.remains.reached), task.signals[-1]


def _makes_up_for(coming: AnyObservation | None, o: AnyObservation) -> bool:
    """Return whether it is the next frame of the same socket, about the same prompt, and needs no other look."""
    return (
        isinstance(coming, seen.Message)
        and isinstance(o, seen.Message)
        and isinstance(o.data, _OF_THE_RUN)
        and (coming.window, coming.server) == (o.window, o.server)
        and coming.at >= o.at
        and getattr(getattr(coming.data, "data", None), "prompt_id", None) == o.data.data.prompt_id
    )
