"""Tests of servers that send too much or never read: memory and the application's loop stay free."""

import asyncio
from pathlib import Path

import pytest

from comfy_fsm.live.client.client import Client
from comfy_fsm.live.transport.arrivals import SocketDown
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.websocket import connection
from tests.support.deaf_server import serving

TINY = b'{"type":"x","data":{}}'


async def test_a_server_that_pings_and_never_reads_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNREAD_SIZE", 100_000)
    ping = bytes([0x89, 125]) + b"p" * 125

    async with asyncio.timeout(60):
        async with serving(ping * 1000) as server:
            comfy = Comfy(server.url, ping_seconds=1000.0)
            async for heard in comfy.listen("w"):
                if isinstance(heard, SocketDown):
                    break
            await comfy.close()


async def test_a_flood_of_tiny_frames_gives_every_task_its_turn(tmp_path: Path) -> None:
    """Turns are counted, not seconds: between two of the application, few frames are taken and few are folded."""
    blob = (bytes([0x81, len(TINY)]) + TINY) * 20_000
    async with serving(blob) as server, Client(server.url, log=tmp_path / "a.log") as client:
        most = before = 0
        submitting = asyncio.create_task(client.window().submit({"1": {"class_type": "X", "inputs": {}}}))
        while client.board.position < 15_000:
            await asyncio.sleep(0)
            now = sum(listener.frames for listener in client.runner._listeners.values())
            most, before = max(most, now - before), now
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
        assert most <= 100
