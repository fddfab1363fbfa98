"""Assertion that a trace is clean; it fails with a report for the reader of the test run."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from comfy_fsm.core.findings import CODES
from comfy_fsm.core.machine import State
from comfy_fsm.report import diagnosis_text, text
from comfy_fsm.report.player import Replay, replay
from comfy_fsm.report.sources import Source

__all__ = ["assert_clean"]

_WIDTH = 100
_GIVEN_UP = (State.LOST, State.EXPIRED)


def assert_clean(trace: Source | Iterable[bytes | str], *, allow: Collection[str] = ()) -> None:
    """Raise AssertionError, with a diagnosis, unless every task of a trace or log was decided and nothing went wrong.

    A failed task counts as decided. Not clean are undecided, lost and expired tasks, findings of severity error, and a
    trace without tasks. `allow` names findings and states to accept, such as `wrong-server`.
    """
    __tracebackhide__ = True  # pytest then shows the line of the test that asked
    _refuse_unknown(allow)
    found = replay(trace)
    if wrong := _wrong(found, allow):
        raise AssertionError(f"{', '.join(found.trace.files)} is not clean: {'; '.join(wrong)}\n\n{_report(found)}")


def _refuse_unknown(allow: Collection[str]) -> None:
    known = [*map(str, CODES), *map(str, State)]
    for name in [allow] if isinstance(allow, str) else allow:
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"allow={name!r} is no code of a finding and no state{meant}")
    if isinstance(allow, str):
        raise ValueError(f"allow={allow!r}: give a list, [{allow!r}]")


def _wrong(found: Replay, allow: Collection[str]) -> list[str]:
    """Return what is wrong, the gravest first."""
    errors = [each.code for each in found.findings if each.severity == "error" and each.code not in allow]
    states = [
        task.state for task in found.tasks if task.state not in allow and (not task.settled or task.state in _GIVEN_UP)
    ]
    wrong = [f"{errors.count(code)} × {code}" for code in dict.fromkeys(errors)]
    wrong += [f"{states.count(state)} left {state}" for state in dict.fromkeys(states)]
    return wrong if wrong or found.tasks else ["it shows no task, so nothing is proved"]


def _report(found: Replay) -> str:
    page = io.StringIO()
    text.lay_out(found, page, lambda _: diagnosis_text.lines(found, _WIDTH, whole=False), color=False)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())
