"""Tests of a server that keeps setting cookies: the jar keeps the newest, and the request header stays small."""

import time
from http.cookiejar import Cookie

import httpx
import pytest

from comfy_fsm.live.transport.cookies import COUNT, SIZE, BoundedJar


def told(jar: BoundedJar, *cookies: str) -> None:
    request = httpx.Request("GET", "http://one/")
    headers = [("set-cookie", cookie) for cookie in cookies]
    httpx.Cookies(jar).extract_cookies(httpx.Response(200, headers=headers, request=request))


def sent(jar: BoundedJar) -> str:
    request = httpx.Request("GET", "http://one/")
    httpx.Cookies(jar).set_cookie_header(request)
    return request.headers.get("cookie", "")


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
