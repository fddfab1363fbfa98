"""Tests of a fake on a thread of its own: it has all that a fake has, and starts anew on the same port."""

from __future__ import annotations

import asyncio
import inspect

from comfy_fsm.testing import FakeComfy, Faults, ThreadedFake, picture
from tests.conformance.protocol import Server
from tests.support.fake_stage import chain, play

# on a thread, and as new

INTERNALS = {"state", "execution", "publisher", "jobs"}
"""What other modules of the fake, and our own tests, reach into."""


OF_A_LOOP = {"start"}
"""A fake on a thread is started when it is made, and ended by `close`."""


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_a_fake_on_a_thread_has_all_that_a_fake_has() -> None:
    async def names() -> set[str]:
        async with FakeComfy() as comfy:
            return public(comfy)

    with ThreadedFake() as fake:
        assert public(fake) == asyncio.run(names()) - INTERNALS - OF_A_LOOP | {"close"}
    for name in public(ThreadedFake) & public(FakeComfy):
        one, other = getattr(ThreadedFake, name), getattr(FakeComfy, name)
        assert isinstance(one, property) is isinstance(other, property), name
        if not isinstance(one, property):
            assert [*inspect.signature(one).parameters] == [*inspect.signature(other).parameters], name
    ours = inspect.signature(ThreadedFake).parameters
    assert {*ours} == {*inspect.signature(FakeComfy).parameters} - {"state", "control"}


def test_reset_makes_it_as_new_on_the_same_port_with_these_faults_alone() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        url, faults = comfy.url, Faults(deaf=1, html={"GET /queue": 2})
        comfy.faults.mute = True
        await server.submit(chain(("FakeSleep", {"seconds": 3600})))
        await server.submit(picture())
        await comfy.reset(faults)
        assert (comfy.url, comfy.faults) == (url, faults)
        assert [*comfy.runs, *comfy.posts, *comfy.records, *comfy.requests, *comfy.sockets] == []
        assert (await server.get("/queue")).status == 502
        assert faults == Faults(deaf=1, html={"GET /queue": 2}), "what was given is not used up"
        await comfy.reset()
        assert (await server.get("/queue")).body == {"queue_running": [], "queue_pending": []}

    play(story)
