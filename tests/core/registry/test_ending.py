"""Endings: each has the signal that leads to it, and only what keeps a record of a run is a record."""

from __future__ import annotations

from typing import get_args

import pytest

from comfy_fsm.core.machine import OPEN, SETTLED, State, step
from comfy_fsm.core.registry.ending import RECORDS, SETTLING, Source


def test_every_settled_state_has_a_signal_of_its_own() -> None:
    assert SETTLING.keys() == SETTLED
    assert len(set(SETTLING.values())) == len(SETTLING)


@pytest.mark.parametrize("outcome", sorted(SETTLED))
def test_its_signal_settles_every_open_task_so_though_what_was_accepted_is_not_rejected(outcome: State) -> None:
    unanswered = (State.SUBMITTING, State.UNCERTAIN)
    for state in unanswered if outcome is State.REJECTED else OPEN:
        assert step(state, SETTLING[outcome]) is outcome


def test_a_record_is_of_a_history_or_of_a_job() -> None:
    assert set(get_args(Source)) > RECORDS
    assert sorted(str(each) for each in RECORDS) == ["history", "jobs"]
