"""Copies of a board: they go on as the original would, leave it alone, and refer to nothing of it that changes."""

from __future__ import annotations

from collections import deque
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.servers import Question
from comfy_fsm.core.scheduling.backlog import Backlog
from comfy_fsm.testing.strategies import observations, true_runs
from replay.faults.board_copies import SHARED, copied
from replay.faults.consequences import judged
from tests.support.fixtures import RECORDINGS, name_of
from tests.support.replaying import lines_of

traces = st.one_of(true_runs().map(lambda run: list(run.observations)), st.lists(observations(), max_size=30))


def folded(trace: list[AnyObservation], first: int = 0, board: Board | None = None) -> Board:
    board = Board() if board is None else board
    for position, o in enumerate(trace[first:], first + 1):
        board.fold_observation(position, o)
    return board


def parts_of(value: Any) -> list[Any]:
    """Return what a thing that can change refers to; nothing of one that cannot, or that copies share."""
    if isinstance(value, dict):
        return [*value.values()]
    if isinstance(value, list | tuple | deque):
        return [*value]
    if isinstance(value, Backlog):
        return [*vars(value).values()]
    is_kept = isinstance(value, SHARED) or (isinstance(value, Question) and value.answered)
    if is_dataclass(value) and not is_kept:
        return [getattr(value, field.name) for field in fields(value)]
    return []


def assert_alike_and_apart(one: Any, other: Any, met: dict[int, int]) -> None:
    """Walk both at once: each thing that can change has one counterpart, which is another thing, everywhere."""
    parts = parts_of(one)
    if not parts and not isinstance(one, dict | list | set | deque):
        return
    assert type(one) is type(other)
    if not isinstance(one, tuple):
        assert one is not other
        if id(one) in met:
            assert met[id(one)] == id(other)
            return
        met[id(one)] = id(other)
    for mine, theirs in zip(parts, parts_of(other), strict=True):
        assert_alike_and_apart(mine, theirs, met)


@given(st.data(), traces)
def test_no_copy_refers_to_what_the_original_may_change(data: st.DataObject, trace: list[AnyObservation]) -> None:
    board = folded(trace[: data.draw(st.integers(0, len(trace)))])
    met: dict[int, int] = {}
    assert_alike_and_apart(board.registry, copied(board).registry, met)
    assert len(set(met.values())) == len(met)


@given(st.data(), traces)
def test_a_copy_goes_on_as_the_original_would_and_leaves_it_alone(
    data: st.DataObject, trace: list[AnyObservation]
) -> None:
    cut = data.draw(st.integers(0, len(trace)))
    original = folded(trace[:cut])
    told = judged(original)
    copy = folded(trace, cut, copied(original))
    assert judged(original) == told
    assert judged(copy) == judged(folded(trace)) == judged(folded(trace, cut, original))


@pytest.mark.parametrize("path", RECORDINGS, ids=name_of)
def test_a_recording_that_is_copied_in_its_middle_ends_as_it_did(path: Path) -> None:
    trace = [line.observation for line in lines_of(path).lines]
    middle = folded(trace[: len(trace) // 2])
    copy = copied(middle)
    assert_alike_and_apart(middle.registry, copy.registry, {})
    assert judged(folded(trace, len(trace) // 2, copy)) == judged(folded(trace))
