"""Tests of the requests to one server over HTTP, and of what the log has of them."""

import asyncio
from pathlib import Path

import pytest

from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.log import reader
from comfy_fsm.testing import FakeComfy
from tests.support.stage import QUICK, graph, outcome, until


async def test_a_post_that_nobody_waits_for_any_more_has_its_end_in_the_log(tmp_path: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK, log=tmp_path / "a.log") as client:
        comfy.faults.late = {"POST /prompt": 30.0}
        ended: list[TaskHandle] = []
        submitting = asyncio.create_task(client.window().submit(graph(), on_complete=ended.append))
        await until(lambda: comfy.posts)
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        await until(lambda: ended)  # it went on by itself
        assert [await outcome(task) for task in ended] == ["completed"]
    entries = [codec.read(record.line or b"") for record in reader.read(tmp_path / "a.log")]
    asked = [entry.data for entry in entries if isinstance(entry, seen.Request)]
    posts = [data.id for data in asked if (data.method, data.path) == ("POST", "/prompt")]
    ends = [e.data for e in entries if isinstance(e, seen.NoAnswer | seen.Response) and e.data.id in posts]
    assert ends == [seen.NoAnswerData(posts[0], "Cancelled")]
