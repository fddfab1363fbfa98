"""Tests of reconnection, over real sockets: what is heard, when a socket is opened again, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from aiohttp import WSMsgType, web

from comfy_fsm.live.transport.arrivals import Heard, Refused, SocketDown, SocketUp
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.websocket import reconnection
from comfy_fsm.live.transport.websocket.reconnection import Reconnection
from tests.support.hearing import LONG, SHUT, client, hearing, hold, opened, run, talkative
from tests.support.http_servers import serving


def test_a_socket_brings_its_frames_as_they_came() -> None:
    asked = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append((request.raw_path, request.headers.get("Origin"), request.headers.get("Sec-WebSocket-Extensions")))
        return await talkative(request)

    async def test() -> None:
        async with serving(handler) as url, client(url + "/prefix") as made, hearing(made, "a b&c") as frames:
            heard = [await anext(frames) for _ in range(3)]
            assert heard == [SocketUp(1), '{"type":"status","data":{}}', b"\x00\x00\x00\x01rest"]
        assert asked == [("/prefix/ws?clientId=a%20b%26c", None, None)]

    run(test())


def test_a_frame_may_have_many_megabytes_and_no_more_than_allowed() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        ws = await opened(request)
        await ws.send_bytes(bytes(5_000_000))
        await ws.send_bytes(bytes(6_000_000))
        return await hold(ws)

    async def test() -> None:
        async with serving(handler) as url, client(url, frame_limit=5_500_000) as made, hearing(made) as frames:
            assert await anext(frames) == SocketUp(1)
            assert len(str(await anext(frames))) > 5_000_000
            down = await anext(frames)
            assert isinstance(down, SocketDown)
            assert (down.code, down.conn) == (1009, 1)

    run(test())


def test_a_socket_that_fell_is_opened_again_after_its_end_was_told() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        ws = await opened(request)
        await ws.close(code=1012, message=b"restart")
        return ws

    async def test() -> None:
        async with serving(handler) as url, client(url) as made, hearing(made) as frames:
            heard = [await anext(frames) for _ in range(4)]
            assert heard == [SocketUp(1), SocketDown(1012, "restart", 1), SocketUp(2), SocketDown(1012, "restart", 2)]

    run(test())


def test_a_connection_that_is_cut_ends_with_1006_after_its_last_frame() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        ws = await opened(request)
        await ws.send_str("last words")
        assert request.transport is not None
        request.transport.abort()
        return ws

    async def test() -> None:
        async with serving(handler) as url, client(url) as made, hearing(made) as frames:
            assert [await anext(frames) for _ in range(3)] == [SocketUp(1), "last words", SocketDown(1006, "", 1)]

    run(test())


def test_the_old_connection_has_ended_before_the_new_one_opens() -> None:
    """Else the old one's end takes the new one out of the server's table (P3)."""
    told = []

    async def handler(request: web.Request) -> web.StreamResponse:
        number = len(told) // 2 + 1
        told.append(f"open {number}")
        ws = await opened(request)
        await ws.send_str("x" * 2_000 if number < 4 else "stop")
        await hold(ws)
        told.append(f"end {number}")
        return ws

    async def test() -> None:
        async with serving(handler) as url, client(url, frame_limit=1_000) as made, hearing(made) as frames:
            async for heard in frames:
                if heard == "stop":
                    break
        assert told[:7] == ["open 1", "end 1", "open 2", "end 2", "open 3", "end 3", "open 4"]

    run(test())


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 429, 500, 503])
def test_a_refused_handshake_is_told_and_tried_again_by_who_goes_on(status: int) -> None:
    refusals = []

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.path == "/ws"
        if len(refusals) == 2:
            return await talkative(request)
        refusals.append(status)
        return web.Response(status=status, text="<html>", headers={"Location": "/login", "Retry-After": "0"})

    async def test() -> None:
        async with serving(handler) as url, client(url) as made, hearing(made) as frames:
            refused = Refused(status, 0.0, f"HTTP {status}", status in (429, 500, 503), "/login")
            assert [await anext(frames) for _ in range(3)] == [refused, refused, SocketUp(1)]

    run(test())


async def waits_of(url: str, count: int, monkeypatch: pytest.MonkeyPatch, **settings: object) -> list[float]:
    """How long a client would have waited between its first sockets."""
    waits: list[float] = []

    async def pause(_: Reconnection, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(Reconnection, "_pause", pause)
    async with client(url, **settings) as made, hearing(made) as frames:
        async for heard in frames:
            if len(waits) == count:
                break
            assert not isinstance(heard, str)
    return waits


async def brief(request: web.Request) -> web.StreamResponse:
    ws = await opened(request)
    await ws.close()
    return ws


def test_sockets_that_fall_at_once_are_opened_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An open socket alone is no success (F28)."""

    async def test() -> None:
        async with serving(brief) as url:
            waits = await waits_of(url, 12, monkeypatch, damp_seconds=LONG, backoff_seconds=(1.0, 30.0))
            assert waits[0] <= 1.0
            assert 15.0 <= waits[-1] <= 30.0
            assert len(set(waits[-3:])) > 1  # jittered, so that a hundred clients do not come back as one

    run(test())


