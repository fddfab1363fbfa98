"""Tests of the front page, and of the control routes: nothing is turned where one knob is wrong."""

from __future__ import annotations

from comfy_fsm.testing import FakeComfy, Faults
from tests.conformance.protocol import Server
from tests.support.fake_stage import play


def test_over_http_nothing_is_turned_where_one_knob_is_wrong() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        for body in ({"deaf": 1, "html": {"GET /nope": 1}}, {"deaf": 1, "nope": 1}, ["deaf"], "deaf"):
            answer = await server.post("/fake/faults", body)
            assert (answer.status, comfy.faults) == (400, Faults())
            assert "no knob was turned" in answer.body["error"]

    play(story, control=True)


def test_the_front_page_says_what_it_is() -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        told = (await server.get("/")).body.decode()
        assert "This is no ComfyUI" in told
        assert "0.3.64" in told
        assert "GET /queue" in told

    play(story)
