"""What passes names us where the client knows us, and the server where the server does."""

from __future__ import annotations

import pytest

from comfy_fsm.errors import BadServerUrl
from comfy_fsm.live.proxy.address_rewriting import Addressing

HERE = (b"Host", b"127.0.0.1:8288")


def addressing(url: str = "https://gpu:8443/comfy", **headers: str) -> Addressing:
    return Addressing(url, headers, {})


@pytest.mark.parametrize(
    ("url", "target", "sent"),
    [
        ("http://gpu:8188", b"/queue", b"/queue"),
        ("http://gpu:8188/", b"/view?filename=a%20b.png&type=output", b"/view?filename=a%20b.png&type=output"),
        ("https://gpu/comfy/", b"/api/prompt", b"/comfy/api/prompt"),
        ("http://gpu/?key=s", b"/queue", b"/queue?key=s"),
        ("http://gpu/?key=s", b"/history?max_items=1", b"/history?max_items=1&key=s"),
        ("http://gpu:8188", b"http://127.0.0.1:8288/queue", b"/queue"),
        ("http://gpu:8188", b"/userdata/http%3A%2F%2Fx", b"/userdata/http%3A%2F%2Fx"),
        ("http://gpu:8188", b"/view?filename=http://x/y", b"/view?filename=http://x/y"),
    ],
)
def test_a_path_is_asked_for_below_that_of_the_server(url: str, target: bytes, sent: bytes) -> None:
    assert addressing(url).target(target, False) == sent


def test_a_socket_gets_the_query_of_sockets() -> None:
    server = Addressing("http://gpu/?a=1", {}, {"token": "s"})
    assert server.target(b"/ws?clientId=w", True) == b"/ws?clientId=w&a=1&token=s"
    assert server.target(b"/queue", False) == b"/queue?a=1"
    assert {"1", "s"} <= set(server.secrets)


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        (b"Origin", b"http://127.0.0.1:8288", b"https://gpu:8443"),
        (b"origin", b"HTTP://127.0.0.1:8288", b"https://gpu:8443"),
        (b"Origin", b"http://evil.example", b"http://evil.example"),
        (b"Origin", b"http://127.0.0.1:82", b"http://127.0.0.1:82"),
        (b"Origin", b"null", b"null"),
        (b"Referer", b"http://127.0.0.1:8288/index.html", b"https://gpu:8443/comfy/index.html"),
        (b"Referer", b"http://127.0.0.1:82880/", b"http://127.0.0.1:82880/"),
        (b"Connection", b"keep-alive", b"keep-alive"),
        (b"Accept-Encoding", b"br, zstd", b"br, zstd"),
    ],
)
def test_the_server_sees_its_own_origin_in_place_of_ours_and_any_other_as_it_is(
    name: bytes, value: bytes, sent: bytes
) -> None:
    assert addressing().asked([HERE, (name, value)]) == [(b"Host", b"gpu:8443"), (name, sent)]


def test_what_a_server_wants_is_added_where_the_client_does_not_bring_it() -> None:
    server = addressing("http://me:word@gpu")
    assert (b"authorization", b"Basic bWU6d29yZA==") in server.asked([HERE])
    assert server.asked([HERE, (b"Authorization", b"Bearer x")])[1:] == [(b"Authorization", b"Bearer x")]
    assert "me" not in server.url


@pytest.mark.parametrize(
    ("place", "told", "away"),
    [
        (b"https://gpu:8443/comfy/login", b"http://127.0.0.1:8288/login", False),
        (b"https://gpu:8443/comfy", b"http://127.0.0.1:8288/", False),
        (b"/comfy/a?b=c", b"/a?b=c", False),
        (b"/comfyui", b"/comfyui", False),
        (b"next", b"next", False),
        (b"https://sso.example/?to=x", b"https://sso.example/?to=x", True),
        (b"//sso.example/", b"//sso.example/", True),
        (b"https://gpu:84430/", b"https://gpu:84430/", True),
    ],
)
def test_a_redirect_leads_to_us_unless_it_leads_away(place: bytes, told: bytes, away: bool) -> None:
    server = addressing()
    assert server.answered([(b"Location", place)], [HERE]) == [(b"Location", told)]
    assert server.leads_away(place) is away


@pytest.mark.parametrize(
    ("cookie", "told"),
    [
        (b"node=3; Path=/comfy; HttpOnly", b"node=3; Path=/; HttpOnly"),
        (b"node=3; Domain=gpu; Secure; SameSite=None", b"node=3"),
        (b"node=3; SameSite=Lax; Max-Age=60", b"node=3; SameSite=Lax; Max-Age=60"),
        (b"secure=1; Path=/comfy/api", b"secure=1; Path=/api"),
    ],
)
def test_a_cookie_comes_back_to_us(cookie: bytes, told: bytes) -> None:
    assert addressing().answered([(b"Set-Cookie", cookie)], [HERE]) == [(b"Set-Cookie", told)]


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(BadServerUrl):
        addressing("ftp://gpu")
