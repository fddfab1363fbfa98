"""Tests of the fake's knobs at work: answers, sockets, records."""

import asyncio
import json
import uuid
from typing import Any

import aiohttp
import pytest

from comfy_fsm.testing import FakeComfy, Faults
from tests.conformance.protocol import Server
from tests.support.fake_stage import FAILING, chain, closed, eventually, play, sleeping

# answers


@pytest.mark.parametrize(
    ("knob", "status", "kind"),
    [
        ({"html": {"GET /queue": 2}}, 502, "text/html"),
        ({"too_many": {"*": 2}, "retry_after": "7"}, 429, "application/octet-stream"),
        ({"garbage": {"GET /queue": 2}}, 200, "application/json"),
        ({"login_page": True}, 200, "text/html"),
        ({"token": "secret"}, 401, "text/plain"),
    ],
)
def test_an_answer_goes_wrong_as_asked_and_as_often(knob: dict[str, Any], status: int, kind: str) -> None:
    """P33."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.turn(knob)
        async with aiohttp.ClientSession() as http:
            for _ in range(2):
                async with http.get(comfy.url + "/api/queue") as answer:
                    assert (answer.status, answer.content_type) == (status, kind)
                    assert answer.headers.get("Retry-After") == knob.get("retry_after")
                    with pytest.raises(ValueError, match="Expecting"):
                        json.loads(await answer.text())
        comfy.faults.turn({"login_page": False, "token": None})
        assert await server.queue() == ([], [])

    play(story)


def test_a_route_that_is_not_named_is_answered_well() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.html = {"GET /history": 1}
        assert (await server.get("/queue")).status == 200
        assert (await server.get("/history/some")).status == 502

    play(story)


def test_a_cut_answer_ends_in_the_middle() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.cut_answer = {"GET /system_stats": 1}
        with pytest.raises(aiohttp.ClientPayloadError):
            await server.get("/system_stats")
        assert (await server.get("/system_stats")).status == 200

    play(story)


def test_frames_come_before_an_answer_that_is_late() -> None:
    """P12."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.late = {"POST /prompt": 0.2}
        async with server.socket() as window:
            posting = asyncio.create_task(server.submit(chain(), window))
            ended = await window.until("executing", node=None)
            assert not posting.done()
            assert await posting == ended.data["prompt_id"]

    play(story)


def test_a_token_is_asked_of_requests_and_handshakes_alike() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.token = "secret"
        right = {"Authorization": "Bearer secret"}
        assert (await server.get("/queue", headers={"Authorization": "Bearer wrong"})).status == 401
        assert (await server.get("/queue", headers=right)).status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
            async with server.socket():
                pass
        async with server.socket(headers=right):
            pass

    play(story)


@pytest.mark.parametrize(
    ("knob", "status", "queued"),
    [("swallow_post", None, 1), ("drop_post", None, 0), ("post_500_queued", 500, 1), ("post_500", 500, 0)],
)
def test_a_post_that_is_not_answered_well_was_queued_or_not(knob: str, status: int | None, queued: int) -> None:
    """P11."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        setattr(comfy.faults, knob, 1)
        prompt_id = str(uuid.uuid4())
        try:
            answered = (await server.post("/prompt", {"prompt": chain(), "prompt_id": prompt_id})).status
        except aiohttp.ClientError:
            answered = None
        assert answered == status
        assert comfy.posts[prompt_id] == queued
        await eventually(lambda: comfy.runs[prompt_id] == queued)
        await server.submit(chain())  # once

    play(story)


# sockets


@pytest.mark.parametrize("status", [401, 403, 503, 200])
def test_handshakes_are_refused_as_often_as_asked(status: int) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.refuse_sockets = (2, status)
        for _ in range(2):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                async with server.socket():
                    pass
            assert refusal.value.status == status
        async with server.socket():
            pass

    play(story)


def test_a_deaf_socket_hears_its_first_status_answers_pings_and_nothing_more() -> None:
    """P3."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.deaf = 1
        async with server.socket() as deaf, server.socket() as hears:
            assert comfy.sockets == [hears.client_id]
            await server.run(chain(), hears)
            await server.record(await server.submit(chain(), deaf))
            assert await deaf.quiet() == []

    play(story)


