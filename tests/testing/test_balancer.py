"""Tests of the balancer: servers behind one address, in turn or by cookie, as users have them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from comfy_fsm.testing import Balancer, FakeComfy
from tests.conformance.protocol import Server
from tests.support.fake_stage import PATIENCE, chain, closed, eventually

# behind a balancer


def balanced(story: Callable[[Balancer, list[FakeComfy], Server], Awaitable[None]], **settings: Any) -> None:
    async def told() -> None:
        async with FakeComfy() as one, FakeComfy() as two, Balancer([one.url, two.url], **settings) as balancer:
            jar = aiohttp.CookieJar(unsafe=True)  # which takes cookies of an address without a name
            async with aiohttp.ClientSession(cookie_jar=jar) as http, asyncio.timeout(PATIENCE):
                await story(balancer, [one, two], Server(balancer.url, http))

    asyncio.run(told())


def test_in_turn_every_request_goes_to_the_next_server() -> None:
    """P33: so the history is asked of a server that never heard of the prompt."""

    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        prompt_id = await server.submit(chain())
        await eventually(lambda: prompt_id in fakes[0].records)
        assert [bool(await server.entry(prompt_id)) for _ in range(4)] == [False, True, False, True]

    balanced(story)


def test_a_cookie_keeps_a_client_at_its_server_socket_included() -> None:
    """P33."""

    async def story(balancer: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.run(chain(), window)
            assert await server.entry(prompt_id) is not None
        assert balancer.served == {fakes[0].url: 3}

    balanced(story, sticky=True)


def test_a_socket_and_what_is_posted_may_reach_different_servers() -> None:
    """P33."""

    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        async with server.socket() as window:
            prompt_id = await server.submit(chain(), window)
            await eventually(lambda: prompt_id in fakes[1].records)
            assert await window.quiet() == []
            assert fakes[0].sockets == [window.client_id]

    balanced(story)


def test_a_dead_server_is_a_page_of_the_balancer_and_its_sockets_end() -> None:
    """P33."""

    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        async with server.socket() as window:
            await fakes[0].kill()
            assert await closed(window) == 1006
        await fakes[1].kill()
        answer = await server.get("/queue")
        assert answer.status == 502
        assert b"Bad Gateway" in answer.body
        with pytest.raises(aiohttp.WSServerHandshakeError, match="502"):
            async with server.socket():
                pass

    balanced(story)


def test_a_refusal_and_a_close_go_through_the_balancer() -> None:
    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        fakes[0].faults.refuse_sockets = (1, 403)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            async with server.socket():
                pass
        async with server.socket() as window:
            await window.close()
            await eventually(lambda: not fakes[1].sockets)

    balanced(story)


def test_an_idle_socket_is_dropped_unless_it_pings() -> None:
    """P5, and the proxies that take silence for an end (F21)."""

    async def story(_: Balancer, fakes: list[FakeComfy], server: Server) -> None:
        async with server.socket() as silent, server.socket() as pings:
            waiting = asyncio.create_task(closed(silent))
            while not waiting.done():
                await pings.quiet()
                await asyncio.sleep(0.01)
            assert waiting.result() == 1006
            await pings.quiet()
            await eventually(lambda: fakes[0].sockets == [] and fakes[1].sockets == [pings.client_id])

    balanced(story, idle_seconds=0.2)
