"""Tests of the client with current servers: what they rewrite, pass on, hold back and send besides."""

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.profiles import profile_of
from tests.support.stage import QUICK, graph, outcome, play, with_node


def test_a_graph_that_the_server_rewrote_is_the_same_task(tmp_path: Path) -> None:
    """P48: what runs, and what queue and record show, is not what was posted."""

    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit({"1": {"class_type": "FakeRetired", "inputs": {}}})
        assert await outcome(task) == "completed"
        assert comfy.records[task.prompt_id]["prompt"][2]["1"]["class_type"] == "FakeNothing"

    play(story, tmp_path / "log.sqlite", version="0.33.0")


def test_a_node_that_is_shown_at_the_very_end_is_part_of_the_task(tmp_path: Path) -> None:
    """P50."""

    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        for _ in range(2):
            task = await window.submit(with_node("FakeIntermediate", 1))
            assert await outcome(task) == "completed"

    replayed = play(story, tmp_path / "log.sqlite", version="0.33.0")
    assert not [finding for finding in replayed.findings if finding.severity == "error"]


def test_a_cycle_that_appears_while_it_runs_is_a_failure_whatever_record_and_job_say(tmp_path: Path) -> None:
    """P40, with the socket mute: only the job tells."""

    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.drop_types = {"execution_error", "executing"}
        assert await outcome(await client.window().submit(with_node("FakeCycle", 1))) == "failed"

    replayed = play(story, tmp_path / "log.sqlite", version="0.33.0")
    assert "stale-status" in {finding.code for finding in replayed.findings}


@pytest.mark.parametrize("version", ["0.24.0", "0.33.0"])
async def test_a_key_of_a_partner_and_the_source_are_passed_on_and_not_written_down(
    version: str, tmp_path: Path
) -> None:
    log, key = tmp_path / "log.sqlite", "a-key-of-a-partner-service"
    headers = {"Comfy-Usage-Source": "tests"}
    async with FakeComfy(version) as comfy, Client(comfy.url, log=log, policy=QUICK, headers=headers) as client:
        task = await client.window().submit(graph(1), extra_data={"api_key_comfy_org": key})
        assert await outcome(task) == "completed"
        shown = comfy.records[task.prompt_id]["prompt"][3]
        assert (shown.get("comfy_usage_source") == "tests") is (version == "0.33.0")
        assert key not in str(shown)
    assert all(key.encode() not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("version", ["0.18.1", "0.33.0", "latest"])
async def test_where_assets_are_on_nothing_is_unknown(version: str, tmp_path: Path) -> None:
    """P53, P54, P56: known, and silent."""
    profile = replace(profile_of(version), assets_are_on=True)
    async with FakeComfy(profile) as comfy, Client(comfy.url, log=tmp_path / "log.sqlite", policy=QUICK) as client:
        for number in range(2):
            assert await outcome(await client.window().submit(graph(number))) == "completed"
        assert not [finding for finding in client.board.findings if finding.code == "unrecognized"]
