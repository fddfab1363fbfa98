"""Frames: what each says about its task, in its order and out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from comfy_fsm.core.findings import Code
from comfy_fsm.core.fold.frames.handlers import HANDLERS
from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import KnownFrame
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from tests.support.stories import ID, Story, begun, record

SETTLED = {"execution_success": "success", "execution_error": "error", "execution_interrupted": "error"}


def task_of(story: Story) -> Task:
    (task,) = story.board().tasks
    return task


def codes(story: Story) -> set[Code]:
    return {finding.code for finding in story.board().findings}


def accepted() -> Story:
    return Story().listen().post()


def nodes(**states: str) -> dict[str, Any]:
    return {"nodes": {name.removeprefix("n"): {"state": state} for name, state in states.items()}}


def test_every_frame_that_names_a_prompt_has_a_handler() -> None:
    named = {kind.__struct_config__.tag for kind in KnownFrame.__args__} - {"status", "feature_flags"}
    assert {kind.__struct_config__.tag for kind in HANDLERS} == named


RUNS: dict[str, dict[str, Any]] = {
    "execution_start": {"timestamp": 1},
    "execution_cached": {"nodes": []},
    "executing": {"node": "1"},
    "executed": {"node": "1", "output": {}},
    "progress": {"node": "1", "value": 1, "max": 2},
    "progress_state": nodes(n1="running"),
}
ENDS: dict[str, tuple[dict[str, Any], State | None]] = {
    "execution_success": ({}, State.COMPLETED),
    "execution_error": ({"exception_type": "OSError"}, State.FAILED),
    "execution_interrupted": ({}, State.CANCELLED),
    "executing": ({"node": None}, None),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_frame_of_the_run_shows_that_it_runs(name: str) -> None:
    assert task_of(accepted().hear(name, **RUNS[name])).state is State.IN_PROGRESS


@pytest.mark.parametrize("name", ENDS)
def test_a_frame_of_the_end_shows_that_it_ended_and_perhaps_how(name: str) -> None:
    data, outcome = ENDS[name]
    task = task_of(begun().hear(name, **data))
    assert (task.state, task.outcome) == (State.ENDING, outcome)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", RUNS)
def test_a_frame_of_the_run_after_its_end_is_out_of_order_and_changes_nothing(name: str, end: str) -> None:
    data, outcome = ENDS[end]
    story = begun().hear(end, **data).hear(name, **RUNS[name])
    task = task_of(story)
    assert (task.state, task.outcome) == (State.ENDING, outcome)
    assert Code.OUT_OF_ORDER in codes(story)


@pytest.mark.parametrize("name", RUNS)
def test_a_frame_of_the_run_after_it_settled_changes_nothing(name: str) -> None:
    story = begun().hear("execution_success").fetch(record()).hear(name, **RUNS[name])
    assert task_of(story).state is State.COMPLETED


def test_what_a_stated_end_leaves_open_null_closes_and_not_the_other_way_round() -> None:
    assert codes(begun().hear("execution_success").hear("executing", node=None)) == set()
    assert Code.OUT_OF_ORDER in codes(begun().hear("executing", node=None).hear("execution_success"))


def test_an_end_that_is_told_again_is_noted() -> None:
    story = begun().hear("executing", node=None).hear("executing", node=None)
    assert Code.REPEATED_SIGNAL in codes(story)


def test_a_second_run_of_an_id_that_was_posted_twice_is_in_no_disorder() -> None:
    story = accepted().post().start().hear("execution_success").hear("executing", node=None).start()
    assert Code.OUT_OF_ORDER not in codes(story)
    assert task_of(story).state is State.IN_PROGRESS


def test_a_start_that_comes_late_is_noted_and_starts_nothing() -> None:
    story = accepted().hear("progress", value=1, max=2).hear("execution_start", timestamp=1)
    assert Code.OUT_OF_ORDER in codes(story)


def test_a_blocked_node_is_no_end() -> None:
    story = begun().hear("execution_error", exception_type="ExecutionBlocked", node_id="1")
    assert (task_of(story).state, Code.BLOCKED_ERROR in codes(story)) == (State.IN_PROGRESS, True)
    assert task_of(story.hear("execution_success").fetch(record())).state is State.COMPLETED


def test_the_first_error_is_that_of_the_task() -> None:
    story = begun()
    for name in ("OSError", "ValueError"):
        story.hear("execution_error", exception_type=name)
    error = task_of(story).error
    assert error is not None
    assert error.type == "OSError"


EXHAUSTING: dict[str, Callable[[], Story]] = {
    "executed": lambda: accepted().hear("execution_start", timestamp=1).hear("executed", node="2", output={}),
    "progress_state": lambda: begun().hear("progress_state", **nodes(n1="finished", n2="finished")),
    "cached": lambda: (
        accepted().hear("execution_start").hear("execution_cached", nodes=["1"]).hear("executed", node="2")
    ),
}


@pytest.mark.parametrize("name", EXHAUSTING)
def test_when_nothing_is_left_to_run_it_ended_as_far_as_was_told(name: str) -> None:
    task = task_of(EXHAUSTING[name]())
    assert (task.state, task.outcome, task.confidence) == (State.ENDING, None, "inferred")


LEFT: dict[str, dict[str, Any]] = {
    "one runs": nodes(n1="finished", n2="running"),
    "one has not begun": nodes(n1="finished"),
    "one finished twice": nodes(n1="finished", n3="finished"),
}


@pytest.mark.parametrize("name", LEFT)
def test_while_a_node_is_left_it_runs(name: str) -> None:
    assert task_of(begun().hear("progress_state", **LEFT[name])).state is State.IN_PROGRESS


def test_a_state_of_nodes_of_which_none_runs_is_no_news_of_a_run_that_ended() -> None:
    assert task_of(EXHAUSTING["progress_state"]().hear("progress_state", **nodes(n1="pending"))).state is State.ENDING
    assert (
        task_of(EXHAUSTING["progress_state"]().hear("progress_state", **nodes(n1="running"))).state is State.IN_PROGRESS
    )


def test_a_state_of_finished_nodes_after_a_stated_end_says_nothing_new() -> None:
    story = begun().hear("execution_success").hear("progress_state", **nodes(n1="finished", n2="finished"))
    assert (task_of(story).outcome, codes(story)) == (State.COMPLETED, set())


@pytest.mark.parametrize("name", ["progress", "executing"])
def test_a_run_in_which_nothing_is_left_goes_on_if_a_frame_says_so(name: str) -> None:
    data: dict[str, Any] = {"node": "3"} if name == "executing" else {"value": 1, "max": 2}
    assert task_of(EXHAUSTING["progress_state"]().hear(name, **data)).state is State.IN_PROGRESS


def test_nothing_is_left_twice_and_not_after_it_settled() -> None:
    done = nodes(n1="finished", n2="finished")
    assert task_of(EXHAUSTING["progress_state"]().hear("progress_state", **done)).state is State.ENDING
    assert task_of(begun().fetch(record()).hear("executed", node="2")).state is State.COMPLETED


def test_an_error_after_it_settled_changes_no_result() -> None:
    task = task_of(begun().fetch(record()).hear("execution_error", exception_type="OSError"))
    assert (task.state, task.error) == (State.COMPLETED, None)


def test_the_second_run_of_an_id_may_come_in_any_order() -> None:
    story = accepted().post().start().hear("execution_success").hear("progress", value=1, max=2)
    assert Code.OUT_OF_ORDER not in codes(story)


def test_outputs_beyond_the_bound_are_counted() -> None:
    story = begun()
    for node in ("a", "b", "b", "c"):
        story.hear("executed", node=node, output={"text": [node]})
    story.hear("executed", node=None, output={"text": ["x"]})
    (task,) = story.hear("execution_error", exception_type="E").fetch(record("error")).board(Policy(outputs=2)).tasks
    assert task.left_out >= 1


def test_a_graph_that_sends_images_knows_which_node_executes() -> None:
    body = {"prompt": {"1": {"class_type": "SaveImageWebsocket", "inputs": {}}}, "prompt_id": ID, "client_id": "a" * 32}
    story = Story().listen().ask("POST", "/prompt", body, 200, {"prompt_id": ID}).start()
    story.tell("ws.binary", {"event": 1, "format": "image/png", "bytes": 9})
    assert story.board().imaged is not None
