"""What passes over HTTP is as it was: bytes, bodies of any size, hang-ups of either side."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from websockets.asyncio.client import connect

from comfy_fsm.live.proxy.forwarding import Patience
from comfy_fsm.testing import FakeComfy
from tests.support.http_servers import serving
from tests.support.recording import ending, recorded_by, rows, run, until

KEY = "sesame-4711-open"


ASKED = b"GET /assets/a.js HTTP/1.1\r\nHost: 127.0.0.1:1\r\nX-Mine: 1\r\nAccept-encoding: br\r\n\r\n"


@asynccontextmanager
async def echoing(reply: bytes, got: list[bytes]) -> AsyncIterator[str]:
    """A server that keeps what it is sent, and answers these bytes to each head."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                got.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(reply)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_not_a_byte_of_an_answer_is_added_or_lost(log: Path) -> None:
    replies = [
        b"HTTP/1.1 200 OK\r\nX-ODD-Case: Yes\r\nContent-Length: 5\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\nhello",
        b"HTTP/1.1 404 Nothing Here\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 27\r\n\r\n" + gzip.compress(b"squeeze"),
    ]  # fmt: skip

    async def story(reply: bytes, name: Path) -> tuple[bytes, bytes]:
        got: list[bytes] = []
        async with echoing(reply, got) as url, recorded_by(name, url) as recorded:
            reader, writer = await asyncio.open_connection(*recorded.address)
            for _ in range(2):  # on one connection
                writer.write(
                    b"GET /assets/a.js HTTP/1.1\r\nHost: 127.0.0.1:1\r\nX-Mine: 1\r\nAccept-encoding: br\r\n\r\n"
                )
                answer = await reader.readexactly(len(reply))
            writer.close()
            host = url.removeprefix("http://").encode()
            assert got[0].replace(host, b"127.0.0.1:1") == got[1].replace(host, b"127.0.0.1:1")
            return answer, got[0].replace(host, b"127.0.0.1:1")

    for number, reply in enumerate(replies):
        answer, asked = run(story(reply, log.with_suffix(f".{number}")))
        assert answer == reply
        assert asked == ASKED


def test_bodies_of_any_size_stream_both_ways(log: Path) -> None:
    piece, count = b"\0" * 1_000_000, 40

    async def handle(request: web.Request) -> web.StreamResponse:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        answer = web.StreamResponse()  # in chunks of no told length
        await answer.prepare(request)
        await answer.write(str(size).encode())
        for _ in range(count):
            await answer.write(piece)
        return answer

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield piece

    async def story() -> None:
        async with serving(handle) as url, recorded_by(log, url) as recorded, httpx.AsyncClient() as client:
            answer = await client.post(f"{recorded.url}/upload/image", content=pieces(), timeout=60)
            assert answer.content == str(len(piece) * count).encode() + piece * count

    run(story())
    lines = [json.loads(row) for row in rows(log)]
    assert [line["kind"] for line in lines] == ["trace", "http.request", "http.response"]
    assert max(len(row) for row in rows(log)) < 1_000


@pytest.mark.parametrize(
    ("origin", "status"), [("http://HERE", 200), ("http://evil.example", 403), ("http://127.0.0.1:1", 403)]
)
def test_our_own_page_is_let_in_and_a_foreign_one_is_not(origin: str, status: int, log: Path) -> None:
    async def story() -> None:
        async with FakeComfy() as comfy, recorded_by(log, comfy.url) as recorded, httpx.AsyncClient() as client:
            here = recorded.url.removeprefix("http://")
            headers = {"Origin": origin.replace("HERE", here)}
            assert (await client.get(f"{recorded.url}/queue", headers=headers)).status_code == status

    run(story())


def test_a_server_that_is_away_is_told_to_the_client_the_user_and_the_log(log: Path) -> None:
    async def story() -> None:
        async with FakeComfy() as comfy, recorded_by(log, comfy.url) as recorded, httpx.AsyncClient() as client:
            await comfy.kill()
            for _ in range(2):
                answer = await client.post(f"{recorded.url}/prompt", json={"prompt": {}, "client_id": "w"})
                assert (answer.status_code, "is ComfyUI running" in answer.text) == (502, True)
            await until(lambda: len(recorded.lines("http.error")) == 2)
            assert [line["data"]["error"] for line in recorded.lines("http.error")] == ["ConnectError"] * 2
            assert [line["window"] for line in recorded.lines("http.request")] == ["w"] * 2
            assert recorded.said == [f"{comfy.url} is away (ConnectError); clients are answered 502 until it is back"]
            await comfy.restart()
            assert (await client.get(f"{recorded.url}/queue")).status_code == 200
            assert recorded.said[1:] == [f"{comfy.url} is back"]

    run(story())


