"""Addresses of servers: which part of one may be shown, and which is a login or a query."""

from __future__ import annotations

import base64
import re
from urllib.parse import parse_qsl, unquote, urlsplit

from comfy_fsm.errors import BadServerUrl

__all__ = ["address_of", "query_of"]

_PORTS = {"http": 80, "https": 443}
_BARE = re.compile(r"(?:[^\s/@?#]+@)?(?:\[[0-9a-f:.]+\]|[\w.-]+):\d+(?=[/?]|$)", re.IGNORECASE)
"""`host:port`, as people write it."""


def address_of(url: str) -> tuple[str, dict[str, str]]:
    """Return the address as it may be shown, and the login in it as a header; the query is left out."""
    shown = re.sub(r"[?#].*", "?…", re.sub(r"^([a-z]+:/*|/*).*@", r"\1…@", url, flags=re.IGNORECASE | re.DOTALL))
    wanted = f"{shown!r} is no address of a server"
    cure = "write http://host:8188 or https://host/prefix; nothing was sent"
    try:
        parts = urlsplit(_with_scheme(url))
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadServerUrl(f"{wanted} ({error}): {cure}") from None
    if parts.scheme not in _PORTS:
        raise BadServerUrl(f"{wanted} (its scheme is {parts.scheme!r}, and sockets come by http too): {cure}")
    if not host or parts.fragment or not shown.isprintable() or " " in shown.strip():
        raise BadServerUrl(f"{wanted} (it must have a host, and no fragment or blank): {cure}")
    name = f"[{host}]" if ":" in host else host
    where = f"{name}:{port}" if port not in (None, _PORTS[parts.scheme]) else name
    login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    basic = {"authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login != ":" else {}
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}", basic


def query_of(url: str) -> dict[str, str]:
    """Return the query in the address, which goes with every request and handshake."""
    return dict(parse_qsl(urlsplit(_with_scheme(url)).query, keep_blank_values=True))


def _with_scheme(url: str) -> str:
    url = url.strip()
    return f"http://{url}" if _BARE.match(url) else url