def test_an_id_is_in_the_table_once_and_gone_with_the_older_socket() -> None:
    """P3."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket("me") as older, server.socket("me") as newer:
            assert comfy.sockets == ["me"]
            await older.close()
            await eventually(lambda: comfy.sockets == [])
            assert await newer.quiet() == []

    play(story)


@pytest.mark.parametrize(
    ("knob", "heard"),
    [
        ({}, ["executing", "executing", "executed", "execution_success", "executing"]),
        ({"drop_types": ["executing"]}, ["executed", "execution_success"]),
        ({"lose_end": 1}, ["executing", "executing", "executed"]),
        ({"mute": True}, []),
    ],
)
def test_frames_are_kept_back_as_asked(knob: dict[str, Any], heard: list[str]) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            comfy.faults.turn(knob)
            prompt_id = await server.submit(chain(), window)
            await server.record(prompt_id)
            await window.quiet()
            comfy.faults.mute = False
            assert [
                kind for kind in window.types(prompt_id) if kind in {"execution_success", "executing", "executed"}
            ] == heard

    play(story)


def test_an_end_is_lost_as_often_as_asked() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            comfy.faults.lose_end = 2
            lost = [await server.submit(chain(), window) for _ in range(2)]
            await server.run(chain(), window)
            assert [window.told("executing", each)[-1]["node"] for each in lost] == ["2", "2"]

    play(story)


def test_every_frame_comes_twice() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket() as window:
            comfy.faults.double = True
            prompt_id = await server.submit(chain(), window)
            await window.ended(prompt_id)
            await window.ended(prompt_id)
            types = window.types(prompt_id)
            assert types[::2] == types[1::2]
            assert len(types) > 10

    play(story)


@pytest.mark.parametrize("whom", ["me", None])
def test_a_cut_ends_the_socket_of_one_or_of_all_and_the_server_lives_on(whom: str | None) -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        async with server.socket("me") as me, server.socket("other") as other:
            comfy.cut(whom)
            assert await closed(me) == 1006
            assert (await server.get("/queue")).status == 200
            if whom is None:
                assert await closed(other) == 1006
            else:
                await server.run(chain(), other)

    play(story)


@pytest.mark.parametrize("size", [1, 3])
def test_a_frame_is_as_big_as_asked(size: int) -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        async with server.socket(max_msg_size=0) as window:
            await server.run(chain(("FakeBigFrame", {"bytes": size << 20})), window)
            (big,) = [frame.payload for frame in window.heard if frame.payload]
            assert len(big) == (size << 20) + 4  # and its format

    play(story)


# asking


@pytest.mark.parametrize(("knob", "about"), [("empty_history", []), ("foreign_history", ["another"])])
def test_a_record_is_kept_back_as_often_as_asked(knob: str, about: list[str]) -> None:
    """P26."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        prompt_id = await server.submit(chain())
        await server.record(prompt_id)
        another = await server.submit(chain())
        await server.record(another)
        setattr(comfy.faults, knob, 2)
        for _ in range(2):
            assert [*(await server.get(f"/history/{prompt_id}")).body] == [another for _ in about]
        assert await server.entry(prompt_id) is not None

    play(story)


def test_an_answer_about_another_names_one_even_where_there_is_no_other() -> None:
    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.foreign_history = 1
        assert "mine" not in (await server.get("/history/mine")).body != {}

    play(story)


def test_a_stated_end_comes_before_its_record() -> None:
    """P21."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.history_seconds = 0.1
        async with server.socket() as window:
            prompt_id = await server.submit(chain(), window)
            await window.until("execution_success")
            assert await server.entry(prompt_id) is None
            assert await server.queue() == ([prompt_id], [])
            await window.ended(prompt_id)
            assert await server.entry(prompt_id) is not None

    play(story)


@pytest.mark.parametrize(("knob", "status"), [("stale_status", "success"), ("null_status", None)])
def test_the_status_of_a_failure_may_be_stale_or_null(knob: str, status: str | None) -> None:
    """P24."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        setattr(comfy.faults, knob, 1)
        told = []
        for _ in range(2):
            record = await server.record(await server.submit(chain(FAILING)))
            told.append(record["status"] and record["status"]["status_str"])
        assert told == [status, "error"]

    play(story)


def test_what_waits_is_hidden_from_the_queue() -> None:
    """P28."""

    async def story(comfy: FakeComfy, server: Server) -> None:
        comfy.faults.hide_pending = True
        runs, _ = await server.submit(sleeping()), await server.submit(chain())
        await server.begun(runs)
        assert await server.queue() == ([runs], [])

    play(story)


def test_a_knob_that_is_none_or_of_a_wrong_kind_turns_nothing() -> None:
    faults = Faults()
    for wrong in ({"deaf": 1, "no_such": 1}, {"deaf": "x"}, {"double": True, "html": 3}):
        with pytest.raises(ValueError, match=r"no knob|Expected"):
            faults.turn(wrong)
    assert faults == Faults()