def test_a_server_that_hangs_up_without_an_answer_does_so_to_the_client(log: Path) -> None:
    async def story() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server, recorded_by(log, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as recorded:
            async with httpx.AsyncClient() as client:
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get(f"{recorded.url}/queue")
            await until(lambda: recorded.lines("http.error"))
            assert recorded.lines("http.error")[0]["data"]["error"] == "RemoteProtocolError"

    run(story())


def test_a_client_that_hangs_up_in_mid_upload_is_told_and_the_server_sees_it(log: Path) -> None:
    broken = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        try:
            await request.read()
        except (ConnectionError, web.RequestPayloadError, asyncio.CancelledError):
            broken.set()
            raise
        return web.Response()

    async def story() -> None:
        async with serving(handle) as url, recorded_by(log, url) as recorded:
            _, writer = await asyncio.open_connection(*recorded.address)
            writer.write(b"POST /upload/image HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000)
            await writer.drain()
            await until(lambda: recorded.lines("http.request"))
            writer.transport.abort()
            await broken.wait()
            await until(lambda: recorded.lines("http.error"))
            assert recorded.lines("http.error")[0]["data"]["error"] == "Cancelled"
            assert "a client hung up after 1,000 bytes of a request" in recorded.said[0]

    run(story())


def test_a_prompt_that_was_not_sent_whole_asked_nothing(log: Path) -> None:
    async def story() -> None:
        async with FakeComfy() as comfy, recorded_by(log, comfy.url) as recorded:
            _, writer = await asyncio.open_connection(*recorded.address)
            writer.write(b'POST /prompt HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"prompt": {')
            await writer.drain()
            writer.close()
            await until(lambda: recorded.said)
        assert recorded.lines("http.") == []
        assert not comfy.posts

    run(story())


def test_a_client_that_gives_up_waiting_lets_the_server_know(log: Path) -> None:
    gone = asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        await until(lambda: request.transport is None or request.transport.is_closing())
        gone.set()
        return web.Response()

    async def story() -> None:
        async with serving(handle) as url, recorded_by(log, url) as recorded, httpx.AsyncClient() as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(f"{recorded.url}/queue", timeout=httpx.Timeout(60, read=0.1))
            await gone.wait()
            await until(lambda: recorded.lines("http.error"))
            assert recorded.lines("http.error")[0]["data"]["error"] == "Cancelled"

    run(story())


def test_a_redirect_to_elsewhere_is_told_once(log: Path) -> None:
    async def handle(_: web.Request) -> web.Response:
        raise web.HTTPFound("https://sso.example/login?ticket=" + KEY)

    async def story() -> None:
        async with serving(handle) as url, recorded_by(log, url) as recorded, httpx.AsyncClient() as client:
            for _ in range(2):
                answer = await client.get(f"{recorded.url}/queue")
                assert answer.headers["location"].startswith("https://sso.example/")
            [said] = recorded.said
            assert "redirects to https://sso.example/login: clients that follow go past the recording" in said
            assert KEY not in said

    run(story())


def test_a_server_over_tls_below_a_path_is_reached_by_whoever_trusts_it(log: Path, authority: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(authority / "cert.pem", authority / "key.pem")

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path != "/comfy/ws":
            return web.Response(text=f"{request.path} {request.headers['Host']}")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('{"type":"status","data":{}}')
        await socket.close()
        return socket

    async def story(trusting: ssl.SSLContext | None) -> list[str]:
        async with serving(handle, tls) as url, recorded_by(log, f"{url}/comfy", tls=trusting) as recorded:
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"{recorded.url}/queue")
            if answer.status_code == 502:
                return recorded.said
            assert answer.text == f"/comfy/queue {url.removeprefix('https://')}"
            host, port = recorded.address
            async with connect(f"ws://{host}:{port}/ws?clientId=w") as socket:
                assert [frame async for frame in ending(socket)] == ['{"type":"status","data":{}}']
        assert {line["server"] for line in recorded.lines("ws.")} == {f"{url}/comfy"}
        return recorded.said

    [said] = run(story(None))
    assert "is away (SSLCertVerificationError)" in said
    assert run(story(ssl.create_default_context(cafile=authority / "cert.pem"))) == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"this is no HTTP\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000, b"431")],
)
def test_what_is_no_request_is_answered_and_never_reaches_the_server(sent: bytes, status: bytes, log: Path) -> None:
    got: list[bytes] = []

    async def story() -> bytes:
        async with echoing(b"", got) as url, recorded_by(log, url) as recorded:
            reader, writer = await asyncio.open_connection(*recorded.address)
            writer.write(sent)
            answer = await reader.read()
            writer.close()
            return answer

    answer = run(story())
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"this is no request" in answer
    assert not got


def test_a_server_that_is_silent_for_too_long_is_told_to_whoever_wants_that(log: Path) -> None:
    async def handle(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def story() -> None:
        patience = Patience(10.0, 0.1)
        async with serving(handle) as url, recorded_by(log, url, patience=patience) as recorded:
            async with httpx.AsyncClient(timeout=60) as client:
                answer = await client.get(f"{recorded.url}/queue")
            assert (answer.status_code, "has said nothing for 0.1 s" in answer.text) == (504, True)
            await until(lambda: recorded.lines("http.error"))
            assert recorded.lines("http.error")[0]["data"]["error"] == "ReadTimeout"

    run(story())
