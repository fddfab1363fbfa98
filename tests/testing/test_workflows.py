"""Tests of the ready workflows: each is one that a server takes, and no cache has."""

from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy, picture, sleeping
from comfy_fsm.workflow.shape import is_workflow
from tests.support.stage import outcome


def test_each_is_a_workflow_of_its_own() -> None:
    assert all(map(is_workflow, (picture(), picture(1), sleeping(0.0))))
    assert picture(1) == picture(1) != picture(2)
    assert sleeping(1.0) != sleeping(1.0)


async def test_each_runs_to_its_end() -> None:
    async with FakeComfy() as comfy, Client(comfy.url) as client:
        tasks = [await client.window().submit(workflow) for workflow in (picture(), sleeping(0.0))]
        assert [await outcome(task) for task in tasks] == ["completed", "completed"]
        assert tasks[0].result().outputs
