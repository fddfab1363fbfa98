"""Tests of late evidence: it reopens every conclusion and no proof, also after another POST or a move."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from comfy_fsm import Policy, State, Task
from tests.support.one_prompt import POLICY, PROMPT, RECORD, SERVER, WINDOW, Story, never_answered, vanished

GRAPH = {"1": {"class_type": "A", "inputs": {}}}
NEXT = "d0000000-0000-4000-8000-000000000001"


def expired() -> Story:
    return Story().open().post().count(1).wait(POLICY.check_seconds).wait(200).wait(POLICY.expire_seconds)


def removed() -> Story:
    """By somebody else, as far as was seen; and a queue and a history that do not show it agree with that."""
    story = Story().open().post().count(1).ask("POST", "/queue", None, {"delete": [PROMPT]}).count(0)
    return story.look().wait(POLICY.absence_seconds).look().wait(POLICY.settle_seconds)


def forgotten() -> Story:
    story = Story().open().post().count(1).frame("execution_start", prompt_id=PROMPT)
    story.tell("ws.close", {"code": 1006, "reason": ""})
    story.wait(5).open().count(0).look().wait(POLICY.absence_seconds).look().wait(POLICY.settle_seconds)
    return story


def posted_again() -> Story:
    """What a policy with resubmits does: the same workflow, under another id."""
    body = {"prompt": GRAPH, "prompt_id": NEXT, "client_id": WINDOW}
    return never_answered().ask("POST", "/prompt", {"prompt_id": NEXT, "number": 1, "node_errors": {}}, body)


def moved() -> Story:
    """A dispatcher's job, which waits again under another id."""
    story = Story(policy=Policy(resubmits=1))
    story.tell("command", {"name": "enqueue", "prompt_id": PROMPT, "graph": "g", "workflow": GRAPH})
    never_answered(story)
    story.tell("command", {"name": "rebind", "prompt_id": PROMPT, "to": NEXT})
    assert NEXT in story.board.backlog.waiting
    return story


CONCLUDED: dict[Callable[[], Story], State] = {
    vanished: State.CANCELLED,
    removed: State.CANCELLED,
    forgotten: State.LOST,
    expired: State.EXPIRED,
    never_answered: State.LOST,
    posted_again: State.LOST,
    moved: State.LOST,
}


def failed() -> Story:
    story = Story().open().post().count(1).frame("execution_error", prompt_id=PROMPT, exception_type="ValueError")
    return story.ask("GET", f"/history/{PROMPT}", {PROMPT: _ended("execution_error")})


def interrupted() -> Story:
    story = Story().open().post().count(1).frame("execution_interrupted", prompt_id=PROMPT)
    return story.ask("GET", f"/history/{PROMPT}", {PROMPT: _ended("execution_interrupted")})


def rejected() -> Story:
    story = Story().open()
    body = {"prompt": GRAPH, "prompt_id": PROMPT, "client_id": WINDOW}
    story.tell("http.request", {"id": "p", "method": "POST", "path": "/prompt", "body": body})
    story.tell("http.response", {"id": "p", "status": 400, "body": {"error": {"type": "no", "message": "no"}}})
    return story


def stated() -> Story:
    """Its record never came: how it ended was told all the same."""
    story = Story().open().post().count(1).frame("execution_interrupted", prompt_id=PROMPT).count(0)
    return story.look().wait(POLICY.absence_seconds).look().wait(POLICY.settle_seconds)


def _ended(name: str) -> dict[str, object]:
    status = {"status_str": "error", "completed": False, "messages": [[name, {"prompt_id": PROMPT}]]}
    return {"prompt": [1, PROMPT, {}, {}, []], "outputs": {}, "status": status}


PROVED: dict[Callable[[], Story], State] = {
    failed: State.FAILED,
    interrupted: State.CANCELLED,
    rejected: State.REJECTED,
    stated: State.CANCELLED,
}
JOB = {"id": PROMPT, "status": "completed", "outputs": {}}
LATE: dict[str, Callable[[Story], Story]] = {
    "a statement": lambda story: story.frame("execution_success", prompt_id=PROMPT),
    "a record": lambda story: story.ask("GET", f"/history/{PROMPT}", RECORD),
    "its job": lambda story: story.ask("GET", f"/api/jobs/{PROMPT}", JOB),
    "its job, which waits": lambda story: story.ask("GET", f"/api/jobs/{PROMPT}", JOB | {"status": "pending"}),
    "a listing": lambda story: story.look(listed=True),
    "a frame of the run": lambda story: story.frame("executing", node="1", prompt_id=PROMPT),
}


def _task(story: Story) -> Task:
    task = story.board.task(PROMPT, SERVER)
    assert task is not None
    return task


def _late(story: Story) -> int:
    found = story.board.findings_of(_task(story))
    return sum(finding.count for finding in found if finding.code == "late-evidence")


@pytest.mark.parametrize("evidence", LATE)
@pytest.mark.parametrize("concluded", CONCLUDED, ids=lambda story: story.__name__)
def test_late_evidence_reopens_every_conclusion_and_delivers_nothing_again(
    concluded: Callable[[], Story], evidence: str
) -> None:
    story = concluded()
    task = _task(story)
    assert (task.state, task.concluded, story.delivered) == (CONCLUDED[concluded], True, [CONCLUDED[concluded]])
    LATE[evidence](story.wait(10))
    assert _task(story).state in (State.PENDING, State.IN_PROGRESS, State.ENDING, State.COMPLETED)
    assert _late(story) == 1
    story.wait(1).ask("GET", f"/history/{PROMPT}", RECORD)
    task = _task(story)
    assert (task.state, task.confidence, task.concluded) == (State.COMPLETED, "verified", False)
    assert story.delivered == [CONCLUDED[concluded]]
    assert _late(story) == 1


@pytest.mark.parametrize("evidence", LATE)
@pytest.mark.parametrize("proved", PROVED, ids=lambda story: story.__name__)
def test_late_evidence_reopens_no_proof(proved: Callable[[], Story], evidence: str) -> None:
    story = proved()
    assert (_task(story).state, _task(story).concluded) == (PROVED[proved], False)
    LATE[evidence](story.wait(10))
    assert (_task(story).state, story.delivered) == (PROVED[proved], [PROVED[proved]])
    assert not _late(story)


@pytest.mark.parametrize("evidence", LATE)
def test_what_was_moved_and_shows_up_after_all_takes_nothing_from_the_job_that_went_on(evidence: str) -> None:
    """Both are told of as they are; the job is where it was moved to, and is not moved again by what is told here."""
    story = moved()
    LATE[evidence](story.wait(10))
    assert NEXT in story.board.backlog.waiting
    story.tell("command", {"name": "rebind", "prompt_id": PROMPT, "to": f"{NEXT[:-1]}2"})
    assert list(story.board.backlog.waiting) == [NEXT]
