"""Addresses in what passes: the server sees its own in place of ours, and the client ours in place of its. Pure.

ComfyUI refuses a browser whose `Origin` is not its `Host` (P35). Both become the server's where they name us; the
origin of any other page stays what it is, so that such a page is refused as it would be without us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from comfy_fsm.live.transport.addresses import address_of, query_of
from comfy_fsm.live.transport.credentials import clean_headers, credentials_in

__all__ = ["Addressing", "Headers"]

Headers = list[tuple[bytes, bytes]]
_PORTS = {"http": 80, "https": 443}


class _Here(NamedTuple):
    """Us, as the client calls us."""

    origin: bytes
    is_tls: bool = False


class Addressing:
    """Address of a server, and what has to be added to each request to it."""

    def __init__(self, url: str, headers: Mapping[str, str], socket_query: Mapping[str, str]) -> None:
        """Separate the address from its secrets; raises BadServerUrl or ClientError."""
        self.url, login = address_of(url)
        given = login | clean_headers(headers)
        parts = urlsplit(self.url)
        self.host, self.port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        self.is_tls = parts.scheme == "https"
        self._netloc, self._prefix = parts.netloc.encode(), parts.path.encode()
        self._origin = f"{parts.scheme}://{parts.netloc}".encode()
        self._given = [(name.encode(), value.encode()) for name, value in given.items()]
        query = query_of(url)
        self._query = urlencode(query).encode()
        self._socket_query = urlencode({**query, **socket_query}).encode()
        self.secrets = (*credentials_in(login), *credentials_in(given), *query.values(), *socket_query.values())

    def target(self, target: bytes, is_socket: bool) -> bytes:
        """Return what to ask the server for: its prefix before the path, and its query after it."""
        if not target.startswith(b"/") and b"://" in target:  # as to a proxy of the environment
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        query = self._socket_query if is_socket else self._query
        mark = b"&" if b"?" in target else b"?"
        return self._prefix + target + (mark + query if query else b"")

    def asked(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return the headers of a request as the server is to see them."""
        items = list(headers)
        here = _here(items)
        sent: Headers = []
        for name, value in items:
            match name.lower():
                case b"host":
                    value = self._netloc
                case b"origin" if value.lower() == here.origin:
                    value = self._origin
                case b"referer" if value.lower().startswith(here.origin + b"/"):
                    value = self._origin + self._prefix + value[len(here.origin) :]
            sent.append((name, value))
        known = {name.lower() for name, _ in items}
        return [*sent, *(pair for pair in self._given if pair[0] not in known)]

    def answered(self, headers: Iterable[tuple[bytes, bytes]], asked: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return the headers of an answer as the client is to see them: a redirect, and a cookie, lead to us."""
        here = _here(asked)
        return [(name, self._answered(name.lower(), value, here)) for name, value in headers]

    def _answered(self, name: bytes, value: bytes, here: _Here) -> bytes:
        if name == b"location":
            return self._place(value, here)
        return self._cookie(value) if name == b"set-cookie" else value

    def _place(self, place: bytes, here: _Here) -> bytes:
        if place.startswith(self._origin + b"/") or place == self._origin:
            return here.origin + self._below(place[len(self._origin) :])
        return self._below(place) if place.startswith(b"/") and not place.startswith(b"//") else place

    def _below(self, path: bytes) -> bytes:
        """Return the path without the server's prefix."""
        inside = self._prefix and (path + b"/").startswith(self._prefix + b"/")
        return path[len(self._prefix) :] or b"/" if inside else path

    def _cookie(self, cookie: bytes) -> bytes:
        """Make a cookie ours, or the client would not send it back: a sticky balancer tells its server in one (P33)."""
        kept: list[bytes] = []
        for part in cookie.split(b";"):
            name, equals, value = part.strip().partition(b"=")
            match name.lower():
                case b"domain" | b"secure" if kept:
                    continue
                case b"path" if kept:
                    part = b" " + name + equals + self._below(value)
                case b"samesite" if kept and self.is_tls and value.lower() == b"none":
                    continue  # which is taken with `Secure` alone
            kept.append(part)
        return b";".join(kept)

    def leads_away(self, place: bytes) -> bool:
        """Return whether a redirect leads to another server, where nothing is recorded."""
        absolute = place.startswith(b"//") or b"://" in place.partition(b"?")[0]
        return absolute and not (place + b"/").startswith(self._origin + b"/")


def _here(asked: Iterable[tuple[bytes, bytes]]) -> _Here:
    """Return the address that the client used, whatever name of this machine that is."""
    host = next((value for name, value in asked if name.lower() == b"host"), b"")
    return _Here(b"http://" + host.lower())
