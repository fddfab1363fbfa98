"""Tests of redirected files: fetched from where they are, without our server's credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

import pytest
from aiohttp import web

from comfy_fsm.errors import DownloadFailed
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.routes import Routes
from tests.support.stage import QUICK, graph

TOKEN = "a-token-of-ours"
OURS = {"Authorization": f"Bearer {TOKEN}", "X-Api-Key": "a-key-of-ours"}
FILE = b"the file " * 100_000


class Shop:
    """Another server, which keeps files, and what it was sent. `/hops/N` redirects N times more."""

    async def __aenter__(self) -> Self:
        self.sent: list[web.Request] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.sent.append(request)
        _, kind, *rest = request.path.split("/")
        if kind == "hops" and rest != ["0"]:
            raise web.HTTPFound(f"/hops/{int(rest[0]) - 1}?signature=secret")
        answer = web.Response(status=403) if kind == "denied" else web.Response(body=FILE)
        if kind == "login":
            answer = web.Response(text="<html>Sign in</html>", content_type="text/html")
        answer.set_cookie("theirs", "1")
        return answer


class Redirecting(FakeComfy):
    """Answers `/view` by a redirect."""

    status = 302
    location: Callable[[], str]

    def _routes(self) -> Routes:
        routes = super()._routes()
        routes._view = self._view
        return routes

    async def _view(self, request: web.Request) -> web.StreamResponse:
        self.viewed = request
        if request.query.get("here"):
            return web.Response(body=FILE)
        answer = web.Response(status=self.status, headers={"Location": self.location()})
        answer.set_cookie("ours", "of-a-balancer")
        return answer


async def fetched(comfy: Redirecting, count: int = 1) -> list[bytes | str]:
    """So many times the one file, or what was said instead."""
    async with Client(comfy.url, headers=OURS, policy=QUICK) as client:
        task = await client.window().submit(graph())
        await task
        found: list[bytes | str] = []
        for _ in range(count):
            try:
                found.append(await task.outputs[0].read())
            except DownloadFailed as error:
                found.append(str(error))
        return found


def told(
    status: int, location: Callable[[Redirecting, Shop], str], count: int = 1
) -> tuple[list[bytes | str], Redirecting, Shop]:
    async def story() -> tuple[list[bytes | str], Redirecting, Shop]:
        async with Redirecting() as comfy, Shop() as shop:
            comfy.status, comfy.location = status, lambda: location(comfy, shop)
            return await fetched(comfy, count), comfy, shop

    return asyncio.run(story())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("hops", [0, 1, 4])
def test_a_file_elsewhere_is_fetched_and_nobody_there_is_told_what_is_ours(status: int, hops: int) -> None:
    found, _, shop = told(status, lambda _, shop: f"{shop.url}/hops/{hops}?signature=secret", count=2)
    assert found == [FILE, FILE]
    assert {request.method for request in shop.sent} == {"GET"}
    for request in shop.sent:
        assert not {"authorization", "x-api-key", "cookie", "referer"} & {name.lower() for name in request.headers}
        assert TOKEN not in str(request.headers)


@pytest.mark.parametrize("location", ["/view?here=1", "view?here=1", "http://{host}/view?here=1"])
def test_on_our_own_server_it_is_asked_with_all_that_is_ours(location: str) -> None:
    found, comfy, _ = told(302, lambda comfy, _: location.format(host=comfy.url.removeprefix("http://")))
    assert found == [FILE]
    assert comfy.viewed.query["here"] == "1"
    assert comfy.viewed.headers["Authorization"] == OURS["Authorization"]
    assert "ours=of-a-balancer" in comfy.viewed.headers["Cookie"]


REFUSED = {
    "ftp://store.example/x?signature=secret": ("ftp://store.example/x?…", "http and https alone"),
    "file:///etc/passwd": ("file:///etc/passwd", "http and https alone"),
    "": ("does not say where to", ""),
    "{shop}/hops/9?signature=secret": ("more than 5 redirects", "/hops/"),
    "{shop}/denied?signature=secret": ("HTTP 403", "/denied?…"),
    "http://127.0.0.1:1/x?signature=secret": ("ConnectError", "http://127.0.0.1:1/x?…"),
}


@pytest.mark.parametrize(("location", "words"), REFUSED.items())
def test_what_is_not_followed_or_fails_there_says_where_it_led_and_no_signature(
    location: str, words: tuple[str, str]
) -> None:
    [said], _, _ = told(302, lambda _, shop: location.format(shop=shop.url))
    assert isinstance(said, str)
    assert all(word in said for word in words), said
    assert "nothing was saved" in said
    assert "secret" not in said


def test_a_page_with_status_200_is_no_picture() -> None:
    """A login, to which a gateway leads whoever it does not know: it must not be saved under the name of a file."""
    [said], _, _ = told(302, lambda _, shop: f"{shop.url}/login?next=secret")
    assert isinstance(said, str)
    assert "a page came instead at" in said
    assert "nothing was saved" in said
    assert "secret" not in said


async def test_nothing_but_a_file_is_followed() -> None:
    """A POST least of all: it would run elsewhere."""
    async with FakeComfy() as comfy, Shop() as shop:
        async with Client(comfy.url, headers=OURS, policy=QUICK) as client:
            server = client.runner.exchanges[comfy.url].server
            for method, path in (("GET", "/queue"), ("GET", "/history/x"), ("POST", "/interrupt")):
                assert (await server.send(HttpRequest(method, path, {} if method == "POST" else None))).status == 200
        assert shop.sent == []
