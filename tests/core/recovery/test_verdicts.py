"""Verdicts: which case a task is in, given what the servers show of it, and whether anything is left to do."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.machine import FINAL, State
from comfy_fsm.core.recovery import verdicts
from comfy_fsm.core.recovery.probes import Has, ProbeResult
from comfy_fsm.core.recovery.verdicts import (
    CONSISTENT,
    FETCHED,
    RECOVERED,
    Consistency,
    Fetched,
    Recovered,
    Recovery,
    binding,
    compare,
    needs_recovery,
)
from tests.support.stories import AWAY, HOME, ID, Story, begun, record

RUNS, DENIES, SILENT = (ProbeResult(HOME, has) for has in ("running", "denied", "unreachable"))
ALSO, NEITHER, AWAY_SILENT = (ProbeResult(AWAY, has) for has in ("running", "denied", "unreachable"))


def ended(outcome: State | None) -> ProbeResult:
    return ProbeResult(HOME, "recorded", outcome=outcome)


CASES: list[tuple[State, list[ProbeResult], str]] = [
    (State.IN_PROGRESS, [NEITHER], "unnamed"),
    (State.IN_PROGRESS, [SILENT, ALSO], "unreachable"),
    (State.IN_PROGRESS, [RUNS, ALSO], "twofold"),
    (State.IN_PROGRESS, [RUNS, NEITHER], "bound"),
    (State.IN_PROGRESS, [ended(State.COMPLETED)], "ended"),
    (State.LOST, [RUNS], "found"),
    (State.COMPLETED, [ended(State.COMPLETED)], "bound"),
    (State.COMPLETED, [ended(None)], "bound"),
    (State.COMPLETED, [ended(State.FAILED)], "contradicted"),
    (State.COMPLETED, [RUNS], "contradicted"),
    (State.COMPLETED, [DENIES, ALSO], "strayed"),
    (State.LOST, [DENIES, ALSO], "elsewhere"),
    (State.COMPLETED, [DENIES, AWAY_SILENT], "forgotten"),
    (State.LOST, [DENIES, AWAY_SILENT], "unsure"),
    (State.LOST, [DENIES, NEITHER], "lost"),
    (State.IN_PROGRESS, [DENIES], "vanished"),
]


@pytest.mark.parametrize(("state", "shown", "case"), CASES)
def test_where_a_task_is_follows_from_what_the_servers_show(state: State, shown: list[ProbeResult], case: str) -> None:
    assert compare(state, HOME, shown) == case


results = st.builds(ProbeResult, st.sampled_from([HOME, AWAY, "http://third"]), st.sampled_from(get_args(Has)))


@given(st.sampled_from(State), st.lists(results, max_size=4))
def test_whatever_servers_show_is_a_case_that_is_explained(state: State, shown: list[ProbeResult]) -> None:
    assert compare(state, HOME, shown) in CONSISTENT


@pytest.mark.parametrize("table", [RECOVERED, CONSISTENT, FETCHED])
def test_what_is_not_well_says_what_to_do_next(table: dict[str, verdicts.RecoveryCase]) -> None:
    assert [name for name, case in table.items() if not case.well and not case.next] == []


def fetched(result: ProbeResult) -> Fetched:
    return Fetched(ID, 1, (HOME,), result)


@pytest.mark.parametrize(
    ("result", "name"),
    [(ended(State.COMPLETED), "complete"), (ProbeResult(HOME, "recorded", missing=("x",)), "incomplete"),
     (DENIES, "absent"), (ProbeResult(HOME, "astray"), "astray"), (SILENT, "unreachable")],
)  # fmt: skip
def test_a_record_that_was_fetched_is_complete_or_not_or_not_there(result: ProbeResult, name: str) -> None:
    assert fetched(result).case is FETCHED[name]


def recovered(name: str) -> Recovered:
    return Recovered(ID, None, HOME, HOME, State.LOST, State.LOST, name)


def test_a_recovery_decided_what_is_well_in_every_task() -> None:
    assert Recovery(True).decided
    assert Recovery(True, (recovered("final"), recovered("settled"))).decided
    assert not Recovery(True, (recovered("final"), recovered("denied"))).decided


def test_where_no_server_answered_nothing_could_be_found_out() -> None:
    assert Recovery(True, silent=(SILENT,), asked=(HOME,)).unreachable
    assert not Recovery(True, silent=(SILENT,), asked=(HOME, AWAY)).unreachable
    assert not Recovery(True).unreachable
    told = Consistency(ID, State.LOST, HOME, "", 1, (SILENT, NEITHER), "unreachable")
    assert (told.case, told.unreachable, told.silent) == (CONSISTENT["unreachable"], False, (SILENT,))


TASKS = {
    "waits": (Story().listen().post(), False),
    "uncertain": (Story().listen().post(502), True),
    "ending": (begun().hear("execution_success"), True),
    "lost": (begun().vanish(), True),
    "completed": (begun().hear("execution_success").fetch(record()), False),
}


@pytest.mark.parametrize("name", TASKS)
def test_what_is_given_up_or_stuck_needs_a_recovery(name: str) -> None:
    story, needed = TASKS[name]
    (task,) = story.board().tasks
    assert needs_recovery(task, 0.0, 60.0) is needed
    assert needs_recovery(task, 60.0, 60.0) is (task.state not in FINAL)


def bound(story: Story) -> str:
    (task,) = story.board().tasks
    return binding(task)[0]


def test_a_task_is_bound_to_its_server_for_a_reason() -> None:
    assert bound(Story().listen().post()) == "it accepted the POST"
    assert bound(Story().listen().post("")) == "its POST went there"
    assert bound(Story().listen().hear("execution_start")) == "it was first seen there"
    found = begun().vanish().command("seek", to=AWAY)
    found.elsewhere(AWAY, "q", "/queue", {"running": [ID], "pending": []}).command("adopt", to=AWAY)
    assert bound(found) == "a recovery found it there"
