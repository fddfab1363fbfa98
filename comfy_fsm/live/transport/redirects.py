"""Redirects of files: where they lead, and whether they are followed. Pure text, no request.

Comfy Cloud, and others that keep files in an object store, answer `/view` with a signed address elsewhere. Only a file
is fetched from there; other requests follow no redirect. Our credentials stay with the server that they are for.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, urljoin, urlsplit, urlunsplit

from comfy_fsm.core.wire import routes

__all__ = ["MAX_HOPS", "STATUSES", "Hop", "Misled", "Trail", "is_page", "shown_location"]

MAX_HOPS = 5
STATUSES = frozenset({301, 302, 303, 307, 308})
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_PAGE = re.compile(r"html?$", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}
_LOGIN = re.compile(r"^([a-z][a-z\d+.-]*:/*|/*)[^/]*@", re.IGNORECASE)
_MAX_SHOWN = 200


class Hop(NamedTuple):
    """Next address; `ours` if it is on the server that we asked, and may get its credentials."""

    url: str
    ours: bool


class Misled(Exception):
    """Error for a redirect that is not followed; the text says where it led, and why not. Internal to this project."""


class Trail:
    """Redirects of one file, from the server that was asked for it."""

    def __init__(self, server: str, path: str) -> None:
        self.status = 0
        self._server = server
        self._url = server + path
        self._hops = 0

    @property
    def led_to(self) -> str:
        """Address where an error happened, if it was elsewhere."""
        return f" at {shown_location(self._url)}, where it is redirected to" if self._hops else ""

    def follow(self, status: int, location: str) -> Hop | None:
        """Return the next address, or None if this is the answer; raises Misled if the redirect must not be
        followed.
        """
        self.status = status
        if status not in STATUSES:
            return None
        hop = _hop(self._server, self._url, location, self._hops)
        self._hops, self._url = self._hops + 1, hop.url
        return hop


def _hop(server: str, url: str, location: str, hops: int) -> Hop:
    if not location:
        raise Misled("a redirect that does not say where to")
    try:
        parts = urlsplit(urljoin(url, location.strip()))
        host, origin = parts.hostname, _origin(parts)
    except ValueError:
        raise Misled(f"a redirect to {shown_location(location)}, which is no address") from None
    if parts.scheme not in _PORTS or not host:
        raise Misled(f"a redirect to {shown_location(location)}, and files are fetched by http and https alone")
    if hops >= MAX_HOPS:
        raise Misled(f"more than {MAX_HOPS} redirects, the last to {shown_location(parts.geturl())}")
    bare = parts.netloc.rpartition("@")[2]  # a login in it would be sent as ours
    return Hop(urlunsplit(parts._replace(netloc=bare, fragment="")), origin == _origin(urlsplit(server)))


def is_page(kind: str, path: str) -> bool:
    """Return whether a page came in place of a file: a login page, with status 200. ComfyUI itself sends none."""
    names = parse_qs(path.partition("?")[2]).get("filename", [""])
    is_view = routes.parse("GET", path).kind == "view"
    return is_view and kind.partition(";")[0].strip().lower() in _PAGES and not _PAGE.search(names[0])


def shown_location(location: str) -> str:
    """Return where a redirect leads, without login, query and fragment, where tokens and signatures stand."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in location.strip())
    return re.sub(r"[?#].*", "?…", _LOGIN.sub(r"\1…@", plain))[:_MAX_SHOWN] or "no address at all"


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
