"""Tests of a selection: what is narrowed is a part, and is judged by itself."""

from __future__ import annotations

from pathlib import Path

from comfy_fsm.core.machine import State
from comfy_fsm.report.player import replay
from comfy_fsm.report.selection import Selection, narrow
from tests.support.reports import ERRORS, drawn, each_trace


@each_trace
def test_what_is_narrowed_is_a_part_and_judged_by_itself(trace: Path) -> None:
    found = replay(trace)
    failed = narrow(found, Selection(failed=True))
    assert [task.state for task in failed.tasks] == [
        task.state for task in found.tasks if task.settled and task.state is not State.COMPLETED
    ]
    last = found.trace.last_at or 0.0
    assert narrow(found, Selection(since=last + 1)).tasks == [task for task in found.tasks if not task.settled]
    assert narrow(found, Selection(word="no such word anywhere")).tasks == []
    assert narrow(found, Selection()) is found
    for part in (failed, narrow(found, Selection(until=found.trace.first_at))):
        drawn(part)


def test_a_word_finds_what_was_told_of_a_task() -> None:
    found = replay(ERRORS)
    assert [task.prompt_id for task in narrow(found, Selection(word="allocation ON device")).tasks] == [
        task.prompt_id for task in found.tasks if task.error and "Allocation" in (task.error.message or "")
    ]
