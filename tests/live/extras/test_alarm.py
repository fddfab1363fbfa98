"""Tests of the alarm of a live client: what begins and ends is told, once each, whatever the callback does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.core.metrics.alerts import ALERTS, Alert, Change, Sum
from comfy_fsm.core.metrics.catalogue import METRICS, Reading
from comfy_fsm.errors import ClientClosed, LogWriteFailed
from comfy_fsm.live.blocking.client import BlockingClient
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.companion import Companion
from comfy_fsm.live.extras.alarm import Alarm
from comfy_fsm.live.extras.prometheus import Endpoint
from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy, ThreadedFake
from tests.support.scrapes import families, get
from tests.support.stage import QUICK, graph, outcome, until, with_node


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tasks.log"


async def test_a_blocking_client_is_scraped_and_alarmed_too(fake_comfyui: ThreadedFake, log: Path) -> None:
    told: list[Change] = []
    done = _ended("completed")
    with BlockingClient(fake_comfyui.url, log=log, policy=QUICK) as client:
        endpoint = client.accompany(lambda its: Endpoint(its.readings, 0))
        client.accompany(lambda its: Alarm(its.readings, told.append, alerts=[done], seconds=0.02))
        client.run(graph())
        text = await get(endpoint.url)
        assert families(text)["comfy_fsm_tasks_settled_total[('state', 'completed')]"] == 1
    assert [change.alert.name for change in told] == ["Ended"]


def _ended(state: str) -> Alert:
    part = Sum("comfy_fsm_tasks_settled_total", only=("state", (state,)))
    return Alert("Ended", "warning", part, over=0.0, under=None, lasting=0.0, summary="It ended.", advice="Rejoice.")


async def test_nothing_runs_beside_a_client_that_is_closed() -> None:
    async with Client("http://127.0.0.1:9", policy=QUICK) as client:
        pass
    with pytest.raises(ClientClosed):
        client.accompany(Companion())


# alerts


def alarmed(
    on_alert: Callable[[Change], Any], story: Callable[[FakeComfy, Client], Awaitable[None]], *alerts: Alert, log: Path
) -> None:
    async def run() -> None:
        async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
            client.accompany(Alarm(client.readings, on_alert, alerts=alerts, seconds=0.02))
            await asyncio.sleep(0.05)  # a first look, so that what comes is a growth
            await story(comfy, client)

    asyncio.run(run())


def test_a_callback_that_called_itself_is_told_once(log: Path) -> None:
    told: list[Change] = []

    async def story(comfy: FakeComfy, client: Client) -> None:
        async def again(_: object) -> None:
            task.report("a stage of the callback's own")

        task = await client.window().submit(with_node("FakeProgress", steps=5, seconds=0.05), on_progress=again)
        assert await outcome(task) == "completed"
        await until(lambda: told)
        await asyncio.sleep(0.1)

    alarmed(told.append, story, ALERTS["ComfyCallbackRecursion"], log=log)
    assert [(change.alert.name, change.began, change.server) for change in told] == [
        ("ComfyCallbackRecursion", True, None)
    ]


def quick(name: str, lasting: float = 0.05, within: float = 0.5) -> Alert:
    """The same alert, in a hurry."""

    def hurried(term: Any) -> Any:
        return term and type(term)(term.metric, within if term.within else 0.0, term.by_server, term.only)

    alert = ALERTS[name]
    return Alert(
        alert.name, alert.severity, hurried(alert.part), alert.over, alert.under, lasting, alert.summary, alert.advice,
        hurried(alert.of), hurried(alert.unless),
    )  # fmt: skip


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_server_that_answers_with_pages_alone_is_told_and_told_again_when_it_is_back(
    asynchronous: bool, log: Path
) -> None:
    told: list[Change] = []

    async def hear(change: Change) -> None:
        told.append(change)

    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.lose_end = 1
        comfy.faults.html = {"GET /history": 10**6, "GET /jobs": 10**6, "GET /queue": 10**6}
        task = await client.window().submit(graph())
        await until(lambda: told)
        comfy.faults.html = {}
        assert await outcome(task) == "completed"
        await until(lambda: len(told) == 2)
        assert [(change.began, change.server) for change in told] == [(True, comfy.url), (False, comfy.url)]

    alarmed(hear if asynchronous else told.append, story, quick("ComfyServerUnreachable"), log=log)


def test_a_worker_that_died_is_told(log: Path) -> None:
    told: list[Change] = []
    wedged = ALERTS["ComfyServerWedged"]
    hurried = Alert(wedged.name, wedged.severity, wedged.part, 0.3, None, 0.0, wedged.summary, wedged.advice)

    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.dead_worker = True
        task = await client.window().submit(graph())
        await until(lambda: told)
        comfy.faults.dead_worker = False
        assert await outcome(task) == "completed"
        await until(lambda: len(told) == 2)

    alarmed(told.append, story, hurried, log=log)
    assert [change.began for change in told] == [True, False]


def test_a_log_that_refuses_is_told_though_the_client_has_stopped(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Change] = []

    async def story(comfy: FakeComfy, client: Client) -> None:
        async def refuse(*_: object) -> tuple[bool, Exception]:
            return False, OSError("no space left on device")

        monkeypatch.setattr(Log, "_transact", refuse)
        with pytest.raises(LogWriteFailed):
            await client.window().submit(graph())
        await until(lambda: told)

    alarmed(told.append, story, ALERTS["ComfyLogFailed"], log=log)
    assert [(change.alert.name, change.began) for change in told] == [("ComfyLogFailed", True)]


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_a_callback_that_misbehaves_stops_neither_the_client_nor_its_closing(how: str, log: Path) -> None:
    called: list[Change] = []

    async def misbehave(change: Change) -> None:
        called.append(change)
        if how == "raises":
            raise RuntimeError("in the callback")
        await asyncio.Event().wait()

    flips = iter(range(10**6))
    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:

        def flicker() -> list[Reading]:
            return [Reading(METRICS["comfy_fsm_log_failed"], (((), float(next(flips) % 2)),))]

        client.accompany(Alarm(flicker, misbehave, alerts=[ALERTS["ComfyLogFailed"]], seconds=0.02))
        await until(lambda: len(called) > (2 if how == "raises" else 0))
        assert await outcome(await client.window().submit(graph())) == "completed"
    assert [change.began for change in called[:2]] == [True, False][: len(called)]


async def test_a_companion_that_stumbles_falls_alone(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stumbles(Companion):
        async def run(self) -> None:
            raise RuntimeError("stumbled")

    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
        client.accompany(Stumbles())
        assert await outcome(await client.window().submit(graph())) == "completed"
    assert "stumbled" in caplog.text
