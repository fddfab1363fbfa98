"""Tests of dropped tasks: they stay decided, nothing late brings them back, and the rest is as it would be."""

import gc
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import FINAL
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import codec
from comfy_fsm.testing.strategies import observations
from comfy_fsm.watch import projection
from comfy_fsm.watch.projection import Projection
from tests.support.examples import few
from tests.support.lines import frame, line, seen

ANSWER = {"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}


def run(prompt_id: str) -> list[bytes]:
    """A whole run: posted, accepted, run, told to have ended, and recorded."""
    record = {"prompt": [1, prompt_id, {}, {}, []], "outputs": {}, "status": ANSWER}
    body = {"prompt": {}, "prompt_id": prompt_id, "client_id": "w"}
    return [
        line("ws.open", {}),
        line("http.request", {"id": f"p{prompt_id}", "method": "POST", "path": "/prompt", "body": body}),
        line("http.response", {"id": f"p{prompt_id}", "status": 200, "body": {"prompt_id": prompt_id}}),
        frame("execution_start", prompt_id=prompt_id, timestamp=1),
        frame("executing", prompt_id=prompt_id, node="3"),
        frame("execution_success", prompt_id=prompt_id),
        line("http.request", {"id": f"h{prompt_id}", "method": "GET", "path": f"/history/{prompt_id}"}),
        line("http.response", {"id": f"h{prompt_id}", "status": 200, "body": {prompt_id: record}}),
        line("ws.close", {"code": 1000}),
    ]


def late(prompt_id: str) -> dict[str, list[bytes]]:
    """All that may still be told of it; frames from its window, and overheard by another."""
    frames = ("execution_start", "execution_cached", "executing", "executed", "progress", "progress_state",
              "execution_success", "execution_error", "execution_interrupted")  # fmt: skip
    found = {kind: [frame(kind, prompt_id=prompt_id, node="3")] for kind in frames}
    found |= {f"{kind}, overheard": [frame(kind, window="x", prompt_id=prompt_id, node="3")] for kind in frames}
    asked = {"its history": f"/history/{prompt_id}", "all histories": "/history", "its job": f"/api/jobs/{prompt_id}"}
    bodies: dict[str, Any] = {
        "its history": {prompt_id: {"prompt": [1, prompt_id, {}, {}, []], "outputs": {}, "status": ANSWER}},
        "all histories": {},
        "its job": {"id": prompt_id, "status": "failed"},
    }
    for name, path in asked.items():
        found[name] = [
            line("http.request", {"id": name, "method": "GET", "path": path}),
            line("http.response", {"id": name, "status": 200, "body": bodies[name]}),
        ]
    found["the queue"] = [
        line("http.request", {"id": "q", "method": "GET", "path": "/queue"}),
        line("http.response", {"id": "q", "status": 200, "body": {"running": [prompt_id], "pending": []}}),
    ]
    found["a preview"] = [line("ws.binary", {"event": 4, "metadata": {"prompt_id": prompt_id}})]
    found["a delivery"] = [line("delivered", {"prompt_id": prompt_id, "state": "completed"})]
    for name in ("recover", "follow", "cancel", "resume", "callback-cut"):
        found[f"the command {name}"] = [line("command", {"name": name, "prompt_id": prompt_id})]
    return found


def folded(board: Board, lines: list[bytes]) -> Board:
    for position, text in enumerate(lines, board.position + 1):
        board.fold_observation(position, codec.read(text))
    return board


@pytest.mark.parametrize("lines", late("p").values(), ids=late("p"))
def test_nothing_that_comes_late_brings_a_forgotten_task_back(lines: list[bytes]) -> None:
    board = folded(Board(), run("p"))
    board.drain()
    assert [task.state for task in board.forget(0)] == ["completed"]
    folded(board, lines)
    board.finish()
    assert (board.tasks, board.findings, board.drain()) == ([], [], [])


def test_a_post_of_a_forgotten_id_is_a_new_task() -> None:
    board = folded(Board(), run("p"))
    board.forget(0)
    again = [text.replace(b'"id": "', b'"id": "again ') for text in run("p")]
    assert [task.state for task in folded(board, again).tasks] == ["completed"]


def test_the_tasks_that_settled_last_are_kept() -> None:
    board = folded(Board(), [text for n in range(5) for text in run(f"{n}")])
    assert [task.prompt_id for task in board.forget(2)] == ["0", "1", "2"]
    assert [task.prompt_id for task in board.tasks] == ["3", "4"]
    assert board.forget(2) == []


def test_tasks_that_are_open_or_can_be_reopened_are_kept() -> None:
    board = folded(Board(), [*run("p")[:5], line("tick", {}, 1_800_000_000.0), line("tick", {}, 1_800_000_400.0)])
    assert [task.state for task in board.tasks] == ["expired"]
    assert board.forget(0) == []
    folded(board, [line("command", {"name": "recover", "prompt_id": "p"}, 1_800_000_500.0)])
    assert board.forget(0) == []
    assert [task.state for task in board.tasks] == ["uncertain"]


def test_a_forgotten_task_is_freed() -> None:
    board = folded(Board(), run("p of its own"))
    board.drain()
    assert [task.prompt_id for task in board.forget(0)] == ["p of its own"]
    gc.collect()
    assert not [each for each in gc.get_objects() if type(each) is Task and each.prompt_id == "p of its own"]


def test_the_ids_of_forgotten_tasks_are_bounded() -> None:
    board = Board(Policy(homes=10))
    for n in range(50):
        folded(board, run(f"{n}"))
        board.forget(0)
    registry = board._registry
    sizes = [
        len(each)
        for each in (
            registry.homes,
            registry.tasks,
            registry.findings,
            registry.found,
            registry.server("http://one:8188").tasks,
        )
    ]
    assert sizes[0] <= 11
    assert sizes[1:] == [0, 0, 0, 0]


@few
@given(st.lists(st.tuples(observations(), st.booleans()), max_size=60))
def test_no_observation_raises_after_a_task_was_forgotten(drawn: list[tuple[AnyObservation, bool]]) -> None:
    board = Board()
    for position, (observation, forgetting) in enumerate(drawn, 1):
        board.fold_observation(position, observation)
        if forgetting:
            before = {id(task): task for task in board.tasks}
            gone = board.forget(0)
            assert all(task.state in FINAL for task in gone)
            assert {id(task) for task in [*gone, *board.tasks]} == set(before)
    board.finish()


def test_a_recording_that_is_forgotten_as_it_goes_ends_as_it_would(recording: Any) -> None:
    read = [codec.read(text) for text in gzip.decompress(recording.trace.read_bytes()).splitlines() if text.strip()]
    whole, forgetful, gone = Board(), Board(), []
    for position, observation in enumerate(read, 1):
        whole.fold_observation(position, observation)
        forgetful.fold_observation(position, observation)
        gone += forgetful.forget(0)
    whole.finish()
    forgetful.finish()
    if any(finding.code == "resubmitted" for finding in whole.findings):
        return  # a POST of a forgotten id is a new task
    told = [sorted(json.dumps([t.prompt_id, t.server, t.state, t.confidence]) for t in tasks)
            for tasks in (whole.tasks, [*gone, *forgetful.tasks])]  # fmt: skip
    assert told[0] == told[1]


def test_a_view_counts_what_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [text for n in range(40) for text in [*run(f"{n}"), *late(f"{n}")["executing, overheard"]]]
    whole = seen(*lines)
    monkeypatch.setattr(projection, "FORGETTING", 7)
    monkeypatch.setattr(projection, "REMEMBERED", projection.SETTLED)
    assert seen(*lines) == whole
    monkeypatch.setattr(projection, "REMEMBERED", 0)
    assert seen(*lines).states == whole.states == {"completed": 40}
    made = Projection()
    for position, text in enumerate(lines, 1):
        made.take(position, codec.read(text), text)
    assert len(made.board.tasks) < 5
