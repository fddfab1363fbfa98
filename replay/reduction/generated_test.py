"""Test that is written for a smaller trace, and the judgement that it asserts: it fails until the cause is mended."""

from __future__ import annotations

import json

from msgspec import Struct

from comfy_fsm.core.machine import State
from comfy_fsm.report.player import Replay
from replay.reduction.goal import Goal

__all__ = ["ABSENT", "CLEAN", "EXPECTATIONS", "MARK", "Expectation"]

ABSENT, CLEAN = "absent", "clean"
_VERDICTS = ("pass", "incomplete", "fail")
EXPECTATIONS = (ABSENT, CLEAN, *_VERDICTS, *map(str, State))
"""That the finding or state is gone; that nothing is wrong at all; a verdict; a state of the task."""
MARK = '"""Made by `comfy-replay min`: it fails until the cause of what the trace shows is mended."""'
"""First line of a test that is written: what begins otherwise is somebody else's."""

_CLEAN = """{mark}

from pathlib import Path

from comfy_fsm.testing import assert_clean

TRACE = Path(__file__).parent / {trace}


def test_the_trace_is_clean() -> None:
    assert_clean(TRACE)
"""
_OTHER = """{mark}

from pathlib import Path

from replay import replay

TRACE = Path(__file__).parent / {trace}


def test_{name}() -> None:
    found = replay(TRACE)
    assert {sentence}
"""


class Expectation(Struct, frozen=True):
    """Expectation of a replay, in one of the words of `EXPECTATIONS`."""

    word: str
    goal: Goal

    def is_met(self, found: Replay) -> bool:
        """Return whether a replay is as expected already; the same as what the test asserts."""
        if self.word in _VERDICTS:
            return found.verdict == self.word
        if self.word == CLEAN:
            return found.verdict == "pass" and all(
                task.state not in (State.LOST, State.EXPIRED) for task in found.tasks
            )
        if self.word == ABSENT and self.goal.code is not None:
            return self.goal.code not in [finding.code for finding in found.findings]
        return (self._state() in self._states(found)) is (self.word != ABSENT)

    def test(self, trace: str) -> str:
        """Return the source of the test; the path of the trace is relative to it."""
        if self.word == CLEAN:
            return _CLEAN.format(mark=MARK, trace=json.dumps(trace))
        name, sentence = self._asserted()
        return _OTHER.format(mark=MARK, trace=json.dumps(trace), name=name.replace("-", "_"), sentence=sentence)

    def _asserted(self) -> tuple[str, str]:
        if self.word in _VERDICTS:
            return f"the_verdict_is_{self.word}", f'found.verdict == "{self.word}"'
        if self.word == ABSENT and self.goal.code is not None:
            code = str(self.goal.code)
            return f"there_is_no_{code}", f'"{code}" not in [finding.code for finding in found.findings]'
        state, prompt = self._state(), self.goal.prompt_id
        states = "[task.state for task in found.tasks]"
        if prompt is not None:
            states = f"[task.state for task in found.tasks if task.prompt_id == {json.dumps(prompt)}]"
        denied = "not " if self.word == ABSENT else ""
        return f"the_task_is_{denied.replace(' ', '_')}{state}", f'"{state}" {denied}in {states}'

    def _state(self) -> str:
        return str(self.goal.story.state) if self.word == ABSENT and self.goal.story is not None else self.word

    def _states(self, found: Replay) -> list[str]:
        prompt = self.goal.prompt_id
        return [str(task.state) for task in found.tasks if prompt is None or task.prompt_id == prompt]
