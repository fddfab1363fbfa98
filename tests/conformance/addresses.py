"""Scenarios about addresses and sockets (P1 to P7, P35): who receives what, and what becomes of a socket under an
id.
"""

import asyncio
import json
import struct
import uuid

import aiohttp
import pytest

from tests.conformance.protocol import Server, Socket
from tests.conformance.scenario import scenario
from tests.conformance.tiny_model import NAME

ADDRESSED = {"execution_start", "execution_cached", "executing", "executed"}


@scenario("P1")
async def the_first_frame_is_a_status_with_the_sid(server: Server) -> None:
    async with server.socket("conformance-first") as window:
        first = window.heard[0]
        assert first.data["sid"] == "conformance-first"
        assert isinstance(first.data["status"]["exec_info"]["queue_remaining"], int)


@scenario("P1")
async def a_prompt_is_heard_by_the_window_that_posted_it_and_by_no_other(server: Server) -> None:
    async with server.socket() as mine, server.socket() as other:
        prompt_id = await server.run("picture", mine)
        await other.quiet()
        assert set(mine.types(prompt_id)) >= ADDRESSED
        assert not ADDRESSED & {frame.type for frame in other.heard}


@scenario("P1", since="0.3.58")
async def a_window_that_posted_nothing_hears_no_progress_either(server: Server) -> None:
    async with server.socket() as mine, server.socket() as other:
        prompt_id = await server.run("picture", mine)
        await other.quiet()
        assert "progress_state" in mine.types(prompt_id)
        assert {frame.type for frame in other.heard if not frame.type.startswith("assets.")} == {"status"}


@scenario("P1", "P30")
async def every_window_hears_the_status_of_the_queue(server: Server) -> None:
    async with server.socket() as mine, server.socket() as other:
        await server.run("picture", mine)
        await other.quiet()
        heard = [frame.data["status"] for frame in other.heard if frame.type == "status"]
        lengths = [status["exec_info"]["queue_remaining"] for status in heard]
        assert lengths[0] == lengths[-1] == 0
        assert 1 in lengths


@scenario("P2", "P22", since="0.3.45")
async def without_a_client_id_everybody_hears_the_progress_and_nobody_the_end(server: Server) -> None:
    async with server.socket() as one, server.socket() as two:
        prompt_id = await server.submit("picture")
        record = await server.record(prompt_id)
        for window in (one, two):
            await window.until("status", status={"exec_info": {"queue_remaining": 0}})
            await window.quiet()
            assert set(window.types(prompt_id)) == {"progress_state"}
        assert record["status"]["status_str"] == "success"


@scenario("P2", "P22")
async def without_a_client_id_everybody_hears_of_an_interrupt(server: Server) -> None:
    async with server.socket() as one, server.socket() as two:
        prompt_id = await server.submit("slow")
        await server.begun(prompt_id)
        await server.post("/interrupt", {"prompt_id": prompt_id})
        for window in (one, two):
            await window.until("execution_interrupted", prompt_id=prompt_id)
        await server.record(prompt_id)
        assert "executing" not in one.types(prompt_id) + two.types(prompt_id)


@scenario("P2", "P22", since="0.3.0")
async def without_a_client_id_nobody_hears_of_a_failure(server: Server) -> None:
    async with server.socket() as window:
        prompt_id = await server.submit("failing")
        record = await server.record(prompt_id)
        await window.until("status", status={"exec_info": {"queue_remaining": 0}})
        await window.quiet()
        assert not {"execution_error", "executing"} & set(window.types(prompt_id))
        assert record["status"]["status_str"] == "error"


@scenario("P3")
async def a_second_connection_under_an_id_takes_the_frames_of_the_first(server: Server) -> None:
    async with server.socket() as older, server.socket(older.client_id) as newer:
        prompt_id = await server.run("picture", newer)
        assert await older.quiet() == []
        assert set(newer.types(prompt_id)) >= ADDRESSED


