"""Tests of the fake as a process, and of the balancer."""

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from comfy_fsm.testing import Balancer, FakeComfy
from tests.conformance.protocol import Server
from tests.support.fake_stage import PATIENCE, chain, closed, eventually, play


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
async def test_as_a_process_it_tells_its_address_is_ruled_over_http_and_ends_as_told(
    how: signal.Signals, code: int
) -> None:
    async with asyncio.timeout(PATIENCE):
        words = ["-m", "comfy_fsm.testing", "--comfyui", "0.3.10", "--token", "secret"]
        process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as http:
            server = Server(url, http)
            assert (await server.get("/queue")).status == 401
            turned = (await server.post("/fake/faults", {"token": None, "drop_types": ["executing"]})).body
            assert (turned["token"], turned["drop_types"]) == (None, ["executing"])
            assert (await server.post("/fake/faults", {"no_such": 1})).status == 400
            prompt_id = await server.submit(chain())
            await server.record(prompt_id)
            state = (await server.get("/fake/state")).body
            assert state["runs"] == state["posts"] == {prompt_id: 1}
            process.send_signal(how)
            assert await process.wait() == code
            with pytest.raises(aiohttp.ClientConnectorError):
                await server.get("/queue")


async def test_a_port_that_is_taken_is_told_in_a_line() -> None:
    async with asyncio.timeout(PATIENCE):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            words = ["-m", "comfy_fsm.testing", "--port", str(taken.getsockname()[1])]
            process = await asyncio.create_subprocess_exec(sys.executable, *words, stderr=asyncio.subprocess.PIPE)
            _, said = await process.communicate()
            code, said = process.returncode, said
    assert code == 69
    assert said.startswith(b"no fake was started:")
    assert len(said.splitlines()) == 1


def test_the_control_routes_are_not_there_unless_asked_for() -> None:
    async def story(_: FakeComfy, server: Server) -> None:
        assert (await server.get("/fake/state")).status == 404

    play(story)


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
