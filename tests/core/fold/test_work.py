"""Tests of cost: with many open tasks and many entries of a kind, the work grows with their sum, not their product.

Work is counted in lines of the fold that are run, not in seconds.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.fold import absence, silence
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.registry import unreachable_spans
from comfy_fsm.core.wire import codec
from tests.campaigns import growth
from tests.support.flooding import Told, asked, frame

SERVER, WINDOW, OTHER = "http://one:8188", "w", "v"
FEW, MANY = 80, 160
DOWN, UP = ("ws.close", {"code": 1006}), ("ws.open", {})
GONE = {"running": [], "pending": []}


def status(count: int) -> Told:
    return "ws.message", {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": count}}}}


def missing(n: int) -> list[Told]:
    """A round of absence: every task is in neither queue nor history."""
    return asked(n, f"/history/p{n}", {})


FLOODS: dict[str, tuple[Callable[[int], list[Told]], Callable[[int], list[Told]]]] = {
    "reconnects": (lambda n: [], lambda n: [DOWN, UP]),
    "sockets closed before a request": (lambda n: [], lambda n: [DOWN, *asked(n, "/system_stats", {}), UP]),
    "counts of a queue that shrinks": (lambda n: [], lambda n: [status(9), status(8)]),
    "counts while all are absent": (missing, lambda n: [status(5)]),
    "ticks while all are absent": (missing, lambda n: [("tick", {})]),
    "queues": (lambda n: [], lambda n: asked(n, "/queue", GONE)),
    "histories of one": (lambda n: [], lambda n: asked(n, "/history/p0", {})),
    "frames of one": (lambda n: [], lambda n: [frame("progress", "p0", value=n, max=9)]),
}  # fmt: skip


def post(n: int) -> list[Told]:
    body = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": f"p{n}", "client_id": WINDOW}
    return [
        ("http.request", {"id": f"post{n}", "method": "POST", "path": "/prompt", "body": body}),
        ("http.response", {"id": f"post{n}", "status": 200, "body": {"prompt_id": f"p{n}"}}),
    ]


def told(name: str, tasks: int, window: str) -> Iterator[Any]:
    before, flood = FLOODS[name]
    lines = [(WINDOW, each) for each in [UP, *(each for n in range(tasks) for each in post(n))]]
    lines += [(WINDOW, each) for each in asked(-1, "/queue", GONE)]
    lines += [(WINDOW, each) for n in range(tasks) for each in before(n)]
    lines += [(window, each) for n in range(tasks, 2 * tasks) for each in flood(n)]
    at = 1_795_000_000.0
    for whose, (kind, data) in lines:
        at += 1.0 if data.get("type") == "status" else 0.001  # slow enough to be heeded
        line = {"at": at, "kind": kind, "window": whose, "server": SERVER, "data": data}
        yield codec.read(json.dumps(line).encode())


def work(name: str, tasks: int, window: str) -> float:
    """How many lines of code it takes to fold it."""
    observations, board = list(told(name, tasks, window)), Board()
    return growth.lines_run(lambda: deque(map(board.fold_observation, itertools.count(1), observations), maxlen=0))


@pytest.mark.parametrize("window", [WINDOW, OTHER])
@pytest.mark.parametrize("name", FLOODS)
def test_twice_as_many_of_both_are_twice_the_work(name: str, window: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "AT_ONCE", FEW // 5)
    assert work(name, MANY, window) < 2.5 * work(name, FEW, window)


PAIRS = [*itertools.product(growth.CROWDS, growth.FLOODS, growth.STEPS)]


@pytest.mark.parametrize("pair", random.Random(7).sample(PAIRS, 100), ids="/".join)
def test_what_one_entry_costs_does_not_grow_with_what_there_is(pair: tuple[str, str, str]) -> None:
    """Some of all pairs; `python -m tests.campaigns.growth --lines` takes each of them."""
    assert not growth.growth(*pair, 24, 4, count=True)


@pytest.mark.parametrize(
    ("crowd", "flood"),
    [
        ("open tasks", "resumes"),
        ("open tasks", "silences"),
        ("uncertain tasks", "histories"),
        ("tasks settled by their record alone", "ticks"),
        ("tasks at ever new servers", "resumes"),
        ("servers", "ticks"),
        ("posted jobs", "rebinds of each"),
        ("questions", "resumes"),
        ("settled tasks", "resumes"),
    ],
)
def test_what_once_grew_with_what_there_is_does_so_no_more(crowd: str, flood: str) -> None:
    assert not growth.growth(crowd, flood, "fast", 24, 4, count=True)


def test_no_entry_looks_at_more_quiet_tasks_than_there_is_a_bound_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_AT_ONCE", 8)
    board = Board()
    lines = [UP, *(each for n in range(MANY) for each in post(n)), *[("tick", {})] * (2 * MANY // 8)]
    found = []
    for position, (kind, data) in enumerate(lines, 1):
        at = 1_795_000_000.0 + position * 1e-6 + (100.0 if kind == "tick" else 0.0)
        line = {"at": at, "kind": kind, "window": WINDOW, "server": SERVER, "data": data}
        board.fold_observation(position, codec.read(json.dumps(line).encode()))
        found.append(sum(finding.code == "silence" for finding in board.findings))
    assert max(after - before for before, after in itertools.pairwise(found)) == 8
    assert found[-1] == MANY


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), max_size=12), st.floats(0, 100), st.integers(0, 12))
def test_many_pauses_are_skipped_at_once_as_they_would_be_one_by_one(
    spans: list[tuple[float, float]], since: float, told: int
) -> None:
    known, at, expected = unreachable_spans.UnreachableSpans(), 0.0, since
    for number, (quiet, silent) in enumerate(spans):
        begun, at = at + quiet, at + quiet + silent
        known.add(begun, at)
        if number >= told and at > expected:
            expected = at - max(0.0, begun - expected)
    assert known.skip(since, told) == pytest.approx(expected)


def test_each_task_that_had_a_gap_is_named_once_and_again_when_it_was_heard_of() -> None:
    board = Board()
    lines = [UP, *post(0), *post(1), DOWN, UP, DOWN, UP, frame("execution_start", "p1"), DOWN, UP]
    for position, (kind, data) in enumerate(lines, 1):
        line = {"at": float(position), "kind": kind, "window": WINDOW, "server": SERVER, "data": data}
        board.fold_observation(position, codec.read(json.dumps(line).encode()))
    gaps = {found.prompt_id: (found.count, found.positions) for found in board.findings if found.code == "socket-gap"}
    assert gaps == {"p0": (1, [6]), "p1": (2, [6, 11])}


def test_what_was_handed_over_to_be_looked_at_is_asked_for_again_after_the_next_gap() -> None:
    board = Board()
    lines = [UP, *post(0), DOWN, UP, DOWN, UP]
    wanted = []
    for position, (kind, data) in enumerate(lines, 1):
        line = {"at": float(position), "kind": kind, "window": WINDOW, "server": SERVER, "data": data}
        board.fold_observation(position, codec.read(json.dumps(line).encode()))
        wanted.append([type(effect).__name__ for effect in board.drain()])
    assert ["LookAtQueue" in each for each in wanted][-4:] == [False, True, False, True]
