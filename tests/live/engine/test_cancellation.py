"""Tests of cancellation: features are detected harmlessly, only ids are used, and the result is reported truly."""

from collections import Counter
from pathlib import Path

import pytest

from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.profiles import PROFILES
from tests.support.stage import QUICK, graph, outcome, play, until

BY_JOB, BY_ID, BLUNT = {"0.26.0", "0.33.0", "latest"}, "0.3.57", 3600.0
VERSIONS = [version for version in PROFILES if PROFILES[version].interrupts_by_id]
OLDER = [version for version in PROFILES if not PROFILES[version].interrupts_by_id]


def asked_of(comfy: FakeComfy) -> Counter[str]:
    return Counter(path.removeprefix("/api") for method, path in comfy.requests if method == "POST")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_waits_and_what_runs_is_cancelled_on_every_version(version: str, tmp_path: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        running = await window.submit(graph(1, seconds=BLUNT))
        await until(lambda: running.state == "in_progress")
        waiting = await window.submit(graph(2))
        assert await waiting.cancel()
        assert await running.cancel()
        assert [await outcome(task) for task in (waiting, running)] == ["cancelled", "cancelled"]
        asked = asked_of(comfy)
        by_job = {path for path in asked if path.startswith("/jobs/") and path != "/jobs/cancel"}
        assert asked["/jobs/cancel"] == 1, "what it can is found out once"
        assert bool(by_job) is (version in BY_JOB)
        assert bool(asked["/interrupt"]) is (version not in BY_JOB)
        assert all(findings.code != "foreign-interrupt" for findings in client.board.findings)

    play(story, tmp_path / "log.sqlite", version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_else_is_hit_and_nothing_to_cancel_is_false(version: str, tmp_path: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        theirs = comfy.stranger(seconds=BLUNT)
        window = client.window()
        ours = await window.submit(graph(1))
        assert await ours.cancel()
        assert await outcome(ours) == "cancelled"
        assert await ours.cancel() is (version not in BY_JOB)
        assert theirs in [item.prompt_id for item in comfy.state.running]
        comfy.execution.interrupt()

    play(story, tmp_path / "log.sqlite", version=version)


@pytest.mark.parametrize("version", OLDER)
def test_where_an_interrupt_could_hit_another_it_is_not_sent(version: str, tmp_path: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        running = await window.submit(graph(1, seconds=BLUNT))
        await until(lambda: running.state == "in_progress")
        assert not await running.cancel()
        assert not asked_of(comfy)["/interrupt"]
        comfy.execution.interrupt()
        await outcome(running)

    play(story, tmp_path / "log.sqlite", version=version)


def test_jobs_are_cancelled_though_the_list_of_them_is_broken(tmp_path: Path) -> None:
    """P41, P43: 500 is no "there are none", and whether they can be cancelled is asked by itself."""

    async def story(comfy: FakeComfy, client: Client) -> None:
        theirs, _ = comfy.stranger(seconds=BLUNT), comfy.stranger()
        for item in (*comfy.state.queue, *comfy.state.running):
            item.extra_data["extra_pnginfo"] = None
        ours = await client.window().submit(graph(1))
        assert await ours.cancel()
        assert await outcome(ours) == "cancelled"
        assert client.runner.exchanges[comfy.url].has_jobs
        assert theirs in [item.prompt_id for item in comfy.state.running]
        comfy.execution.interrupt()

    play(story, tmp_path / "log.sqlite", version="0.33.0")


@pytest.mark.parametrize("trouble", ["html", "garbage", "too_many"])
async def test_what_says_nothing_about_cancelling_is_not_remembered(trouble: str) -> None:
    async with FakeComfy("0.33.0") as comfy, Client(comfy.url, policy=QUICK) as client:
        running = await client.window().submit(graph(1, seconds=BLUNT))
        await until(lambda: running.state == "in_progress")
        setattr(comfy.faults, trouble, {"POST /jobs": 1})
        exchange = client.runner.exchanges[comfy.url]
        assert not await exchange.cancels_jobs()
        assert await exchange.cancels_jobs() is (trouble != "garbage")
        await running.cancel()
        assert await outcome(running) == "cancelled"
