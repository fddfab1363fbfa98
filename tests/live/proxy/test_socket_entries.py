"""A socket passes as it is, and its entries are those that its window would have written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from comfy_fsm.testing import FakeComfy
from tests.support.http_servers import serving
from tests.support.recording import ending, recorded_by, rows, run, until

KEY = "sesame-4711-open"


async def _frames(connection: ServerConnection) -> None:
    status = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "given"}}
    await connection.send(json.dumps(status))
    echo = await connection.recv()
    await connection.send(json.dumps({"type": "progress", "data": {"prompt_id": "p", "value": 1, "echo": echo}}))
    await connection.send(b"\0\0\0\1\0\0\0\1picture")
    await connection.send(json.dumps({"type": "executed", "data": {"prompt_id": "p", "text": "x" * 100_000}}))
    await connection.send('{"type":"after","data":{}}')
    await connection.close(4_001, "enough")


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("address", ["/ws?clientId=mine", "/api/ws?clientId=mine&token=" + KEY, "/ws"])
def test_a_socket_passes_with_texts_pictures_compression_and_its_code(
    address: str, compression: Any, log: Path
) -> None:
    async def story() -> tuple[list[str | bytes], int | None, bool]:
        async with serve(_frames, "127.0.0.1", 0, compression=compression) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with recorded_by(log, url) as recorded:
                host, port = recorded.address
                frames: list[str | bytes] = []
                async with connect(f"ws://{host}:{port}{address}") as socket:
                    agreed = "Sec-WebSocket-Extensions" in (socket.response.headers if socket.response else {})
                    await socket.send("ü")
                    frames += [frame async for frame in ending(socket)]
                return frames, socket.close_code, agreed

    frames, code, agreed = run(story())
    assert (code, agreed) == (4_001, compression is not None)
    assert json.loads(frames[1])["data"]["echo"] == "ü"
    assert frames[2] == b"\0\0\0\1\0\0\0\1picture"
    lines = [json.loads(row) for row in rows(log)][1:]
    window = "mine" if "mine" in address else "given"
    assert {(line["window"], line["conn"]) for line in lines} == {(window, 1)}
    kinds = ["ws.open", "ws.message", "ws.message", "ws.binary", "ws.message", "ws.message", "ws.close"]
    assert [line["kind"] for line in lines] == kinds
    assert [line["data"] for line in lines if line["kind"] == "ws.message"] == [
        json.loads(frame) for frame in frames if isinstance(frame, str)
    ]
    assert lines[-1]["data"] == {"code": 4_001}
    assert KEY.encode() not in log.read_bytes()


def test_a_tab_that_is_closed_is_no_server_that_went_away(log: Path) -> None:
    async def story() -> None:
        async with FakeComfy() as comfy, recorded_by(log, comfy.url) as recorded:
            host, port = recorded.address
            async with connect(f"ws://{host}:{port}/ws?clientId=a") as socket:
                await socket.recv()
                await socket.close(1001, "going away")
            vanishing = await connect(f"ws://{host}:{port}/ws?clientId=b")
            await vanishing.recv()
            vanishing.transport.abort()
            await until(lambda: len(recorded.lines("ws.close")) == 2)
            assert [line["data"] for line in recorded.lines("ws.close")] == [{"code": 1000}] * 2

    run(story())


def test_a_server_that_is_killed_is_seen_by_the_client_and_in_the_log(log: Path) -> None:
    async def die(connection: ServerConnection) -> None:
        await connection.send('{"type":"status","data":{}}')
        connection.transport.abort()

    async def story() -> None:
        async with serve(die, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with recorded_by(log, url) as recorded:
                host, port = recorded.address
                async with connect(f"ws://{host}:{port}/ws?clientId=a") as socket:
                    assert len([frame async for frame in ending(socket)]) == 1
                assert socket.close_code == 1006
                await until(lambda: recorded.lines("ws.close"))
                assert recorded.lines("ws.close")[0]["data"] == {"code": 1006}

    run(story())


def test_a_refused_handshake_is_refused_as_the_server_did(log: Path) -> None:
    async def story() -> None:
        async with serving(_forbidden) as url, recorded_by(log, url) as recorded:
            host, port = recorded.address
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://{host}:{port}/ws?clientId=a")
            assert refused.value.response.status_code == 403
            assert refused.value.response.body == b"not you"

    run(story())


async def _forbidden(_: web.Request) -> web.Response:
    return web.Response(status=403, text="not you")
