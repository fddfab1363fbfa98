"""Tests of drawn faults and schedules: the fake accepts each, and our client reports the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.errors import ClientError, TaskError
from comfy_fsm.live.client.client import Client
from comfy_fsm.testing import FakeComfy, Faults, picture
from comfy_fsm.testing.faults import Step, knobs
from comfy_fsm.testing.strategies import faults, schedules
from comfy_fsm.testing.strategies.troubles import LASTING, PASSING
from tests.conformance.protocol import Server
from tests.support.fake_stage import PATIENCE, eventually, play

ENOUGH = 2.0  # seconds after which an example ends: what was told by then must be true


def test_every_knob_may_be_drawn() -> None:
    assert sorted(PASSING | LASTING) == sorted(knob.name for knob in knobs())


@given(faults(*PASSING, *LASTING, most=4))
def test_faults_that_are_drawn_say_themselves_what_they_are(drawn: Faults) -> None:
    assert eval(repr(drawn)) == drawn


@given(st.data(), st.sampled_from([*PASSING]))
def test_only_the_knobs_that_were_named_are_turned(data: st.DataObject, name: str) -> None:
    drawn = data.draw(faults(name))
    assert drawn in (Faults(), Faults(**{name: getattr(drawn, name)}))
    for step in data.draw(schedules(name)):
        assert {*step.knobs} <= {name}


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: faults("nope"), "there is no knob 'nope'"),
        (lambda: schedules("nope"), "there is no knob 'nope'"),
        (lambda: schedules(acts=["jump"]), "acts has 'jump'; what may happen is turn"),
        (lambda: Step(1, "jump"), "act='jump': what may happen is"),
        (lambda: Step(1, "turn", {"nope": 1}), "there is no knob 'nope'"),
        (lambda: Step(-1, "cut"), "after=-1: it is a number of requests"),
    ],
)
def test_what_cannot_happen_is_not_drawn(draw: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        draw()


def test_a_schedule_is_followed_request_by_request() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        await server.get("/queue")
        comfy.follow(
            [Step(3, "restart", keep=False), Step(1, "turn", {"html": {"GET /queue": 1}}), Step(2, "stranger")]
        )
        assert [(await server.get("/queue")).status for _ in range(2)] == [502, 200]
        assert len(comfy.posts) == 1
        with suppress(aiohttp.ClientError):
            await server.get("/queue")
        await eventually(lambda: not comfy._restarts)
        assert comfy.records == {}
        assert (await server.get("/queue")).status == 200
        comfy.follow([Step(0, "turn", {"deaf": 1})])
        assert comfy.faults.deaf == 1, "after no request is at once"
        comfy.follow([Step(1, "turn", {"deaf": 2})])
        await comfy.reset()
        await server.get("/queue")
        assert comfy.faults == Faults(), "reset ends it"

    play(story)


@settings(max_examples=20, database=None)
@given(faults(), schedules())
def test_what_our_own_client_tells_under_any_of_them_is_true(wrong: Faults, schedule: list[Step]) -> None:
    async def story() -> None:
        async with FakeComfy() as comfy:
            await comfy.reset(wrong)
            comfy.follow(schedule)
            async with Client(comfy.url) as client:
                state = await _told(client.window().submit(picture()))
            ran = any(comfy.runs[prompt] for prompt in comfy.runs)
            assert state != "completed" or ran
            assert state not in ("failed", "rejected", "cancelled"), "nothing of the kind was asked for"

    async def _told(submitted: Awaitable[Awaitable[object]]) -> str:
        try:
            async with asyncio.timeout(ENOUGH):
                await (await submitted)
                return "completed"
        except TaskError as error:
            return str(error.result.state)
        except (ClientError, TimeoutError) as error:
            return type(error).__name__

    asyncio.run(asyncio.wait_for(story(), PATIENCE))