@scenario("P3")
async def once_the_first_connection_closes_the_second_is_open_and_deaf(server: Server) -> None:
    async with server.socket() as witness, server.socket() as older, server.socket(older.client_id) as newer:
        await older.close()
        await server.run("picture", witness)  # time enough for the server to see the close
        await newer.quiet()
        prompt_id = await server.submit("picture", newer)
        await server.record(prompt_id)
        await witness.until("status", status={"exec_info": {"queue_remaining": 0}})
        assert await newer.quiet() == []  # and it answered a ping


@scenario("P4")
async def a_reconnect_in_mid_run_is_told_the_node_without_its_prompt(server: Server) -> None:
    async with server.socket() as before:
        prompt_id = await server.submit("slow", before)
        await before.until("executing", prompt_id=prompt_id)
        await before.close()
    async with server.socket(before.client_id) as after:
        told = await after.until("executing")
        await after.ended(prompt_id)
        assert "prompt_id" not in told.data
        assert isinstance(told.data["node"], str)
        assert [frame.type for frame in after.heard[:2]] == ["status", "executing"]
        assert "execution_start" not in after.types(prompt_id)  # nothing missed is repeated


@scenario("P5")
async def an_idle_server_says_nothing(server: Server) -> None:
    async with server.socket() as window:
        await asyncio.sleep(0.5)
        assert await window.quiet() == []


@scenario("P7", since="0.3.45")
async def flags_in_the_first_frame_are_answered_with_the_flags_of_the_server(server: Server) -> None:
    async with server.socket() as window:
        await window.say("feature_flags", {"supports_preview_metadata": True})
        answer = await window.until("feature_flags")
        assert answer.data["supports_preview_metadata"] is True
        assert answer.data == (await server.get("/features")).body


@scenario("P7", since="0.3.45")
async def flags_in_a_later_frame_are_not_answered(server: Server) -> None:
    async with server.socket() as window:
        await window.say("something_else", {})
        await window.say("feature_flags", {"supports_preview_metadata": True})
        assert await window.quiet() == []


@scenario("P7", since="0.3.45")
async def with_the_flag_previews_name_their_prompt(server: Server) -> None:
    await steps_possible(server)
    async with server.socket() as window:
        await window.say("feature_flags", {"supports_preview_metadata": True})
        prompt_id = await server.run("steps", window)
        (kind,) = {frame.type for frame in window.heard if frame.payload}
        assert kind == "binary 4"
        for payload in previews(window):
            (length,) = struct.unpack_from(">I", payload)
            metadata = json.loads(payload[4 : 4 + length])
            assert metadata["prompt_id"] == prompt_id
            assert metadata["node_id"] == "4"
            assert_is_jpeg(payload[4 + length :])


@scenario("P7")
async def without_the_flag_previews_name_nobody(server: Server) -> None:
    await steps_possible(server)
    async with server.socket() as window:
        await server.run("steps", window)
        (kind,) = {frame.type for frame in window.heard if frame.payload}
        assert kind == "binary 1"
        for payload in previews(window):
            assert struct.unpack_from(">I", payload) == (1,)
            assert_is_jpeg(payload[4:])


@scenario("P35", since="2024-09-30")
async def a_foreign_origin_is_refused_over_http_and_in_the_handshake(server: Server) -> None:
    foreign = {"Origin": "http://elsewhere.example"}
    assert (await server.get("/queue", headers=foreign)).status == 403
    assert (await server.post("/prompt", {}, headers=foreign)).status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        async with server.socket(uuid.uuid4().hex, headers=foreign):
            pass
    assert refusal.value.status == 403


@scenario("P35", since="2024-09-30")
async def the_origin_of_the_server_itself_is_let_in(server: Server) -> None:
    own = {"Origin": server.url}
    assert (await server.get("/queue", headers=own)).status == 200
    async with server.socket(headers=own) as window:
        assert window.heard[0].data["sid"] == window.client_id


async def steps_possible(server: Server) -> None:
    """Skips where the model of the steps is not there: `tiny_model.py` writes it."""
    found = (await server.get("/object_info/UNETLoader")).body
    if NAME not in str(found):
        pytest.skip(f"the server has no {NAME}")


def previews(window: Socket) -> list[bytes]:
    return [frame.payload for frame in window.heard if frame.payload]


def assert_is_jpeg(picture: bytes) -> None:
    assert picture[:2] == b"\xff\xd8"
