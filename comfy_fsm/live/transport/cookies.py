"""Cookie jar of one server, with the limits of a browser: a server that keeps setting new cookies fills no memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.message import Message
from http.client import HTTPResponse
from http.cookiejar import Cookie, CookieJar
from typing import cast
from urllib.request import Request

__all__ = ["COUNT", "SIZE", "BoundedJar"]

COUNT = 50
"""Cookies that are kept, as RFC 6265 has it for a domain; the oldest goes first."""
SIZE = 6 * 1024
"""Bytes of all of them: servers and proxies refuse a request whose header has more than 8 KiB."""


class BoundedJar(CookieJar):
    """Cookie jar that drops its oldest cookies, and accepts none that is too large by itself."""

    def __init__(self) -> None:
        super().__init__()
        self._order: dict[tuple[str, str, str], int] = {}

    def set_cookie(self, cookie: Cookie) -> None:
        """Store the cookie as the newest one."""
        size = len(cookie.name) + len(cookie.value or "") + len("=; ")
        if size > SIZE:
            return
        super().set_cookie(cookie)
        key = (cookie.domain, cookie.path, cookie.name)
        self._order.pop(key, None)
        self._order[key] = size
        while len(self._order) > COUNT or sum(self._order.values()) > SIZE:
            self._forget(next(iter(self._order)))

    def with_cookies(self, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """Return these headers and that of the cookies for this address, unless a Cookie is among them."""
        request = Request(url, headers=dict(headers))
        self.add_cookie_header(request)
        return dict(request.header_items())

    def keep(self, url: str, cookies: Iterable[str]) -> None:
        """Store what the headers Set-Cookie of an answer say."""
        self.extract_cookies(cast(HTTPResponse, _Answer(cookies)), Request(url))

    def _forget(self, key: tuple[str, str, str]) -> None:
        del self._order[key]
        try:
            self.clear(*key)
        except KeyError:  # it expired
            return


class _Answer:
    """Answer, as far as a jar reads it."""

    def __init__(self, cookies: Iterable[str]) -> None:
        self._headers = Message()
        for cookie in cookies:
            self._headers["Set-Cookie"] = cookie

    def info(self) -> Message:
        return self._headers
