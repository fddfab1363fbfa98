"""Tests of why a server opens no socket: each cause is told with its cure, and at once where no retry helps."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from comfy_fsm.core.policy import Policy
from comfy_fsm.errors import ClientError, HandshakeRefused, ServerUnreachable
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.transport.arrivals import Refused
from comfy_fsm.live.transport.websocket.handshake_errors import error_of, sockets_alone
from comfy_fsm.testing import FakeComfy
from tests.support.http_servers import raw_serving, serving
from tests.support.stage import QUICK, graph, outcome

SHUT = "http://127.0.0.1:1"


Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


def always(status: int, **headers: str) -> Answers:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, headers=headers, text="<html>")

    return handler


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [(301, ServerUnreachable, "https://comfy.example/ws"), (302, ServerUnreachable, "https://comfy.example/ws"),
     (307, ServerUnreachable, "https://comfy.example/ws"), (308, ServerUnreachable, "https://comfy.example/ws"),
     (401, HandshakeRefused, "the token"), (403, HandshakeRefused, "the token"), (404, HandshakeRefused, "HTTP 404"),
     (405, HandshakeRefused, "HTTP 405"), (200, HandshakeRefused, "no ComfyUI"), (501, HandshakeRefused, "HTTP 501")],
)  # fmt: skip
async def test_what_no_trying_can_change_is_told_at_once(status: int, error: type[ClientError], told: str) -> None:
    """With the default policy: whoever waited for another try would wait for longer than this test may take."""
    location = {"Location": "https://user:pass@comfy.example/ws?token=abc"} if 300 <= status < 400 else {}
    async with serving(always(status, **location)) as url, Client(url) as client, asyncio.timeout(10):
        with pytest.raises(error, match="nothing was submitted") as caught:
            await client.window().submit(graph())
        said = str(caught.value)
    assert told.replace("https://", "https://…@") in said or told in said
    assert "pass" not in said
    assert "abc" not in said


@pytest.mark.parametrize("url", [SHUT, "http://localhost:1"])
async def test_a_closed_port_is_told_after_a_few_tries(url: str) -> None:
    async with Client(url) as client, asyncio.timeout(10):
        with pytest.raises(ServerUnreachable) as caught:
            await client.window().submit(graph())
        said = str(caught.value)
    assert url in said
    assert "nothing listens there" in said


async def test_a_server_that_comes_up_between_two_tries_is_no_closed_port() -> None:
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK) as client:
        await comfy.kill()

        async def later() -> None:
            await asyncio.sleep(0.01)
            await comfy.start()

        starting = asyncio.create_task(later())
        task = await client.window().submit(graph())
        await starting
        assert await outcome(task) == "completed"


CERTIFICATE = Refused(0, None, "SSLCertVerificationError", False, "", "self-signed certificate (_ssl.c:1)")


@pytest.mark.parametrize(
    ("refused", "words"),
    [(None, "no answer"), (CERTIFICATE, "SSL_CERT_FILE"),
     (CERTIFICATE._replace(detail="Hostname mismatch, certificate is not valid for 'a'."), "another name"),
     (Refused(0, None, "SSLError", False, "", "[SSL: WRONG_VERSION_NUMBER]"), "http://"),
     (Refused(0, None, "InvalidUpgrade", False, "", "no header"), "what stands before ComfyUI"),
     (Refused(0, None, "gaierror", True, "", "Name or service not known"), "how it is spelled"),
     (Refused(0, None, "ConnectError", True), "start ComfyUI"),
     (Refused(0, None, "TimeoutError", True), "TimeoutError"), (Refused(503, 1.0, "HTTP 503", True), "HTTP 503")],
)  # fmt: skip
def test_every_cause_is_told_with_its_cure(refused: Refused | None, words: str) -> None:
    said = str(error_of("http://a", refused, 15.0))
    assert words in said
    assert "nothing was submitted" in said
    assert said.startswith("http://a: ")


def test_what_is_not_about_sockets_alone_is_no_reason_to_do_without() -> None:
    assert not sockets_alone(CERTIFICATE)
    assert not sockets_alone(Refused(0, None, "ConnectError", True))
    assert sockets_alone(Refused(503, None, "HTTP 503", True))
    assert sockets_alone(Refused(0, None, "InvalidUpgrade", False))
    assert sockets_alone(None)


async def test_what_speaks_no_http_is_told_too() -> None:
    policy = Policy(open_seconds=0.5, reopen_seconds=0.05)
    async with raw_serving(b"SSH-2.0-x\r\n") as url, Client(url, policy=policy) as client:
        with pytest.raises(ServerUnreachable, match="nothing was submitted"):
            await client.window().submit(graph())


async def test_tls_where_there_is_none_is_told_as_such() -> None:
    policy = Policy(open_seconds=1.0, reopen_seconds=0.05)
    async with serving(always(200)) as url, Client(url.replace("http:", "https:"), policy=policy) as client:
        with pytest.raises(ServerUnreachable, match="write http://"):
            await client.window().submit(graph())
