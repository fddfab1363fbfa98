"""Tests of the fake as a process of its own."""

import asyncio
import signal
import socket
import sys

import aiohttp
import pytest

from comfy_fsm.testing import FakeComfy
from tests.conformance.protocol import Server
from tests.support.fake_stage import PATIENCE, chain, play


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
