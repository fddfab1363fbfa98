"""A task: what follows from what was reported of it, and that what is kept of it is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given

from comfy_fsm.core.machine import SETTLED, State
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from comfy_fsm.testing.strategies import true_runs
from comfy_fsm.testing.strategies.scripted import TrueRun
from tests.support.examples import few
from tests.support.folding import fold_all
from tests.support.stories import HOME, ID, ME, OTHER, STORIES, Story, begun, record


def task_of(story: Story, policy: Policy | None = None) -> Task:
    (task,) = story.board(policy or Policy()).tasks
    return task


NEVER_THERE = Story().listen().ask("GET", "/features", None, 200, {}).post("ReadTimeout").wait(40).look().ask(
    "GET", "/history", None, 200, {}).wait(20).look().ask("GET", "/history", None, 200, {}).wait(60)  # fmt: skip
KNOWN: dict[str, tuple[Story, tuple[bool, bool, bool]]] = {
    "posted": (Story().listen().post(""), (False, False, True)),
    "accepted": (Story().listen().post(), (True, False, False)),
    "never sent": (Story().listen().post("ConnectError"), (False, True, True)),
    "doubtful": (Story().listen().post(502), (False, False, True)),
    "doubtful, then listed": (Story().listen().post(502).look((ID,)), (True, False, False)),
    "rejected": (Story().listen().post(400), (False, False, False)),
    "lost": (begun().vanish(), (True, False, False)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_known_whether_a_server_had_it_and_under_which_id(name: str) -> None:
    story, known = KNOWN[name]
    task = task_of(story)
    assert (task.accepted, task.unsent, task.nameless) == known
    assert task.result().accepted is task.accepted


def test_what_was_never_accepted_may_turn_up_under_another_id() -> None:
    task = task_of(NEVER_THERE)
    assert (task.state, task.may_have_another_id) == (State.LOST, True)
    assert not task_of(begun().vanish()).may_have_another_id


@pytest.mark.parametrize("name", [name for name, (_, state, _) in STORIES.items() if state in SETTLED])
def test_a_result_says_what_its_task_says(name: str) -> None:
    for task in STORIES[name][0].board().tasks:
        result = task.result()
        assert (result.state, result.server, result.prompt_id) == (task.state, task.server, task.prompt_id)
        assert (result.outputs, result.concluded) == (task.outputs, task.concluded)
        assert task.settled is (task.state in SETTLED)


def test_of_many_signals_the_first_and_the_last_are_kept() -> None:
    story = Story().listen().post()
    for _ in range(50):
        story.look(pending=(ID,))
    task = task_of(story.start(), Policy(signals=8))
    assert len(task.signals) == 8
    assert [told.position for told in task.signals] == sorted(told.position for told in task.signals)
    assert (task.signals[0].signal, task.signals[-1].after) == ("response", State.IN_PROGRESS)
    assert all(told.why for told in task.signals)


def test_its_windows_are_its_owner_and_whom_its_server_addresses() -> None:
    assert task_of(Story().listen().post()).windows == (ME,)
    assert task_of(Story().listen().post(client_id=OTHER)).windows == (ME, OTHER)


def test_a_run_that_is_heard_from_its_start_may_be_concluded_from_null_alone() -> None:
    """Before July 2024 no frame states a success (P22)."""
    story = Story().listen().post().hear("execution_start").hear("executing", node="1").hear("executed", node="2")
    assert task_of(story.hear("executing", node=None)).outcome is State.COMPLETED
    missed = Story().listen().post().hear("execution_start").hear("executing", node=None)
    assert task_of(missed).outcome is None


@pytest.mark.parametrize("bound", [2, 50_000])
def test_nodes_that_are_told_before_the_graph_is_known_are_remembered_up_to_a_bound(bound: int) -> None:
    """Its frames overtook the answer to its POST (P12), and the request was not seen yet."""
    story = Story().listen().hear("execution_start")
    story.hear("execution_cached", nodes=["1"]).hear("executed", node="3").hear("executed", node="2")
    story.post().hear("executing", node=None)
    assert task_of(story, Policy(outputs=bound)).outcome is (State.COMPLETED if bound > 2 else None)


def test_a_tag_is_handed_back_as_it_was_given() -> None:
    tag = {"user": 7}
    story = Story().listen().command("submit", tag=tag).post().start().hear("execution_success").fetch(record())
    assert task_of(story).result().tag == tag
    assert task_of(begun()).result().tag is None


@few
@given(true_runs())
def test_a_settled_task_has_an_end_that_somebody_told(run: TrueRun) -> None:
    for task in fold_all(run.observations).tasks:
        assert task.settled is (task.settled_at is not None)
        assert not task.settled or task.confidence is not None
        assert task.server == HOME or task.server