def test_a_socket_that_lived_is_opened_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with serving(brief) as url:
            assert max(await waits_of(url, 12, monkeypatch, damp_seconds=0.0, backoff_seconds=(1.0, 30.0))) <= 1.0

    run(test())


def test_a_server_that_asks_for_patience_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "77"})

    async def test() -> None:
        async with serving(handler) as url:
            assert await waits_of(url, 3, monkeypatch) == [77.0, 77.0, 77.0]

    run(test())


def test_who_waits_to_reconnect_can_be_woken() -> None:
    async def test() -> None:
        async with client(SHUT, backoff_seconds=(LONG, LONG)) as made, hearing(made) as frames:
            await anext(frames)
            waiting = asyncio.ensure_future(anext(frames))
            while not waiting.done():
                await asyncio.sleep(0.01)
                made.wake()
            assert isinstance(waiting.result(), Refused)

    run(test())


async def ended_by(end: Callable[[Comfy, AsyncGenerator[Heard, None]], Awaitable[None]]) -> int | None:
    """The code with which the server saw its socket close."""
    code: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def handler(request: web.Request) -> web.StreamResponse:
        ws = await hold(await opened(request))
        code.set_result(ws.close_code)
        return ws

    async with serving(handler) as url, client(url) as made:
        frames = made.listen("me")
        assert await anext(frames) == SocketUp(1)
        await end(made, frames)
        return await code


def test_whoever_stops_listening_closes_the_socket_properly() -> None:
    async def cancel(made: Comfy, frames: AsyncGenerator[Heard, None]) -> None:
        reading = asyncio.ensure_future(anext(frames))
        await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()

    async def test() -> None:
        assert await ended_by(lambda made, frames: frames.aclose()) == 1000
        assert await ended_by(cancel) == 1000

    run(test())


def test_a_server_that_does_not_answer_our_close_does_not_hold_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnection, "CLOSING", 0.05)
    release = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        ws = await opened(request)
        await release.wait()
        return ws

    async def test() -> None:
        async with serving(handler) as url, client(url) as made:
            frames = made.listen("me")
            assert await anext(frames) == SocketUp(1)
            await frames.aclose()
            release.set()

    run(test())


def test_a_connection_that_answers_no_ping_is_ended() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        return await hold(ws)

    async def test() -> None:
        async with serving(handler) as url, client(url, ping_seconds=0.05) as made, hearing(made) as frames:
            assert await anext(frames) == SocketUp(1)
            down = await anext(frames)
            assert isinstance(down, SocketDown)
            assert down.code == 1011

    run(test())


def test_thousands_of_frames_come_in_their_order() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        ws = await opened(request)
        for number in range(20_000):
            await ws.send_str(str(number))
        await ws.close()
        return ws

    async def test() -> None:
        async with serving(handler) as url, client(url) as made, hearing(made) as frames:
            heard = []
            async for frame in frames:
                heard.append(frame)
                if isinstance(frame, SocketDown):
                    break
            assert heard == [SocketUp(1), *map(str, range(20_000)), SocketDown(1000, "", 1)]

    run(test())


def test_text_that_is_no_utf_8_ends_the_connection_and_no_more() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        ws = await opened(request)
        await ws.send_frame(b"\xff\xff", WSMsgType.TEXT)
        return await hold(ws)

    async def test() -> None:
        async with serving(handler) as url, client(url) as made, hearing(made) as frames:
            assert await anext(frames) == SocketUp(1)
            down = await anext(frames)
            assert isinstance(down, SocketDown)
            assert down.code == 1007

    run(test())
