"""Goal of a reduction: the finding or state that the smaller trace must still show, for the same reason, and nothing
worse than before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from comfy_fsm.core.explain.diagnosis import rule_of
from comfy_fsm.core.findings import Code, Finding, Severity
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.policy import DEFAULT
from comfy_fsm.core.registry.task import Task

__all__ = ["Goal", "Key", "finding_goal", "fold", "state_goal"]

Key = tuple[Code, str | None, str | None, str | None]
"""Code of a finding, with the window, the server and the prompt that it is about."""


class _Story(Struct, frozen=True):
    """Story of a task: its state, the rule of its diagnosis, errors and warnings about it and its socket."""

    state: State
    outcome: State | None
    rule: str
    codes: frozenset[Code]


class Goal(Struct, frozen=True):
    """Goal that must be shown. Without a story, the code alone, about whatever it is."""

    code: Code | None
    window: str | None
    server: str | None
    prompt_id: str | None
    story: _Story | None
    known: frozenset[Key] | None
    """Errors and warnings that the whole trace has: a part that has others shows something else. None: any."""

    def met(self, board: Board) -> bool:
        """Return whether a finished board shows it."""
        if self.known is None:
            return any(finding.code == self.code for finding in board.findings)
        keys = _grave(board.findings)
        if not keys <= self.known:
            return False
        if self.code is not None and not any(map(self._is_it, board.findings)):
            return False
        if self.story is None:
            return True
        task = self.task(board)
        return task is not None and _story(board, task) == self.story

    def task(self, board: Board) -> Task | None:
        """Return the task that it is about."""
        return _task(board, self.prompt_id, self.server)

    def renamed(self, name: Callable[[str], str]) -> Goal:
        """Return the same goal under other names."""

        def new(old: str | None) -> str | None:
            return None if old is None else name(old)

        known = self.known and frozenset((code, new(w), new(s), new(p)) for code, w, s, p in self.known)
        return msgspec.structs.replace(
            self, window=new(self.window), server=new(self.server), prompt_id=new(self.prompt_id), known=known
        )

    def _is_it(self, finding: Finding) -> bool:
        return _key(finding) == (self.code, self.window, self.server, self.prompt_id)


def fold(observations: Iterable[AnyObservation]) -> Board:
    """Return the finished board of these observations."""
    board = Board(DEFAULT)
    for position, observation in enumerate(observations, 1):
        board.fold_observation(position, observation)
    board.discard()
    board.finish()
    return board


def finding_goal(board: Board, code: Code, prompt_id: str | None, *, loose: bool) -> Goal | None:
    """Return the goal to keep the first finding of this code, of the tasks whose id begins so if that is given; None
    if there is no such finding.
    """
    about = [each for each in board.findings if each.code == code and _begins(each.prompt_id, prompt_id)]
    if not about:
        return None
    finding = min(about, key=lambda each: each.positions[0])
    if loose:
        return Goal(code, finding.window, finding.server, finding.prompt_id, None, None)
    task = _task(board, finding.prompt_id, finding.server)
    story = None if task is None else _story(board, task)
    return Goal(*_key(finding), story, _grave(board.findings))


def state_goal(board: Board, state: State, prompt_id: str | None) -> Goal | None:
    """Return the goal to keep the first task in this state, of those whose id begins so if that is given."""
    for task in board.tasks:
        if task.state is state and _begins(task.prompt_id, prompt_id) and task.prompt_id is not None:
            story = _story(board, task)
            return Goal(None, task.window, task.server, task.prompt_id, story, _grave(board.findings))
    return None


def _begins(name: str | None, start: str | None) -> bool:
    return start is None or (name or "").startswith(start)


def _key(finding: Finding) -> Key:
    return finding.code, finding.window, finding.server, finding.prompt_id


def _grave(findings: Iterable[Finding]) -> frozenset[Key]:
    return frozenset(_key(finding) for finding in findings if finding.severity is not Severity.NOTE)


def _task(board: Board, prompt_id: str | None, server: str | None) -> Task | None:
    if prompt_id is None:
        return None
    own = [task for task in board.tasks if task.prompt_id == prompt_id]
    return next((task for task in own if task.server == server), own[0] if own else None)


def _story(board: Board, task: Task) -> _Story:
    told = (each for each in board.findings if each.severity is not Severity.NOTE and _concerns(each, task))
    return _Story(task.state, task.outcome, rule_of(board, task), frozenset(each.code for each in told))


def _concerns(finding: Finding, task: Task) -> bool:
    if finding.prompt_id is not None:
        return finding.prompt_id == task.prompt_id
    return finding.window in task.windows and finding.server == task.server
