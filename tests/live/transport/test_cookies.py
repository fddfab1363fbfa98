"""Tests of a server that keeps setting cookies: the jar keeps the newest, and the request header stays small."""

import time
from http.cookiejar import Cookie

import httpx
import pytest

from comfy_fsm.live.transport.cookies import COUNT, SIZE, BoundedJar

SET = ["a=1", "b=2; Path=/", "c=3; Domain=elsewhere", "d=4; Secure", "e=5; Max-Age=0", "f", "=g", "h=8; Path=/ws"]


URL = "http://one/ws?clientId=me"


def told(jar: BoundedJar, *cookies: str) -> None:
    jar.keep(URL, cookies)


def sent(jar: BoundedJar) -> str:
    return jar.with_cookies(URL, {}).get("Cookie", "")


def test_a_handshake_sends_what_a_request_would_send_and_keeps_what_a_request_would_keep() -> None:
    ours, theirs = BoundedJar(), BoundedJar()
    headers = [("set-cookie", cookie) for cookie in SET]
    ours.keep(URL, SET)
    httpx.Cookies(theirs).extract_cookies(httpx.Response(101, headers=headers, request=httpx.Request("GET", URL)))
    assert {(c.domain, c.path, c.name, c.value) for c in ours} == {(c.domain, c.path, c.name, c.value) for c in theirs}
    request = httpx.Request("GET", URL, headers={"x-key": "1"})
    httpx.Cookies(theirs).set_cookie_header(request)
    assert sent(ours) == request.headers["cookie"]


def test_a_cookie_that_the_application_gave_is_not_replaced() -> None:
    jar = BoundedJar()
    told(jar, "route=a")
    assert jar.with_cookies(URL, {"cookie": "mine=1"}) == {"Cookie": "mine=1"}


@pytest.mark.parametrize("size", [1, 100, 900, 4000])
def test_a_flood_of_cookies_leaves_the_newest(size: int) -> None:
    jar = BoundedJar()
    for n in range(300):
        told(jar, f"c{n}={'v' * size}; Path=/")
        assert len(jar) <= COUNT
        assert len(sent(jar)) <= SIZE
    assert f"c299={'v' * size}" in sent(jar)
    assert len(jar._order) == len(jar)


def test_a_cookie_that_is_set_again_stays_one() -> None:
    jar = BoundedJar()
    told(jar, "route=a")
    for n in range(200):
        told(jar, f"c{n % 30}=x", "route=b")
    assert "route=b" in sent(jar)
    assert len(jar) == 31


def test_one_that_is_too_large_takes_no_other_ones_place() -> None:
    jar = BoundedJar()
    told(jar, "route=a", f"large={'v' * SIZE}")
    assert sent(jar) == "route=a"


def test_one_that_expired_may_be_forgotten_twice() -> None:
    jar = BoundedJar()
    cookie = {"version": 0, "port": None, "port_specified": False, "domain": "one", "domain_specified": False,
              "domain_initial_dot": False, "path": "/", "path_specified": True, "secure": False, "discard": False,
              "comment": None, "comment_url": None, "rest": {}}  # fmt: skip
    jar.set_cookie(Cookie(name="old", value="x", expires=int(time.time()) - 10, **cookie))
    jar.clear_expired_cookies()
    for n in range(COUNT + 1):
        told(jar, f"c{n}=x")
    assert len(jar) <= COUNT
