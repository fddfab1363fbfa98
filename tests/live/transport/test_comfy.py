"""Tests of the connection to one server, over real sockets: what is sent, what is received, what is survived."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from comfy_fsm.errors import BadServerUrl, BadWorkflow, ClientClosed, ClientError
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.arrivals import Refused, SocketUp, Unanswered
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.live.transport.requests import HttpRequest
from tests.support.hearing import LONG, SHUT, client, hearing, hold, run, talkative
from tests.support.http_servers import Handler, raw_serving, serving

WORKFLOW = {"1": {"class_type": "KSampler", "inputs": {"seed": 1}}}


async def echo(request: web.Request) -> web.Response:
    told = {
        "method": request.method,
        "path": request.raw_path,
        "headers": {k.lower(): v for k, v in request.headers.items()},
    }
    return web.json_response(told | {"body": (await request.read()).decode()})


# addresses


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://Host:8188/", "http://host:8188"),
        ("HTTPS://host", "https://host"),
        ("http://host:80", "http://host"),
        ("https://host:443/comfy/", "https://host/comfy"),
        ("http://[::1]:8188", "http://[::1]:8188"),
        ("http://user:pass%40word@host:8188", "http://host:8188"),
        ("127.0.0.1:8188", "http://127.0.0.1:8188"),
        (" Host:8188/comfy/ ", "http://host:8188/comfy"),
        ("[::1]:8188", "http://[::1]:8188"),
        ("u:hidden-word@h:8188", "http://h:8188"),
        ("http://h:1?token=hidden-word", "http://h:1"),
        ("https://h/a/?token=hidden-word&b=", "https://h/a"),
    ],
)
def test_an_address_is_kept_in_one_form_and_without_its_login(given: str, kept: str) -> None:
    assert Comfy(given).url == kept


@pytest.mark.parametrize(
    "url",
    ["ws://host", "host:x", "host", "http://", "", "http:///x", "ftp://h", "http://h:99999", "http://h:x", "h:99999",
     "http://h#f", "http://h o", "http://h\nx", "http://[::1", "//u:hidden-word@h", "ws://u:hidden-word@h/a@b",
     "u:hidden-word@h", "http:/u:hidden-word@h", "h:1#hidden-word", "http://h#hidden-word"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(BadServerUrl) as caught:
        Comfy(url)
    assert "http://host:8188" in str(caught.value)
    assert "hidden-word" not in str(caught.value)


def test_secrets_are_what_headers_and_the_address_hold() -> None:
    made = Comfy("http://user:hunter-two@h", headers={"X-Api-Key": "abcdefgh", "Cookie": "a=cookie-one; b=cookie-two"})
    assert {"hunter-two", "abcdefgh", "cookie-one", "cookie-two"} <= set(made.secrets)
    assert "the-token" in Comfy("http://h", headers={"Authorization": "Bearer the-token"}).secrets
    asked = Comfy("http://h?token=the-token", socket_query={"key": "the-other"})
    assert set(asked.secrets) == {"the-token", "the-other"}
    assert Comfy("http://h", headers={"User-Agent": "browser", "Accept": "application/json"}).secrets == ()


@pytest.mark.parametrize("header", [{"X-A": "b\r\nEvil: 1"}, {"X\n": "b"}, {"X-A": "ä"}])
def test_a_header_that_could_break_out_is_refused(header: dict[str, str]) -> None:
    with pytest.raises(ClientError, match="ASCII"):
        Comfy("http://h", headers=header)


# what may be asked


@pytest.mark.parametrize(
    ("ask", "method", "path"),
    [
        (requests.history("a/../b?c"), "GET", "/history/a%2F..%2Fb%3Fc"),
        (requests.histories(5), "GET", "/history?max_items=5"),
        (requests.queue(), "GET", "/queue"),
        (requests.job("\ud800"), "GET", "/api/jobs/%3F"),
        (requests.jobs(), "GET", "/api/jobs?status=pending%2Cin_progress&limit=1"),
        (requests.cancel_job("id"), "POST", "/api/jobs/id/cancel"),
        (requests.interrupt("id"), "POST", "/interrupt"),
        (requests.delete(["id"]), "POST", "/queue"),
        (requests.features(), "GET", "/features"),
        (requests.system_stats(), "GET", "/system_stats"),
        (requests.view("a b&c.png", "x/y"), "GET", "/view?filename=a%20b%26c.png&subfolder=x%2Fy&type=output"),
    ],
)
def test_a_name_from_outside_stays_one_part_of_the_path(ask: HttpRequest, method: str, path: str) -> None:
    assert (ask.method, ask.path) == (method, path)


def test_an_interrupt_and_a_delete_always_name_their_prompts() -> None:
    assert requests.interrupt("id").body == {"prompt_id": "id"}
    assert requests.delete(["a", "b"]).body == {"delete": ["a", "b"]}


def test_a_post_carries_what_was_given_and_nothing_else() -> None:
    assert requests.post(WORKFLOW).body == {"prompt": WORKFLOW}
    full = requests.post(WORKFLOW, "c", "p", {"comfy_fsm": "p"}, 3, True, ["1"])
    assert full == HttpRequest("POST", "/prompt", {
        "prompt": WORKFLOW, "client_id": "c", "prompt_id": "p", "extra_data": {"comfy_fsm": "p"}, "number": 3,
        "front": True, "partial_execution_targets": ["1"],
    })  # fmt: skip


@pytest.mark.parametrize(
    "workflow",
    [None, [], {}, "x", {"1": 3}, {"1": {"inputs": {}}}, {"nodes": [], "links": []}, {"1": {"class_type": 5}},
     {"1": {"class_type": "A", "inputs": {"x": object()}}}, {"1": {"class_type": "A", ("t",): 1}}],
)  # fmt: skip
def test_what_is_no_workflow_in_api_format_is_refused_before_it_is_sent(workflow: object) -> None:
    with pytest.raises(BadWorkflow, match="nothing was sent"):
        requests.post(workflow)


# asking


def test_an_ask_is_sent_as_it_was_written_with_our_headers_and_no_origin() -> None:
    async def test() -> None:
        async with serving(echo) as url:
            login = url.replace("://", "://u:p%3A1@") + "/prefix/"
            async with client(login, headers={"X-Tenant": "blue"}) as made:
                got = json.loads((await made.send(requests.post(WORKFLOW, "me"))).body)
                assert (got["method"], got["path"]) == ("POST", "/prefix/prompt")
                assert json.loads(got["body"]) == {"prompt": WORKFLOW, "client_id": "me"}
                assert got["headers"]["authorization"] == "Basic dTpwOjE="
                assert got["headers"]["x-tenant"] == "blue"
                assert got["headers"]["accept-encoding"] == "identity"
                assert "origin" not in got["headers"]

    run(test())


@pytest.mark.parametrize("status", [200, 204, 302, 307, 400, 404, 429, 500, 502])
def test_every_status_is_an_answer_and_a_redirect_is_not_followed(status: int) -> None:
    asked = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"}, text="" if status == 204 else "<html>")

    async def test() -> None:
        async with serving(handler) as url, client(url) as made:
            answer = await made.send(requests.queue())
            assert answer.status == status
            assert asked == ["/queue"]

    run(test())


def test_retry_after_is_read_with_the_date_of_the_answer() -> None:
    async def handler(request: web.Request) -> web.Response:
        dates = {"Retry-After": "Sun, 29 Nov 2026 01:00:07 GMT", "Date": "Sun, 29 Nov 2026 01:00:00 GMT"}
        return web.Response(status=429, headers=dates)

    async def test() -> None:
        async with serving(handler) as url, client(url) as made:
            assert (await made.send(requests.queue())).retry_after == 7.0

    run(test())


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 100_000)


async def dripping(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.01)


async def silent(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(LONG)
    raise AssertionError


async def packed(request: web.Request) -> web.Response:
    return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})


@pytest.mark.parametrize(
    ("handler", "name"),
    [(endless, "TooLarge"), (endless, "Unreadable"), (dripping, "Deadline"), (silent, "Deadline"),
     (packed, "Encoded")],
)  # fmt: skip
def test_an_answer_without_end_measure_or_key_is_no_answer(handler: Handler, name: str) -> None:
    async def test() -> None:
        async with serving(handler) as url, client(url, max_body=1_000_000) as made:
            ask = requests.system_stats() if name == "TooLarge" else requests.queue()
            with pytest.raises(Unanswered) as caught:
                await made.send(ask, deadline=0.2 if name == "Deadline" else 5.0)
            assert caught.value.name == name

    run(test())


@asynccontextmanager
async def link(url: str, bytes_a_second: float) -> AsyncIterator[str]:
    """A line to this server that lets so much through, one way; 0 is one that takes nothing at all."""
    port, pipes = int(url.rpartition(":")[2]), set[asyncio.Task[object]]()

    async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter, pace: float) -> None:
        try:
            while data := await source.read(16_384):
                await asyncio.sleep(len(data) * pace)
                sink.write(data)
                await sink.drain()
        except OSError:
            return
        finally:
            sink.transport.abort()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipes.add(asyncio.current_task())
        try:
            theirs, ours = await asyncio.open_connection("127.0.0.1", port)
            pace = 1 / bytes_a_second if bytes_a_second else LONG
            await asyncio.gather(pipe(reader, ours, pace), pipe(theirs, writer, 0.0))
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=16_384)
    async with server:
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            for piping in pipes:
                piping.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)


@pytest.mark.parametrize("way", ["post", "upload"])
@pytest.mark.parametrize(
    ("pace", "total", "arrives"), [(3_000_000, None, True), (3_000_000, 0.3, False), (0, None, False)]
)
def test_a_body_that_moves_is_not_cut_and_one_that_does_not_is(
    way: str, pace: float, total: float | None, arrives: bool
) -> None:
    """It takes many times the deadline, which is for silence; a limit for the whole is there for who wants one."""
    size, sizes = 4_000_000, list[int]()

    async def handler(request: web.Request) -> web.Response:
        sizes.append(len(await request.read()))
        return web.json_response({})

    async def test() -> None:
        limits = {"deadline_seconds": 0.7, "write_seconds": 0.7, "upload_seconds": total}
        async with serving(handler) as url, link(url, pace) as slow, client(slow, **limits) as made:
            post = HttpRequest("POST", "/prompt", {"prompt": "A" * size})
            sending = made.send(post) if way == "post" else made.upload(requests.upload(), "a.png", b"A" * size)
            if arrives:
                assert (await sending).status == 200
                assert sizes[0] > size
                return
            with pytest.raises(Unanswered) as caught:
                await sending
            assert (caught.value.name, sizes) == ("Deadline", [])

    run(test())


@pytest.mark.parametrize("handler", [dripping, silent])
def test_the_answer_to_a_post_has_its_deadline_once_all_was_sent(handler: Handler) -> None:
    async def test() -> None:
        async with serving(handler) as url, client(url) as made:
            with pytest.raises(Unanswered) as caught:
                await made.send(requests.post(WORKFLOW), deadline=0.2)
            assert caught.value.name == "Deadline"

    run(test())


@pytest.mark.parametrize(
    "reply",
    [b"", b"\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", b"HTTP/9.9 fine\r\n\r\n", b"SSH-2.0-x\r\n" * 9,
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 99_999,
     b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", b"\xff\xfe" * 500,
     b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"HTTP/1.1 302 x\r\nLocation: http://[\r\n\r\n"],
)  # fmt: skip
def test_whatever_answers_instead_of_comfyui_is_an_answer_or_none_and_no_socket(reply: bytes) -> None:
    async def test() -> None:
        async with raw_serving(reply) as url, client(url, deadline_seconds=2.0) as made:
            with suppress(Unanswered):
                assert (await made.send(requests.queue())).status in (101, 302)
            async with hearing(made) as frames:
                assert isinstance(await anext(frames), Refused)

    run(test())


@pytest.mark.parametrize("url", [SHUT, SHUT.replace("127.0.0.1", "localhost")])
def test_a_refused_connection_is_told_from_all_else(url: str) -> None:
    """The fold takes it for an outage (P8), so nothing else may be called so."""

    async def test() -> None:
        async with client(url) as made:
            with pytest.raises(Unanswered) as caught:
                await made.send(requests.queue())
            assert caught.value.name == "ConnectError"
            async with hearing(made) as frames:
                assert await anext(frames) == Refused(0, None, "ConnectError", True)

    run(test())


@pytest.mark.parametrize("ask", [requests.queue(), requests.post(WORKFLOW)])
def test_of_a_pool_that_died_a_get_is_asked_again_and_a_post_never(ask: HttpRequest) -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.method)
        return web.json_response({})

    async def test() -> None:
        async with serving(handler) as url, client(url) as made:
            assert (await made.send(requests.features())).status == 200
            await made._pool.aclose()
            if ask.method == "POST":
                with pytest.raises(Unanswered):
                    await made.send(ask)
                assert seen == ["GET"]
            assert (await made.send(ask)).status == 200
            assert seen == ["GET", ask.method]

    run(test())


def test_a_client_serves_one_loop_after_another() -> None:
    made = Comfy(SHUT)

    async def test(last: bool) -> None:
        with pytest.raises(Unanswered):
            await made.send(requests.queue())
        if last:
            await made.close()

    run(test(False))
    run(test(True))


def test_a_closed_client_sends_nothing_and_hears_nothing() -> None:
    async def test() -> None:
        async with serving(echo) as url:
            made = Comfy(url)
            await made.close()
            await made.close()
            for ask in (requests.queue(), requests.post(WORKFLOW)):
                with pytest.raises(ClientClosed):
                    await made.send(ask)
            assert [heard async for heard in made.listen("me")] == []

    run(test())


def test_an_upload_is_a_form_and_a_download_comes_in_pieces() -> None:
    form: dict[str, object] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            for name, part in (await request.post()).items():
                form[name] = part if isinstance(part, str) else (part.filename, part.file.read())
                if not isinstance(part, str):
                    part.file.close()
            return web.json_response({"name": "a.png"})
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 65_536)
        return response

    async def test() -> None:
        async with serving(handler) as url, client(url, max_body=1000) as made:
            answer = await made.upload(requests.upload(), "a.png", b"\x89PNG", subfolder="in", overwrite=True)
            assert json.loads(answer.body) == {"name": "a.png"}
            assert form == {"image": ("a.png", b"\x89PNG"), "subfolder": "in", "overwrite": "true", "type": "input"}
            async with made.download(requests.view("a.png")) as stream:
                sizes = [len(chunk) async for chunk in stream.chunks]
            assert (stream.status, sum(sizes)) == (200, 6_553_600)
            assert len(sizes) > 1

    run(test())


# cookies, proxies, certificates


def test_http_and_socket_share_their_cookies() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        name = "by_socket" if request.path == "/ws" else "by_http"
        if request.path == "/ws":
            ws = web.WebSocketResponse()
            ws.set_cookie(name, "1")
            await ws.prepare(request)
            await ws.send_str(json.dumps(dict(request.cookies)))
            return await hold(ws)
        response = web.json_response(dict(request.cookies))
        response.set_cookie(name, "1")
        return response

    async def test() -> None:
        async with serving(handler) as url, client(url) as made:
            assert json.loads((await made.send(requests.queue())).body) == {}
            async with hearing(made) as frames:
                assert await anext(frames) == SocketUp(1)
                assert json.loads(str(await anext(frames))) == {"by_http": "1"}
            assert json.loads((await made.send(requests.queue())).body) == {"by_http": "1", "by_socket": "1"}

    run(test())


@pytest.mark.parametrize("trust", [False, True])
def test_a_proxy_of_the_environment_is_used_only_if_wanted(monkeypatch: pytest.MonkeyPatch, trust: bool) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, SHUT)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def test() -> None:
        async with serving(talkative) as url, client(url, trust_env=trust) as made, hearing(made) as frames:
            assert isinstance(await anext(frames), Refused if trust else SocketUp)

    run(test())


@pytest.mark.parametrize("told", [False, True])
def test_a_certificate_is_verified_for_http_and_socket_alike(authority: Path, told: bool) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    trusting = ssl.create_default_context(cafile=authority / "cert.pem") if told else None

    async def handler(request: web.Request) -> web.StreamResponse:
        return await (talkative(request) if request.path == "/ws" else echo(request))

    async def test() -> None:
        async with serving(handler, tls) as url, client(url, ssl_context=trusting) as made, hearing(made) as frames:
            if told:
                assert (await made.send(requests.queue())).status == 200
                assert await anext(frames) == SocketUp(1)
            else:
                with pytest.raises(Unanswered) as caught:
                    await made.send(requests.queue())
                assert caught.value.name == "SSLCertVerificationError"
                refused = await anext(frames)
                assert isinstance(refused, Refused)
                assert (refused.reason, refused.passing) == ("SSLCertVerificationError", False)
                assert "self-signed" in refused.detail

    run(test())


def test_a_context_that_verifies_nothing_is_refused() -> None:
    blind = ssl.create_default_context()
    blind.check_hostname = False
    with pytest.raises(ClientError, match="verifies nothing"):
        Comfy("https://h", ssl_context=blind)
    blind.verify_mode = ssl.CERT_NONE
    with pytest.raises(ClientError, match="verifies nothing"):
        Comfy("https://h", ssl_context=blind)
