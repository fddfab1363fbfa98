"""Tests of refused POSTs: repeated when the server says so, otherwise reported at once, and never run twice."""

from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from comfy_fsm.errors import TaskRejected
from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.stage import QUICK, graph, outcome, until

MANY = 1_000_000


@pytest.mark.parametrize("times", [1, 3])
async def test_who_is_told_to_come_later_comes_later_and_runs_once(times: int, tmp_path: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK, log=tmp_path / "a.log") as client:
        comfy.faults.turn({"too_many": {"POST /prompt": times}, "retry_after": "0"})
        task = await client.window().submit(graph())
        assert await outcome(task) == "completed"
        assert sum(comfy.runs.values()) == 1
        assert comfy.posts[task.prompt_id] == 1
    states = [str(task.state) for task in replay(tmp_path / "a.log").tasks]
    assert sorted(states) == ["completed"] + ["rejected"] * times


async def test_what_is_posted_again_is_what_was_submitted_whatever_became_of_it_since() -> None:
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK) as client:
        comfy.faults.turn({"too_many": {"POST /prompt": 1}, "retry_after": "0"})
        workflow = graph()
        task = await client.window().submit(workflow)
        workflow["1"]["class_type"] = "NoSuchNode"
        assert await outcome(task) == "completed"


async def test_a_refusal_of_the_second_post_says_nothing_of_the_first_which_was_only_concluded_to_be_lost() -> None:
    policy = changed(QUICK, resubmits=1, refusal_seconds=0.0)
    async with FakeComfy() as comfy, Client(comfy.url, policy=policy) as client:
        comfy.faults.drop_post = 1
        task = await client.window().submit(graph())
        comfy.faults.turn({"too_many": {"POST /prompt": MANY}})
        with pytest.raises(TaskRejected, match="may still run") as caught:
            await task
        assert not caught.value.safe_to_retry


@pytest.mark.parametrize("mute", [False, True])
async def test_what_no_socket_confirms_is_not_posted_again_and_that_is_told(
    mute: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a server that says nothing over any socket, nobody knows whether it is the one that took the POST."""
    async with FakeComfy() as comfy, Client(comfy.url, policy=changed(QUICK, resubmits=1)) as client:
        comfy.faults.mute, comfy.faults.drop_post = mute, 1
        task = await client.window().submit(graph())
        assert await outcome(task) == ("lost" if mute else "completed")
        assert sum(comfy.posts.values()) == (not mute)
    assert ("is not posted again" in caplog.text) == mute


@pytest.mark.parametrize(("allowed", "end"), [(120.0, "completed"), (0.0, "lost")])
async def test_who_finds_a_server_busy_comes_again_once_no_sign_of_it_was_seen(
    allowed: float, end: str, tmp_path: Path
) -> None:
    """A 503 does not say that nothing was queued: only the proof of its absence lets it be posted again."""
    policy = changed(QUICK, refusal_seconds=allowed)
    async with FakeComfy() as comfy, Client(comfy.url, policy=policy, log=tmp_path / "a.log") as client:
        comfy.faults.turn({"busy": {"POST /prompt": 2}, "retry_after": "0"})
        task = await client.window().submit(graph())
        assert await outcome(task) == end
        assert sum(comfy.runs.values()) == (end == "completed")
    states = sorted(str(task.state) for task in replay(tmp_path / "a.log").tasks)
    assert states == (["completed", "lost", "lost"] if end == "completed" else ["lost"])


@pytest.mark.parametrize(
    ("retry_after", "allowed"), [("0", 0.0), ("0", 0.2), ("3600", 120.0), ("", 120.0), ("soon", 120.0)]
)
async def test_who_may_not_wait_or_is_not_told_how_long_is_refused_in_the_words_of_the_server(
    retry_after: str, allowed: float
) -> None:
    """By a limit of the policy, however often it is told to come again; nothing runs, and the error says so."""
    policy = changed(QUICK, refusal_seconds=allowed)
    async with FakeComfy() as comfy, Client(comfy.url, policy=policy) as client:
        comfy.faults.turn({"too_many": {"POST /prompt": MANY}, "retry_after": retry_after})
        task = await client.window().submit(graph())
        with pytest.raises(TaskRejected, match="nothing ran") as caught:
            await task
        assert caught.value.safe_to_retry
        assert not comfy.runs


async def test_who_is_cancelled_while_it_waits_is_not_posted_again() -> None:
    async with FakeComfy() as comfy, Client(comfy.url, policy=changed(QUICK, look_seconds=0.3)) as client:
        comfy.faults.turn({"too_many": {"POST /prompt": 1}, "retry_after": "0"})
        task = await client.window().submit(graph())
        await until(lambda: task.state == "rejected")
        await task.cancel()
        assert await outcome(task) == "rejected"
        assert not comfy.posts
