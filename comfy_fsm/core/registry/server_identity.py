"""Addresses of servers: one spelling for each, and which of them may be the same server."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

__all__ = ["PORTS", "machine", "plain", "spelled"]

PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws://": "http://", "wss://": "https://"}
_THIS_MACHINE = frozenset({
    "localhost", "127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "0.0.0.0", "::", "ip6-localhost",
    "::ffff:127.0.0.1", "::ffff:7f00:1",
})  # fmt: skip
_BARE = re.compile(r"(?:\[[0-9a-f:.]+\]|[\w.-]+):\d+(?=[/?]|$)", re.I)
"""`host:port` without a scheme, as people write it."""
_OURS = ("/ws", "/api")


def plain(url: str) -> str:
    """Return the address as written, but with the scheme of HTTP for that of sockets, and without slashes at the
    end."""
    for scheme, spoken in _SCHEMES.items():
        if url.startswith(scheme):
            url = spoken + url.removeprefix(scheme)
    return url.rstrip("/")


def spelled(url: str) -> str:
    """Return the one spelling of an address, whatever its case and whether or not it names the default port."""
    parts = _split(url)
    if parts is None or parts.username or parts.password or parts.query or parts.fragment or not url.isprintable():
        return plain(url)  # no address of a server: a trace may name its servers as it likes
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def machine(url: str) -> str:
    """Return a key that is equal for all addresses of what is one server, unless something speaks against it.

    Equal are the names of the local machine, a name with a dot at its end, an address with a login, and one that
    continues to ComfyUI's own `/ws` or `/api`.
    """
    parts = _split(url)
    if parts is None:
        return plain(url)
    host, path = (parts.hostname or "").removesuffix("."), parts.path.rstrip("/")
    for ours in _OURS:
        path = path.removesuffix(ours).rstrip("/")
    host = "localhost" if host in _THIS_MACHINE else host
    return f"{parts.scheme}://{host}:{parts.port or PORTS[parts.scheme]}{path}"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(f"http://{url}" if _BARE.match(url) else url)
        scheme = _SCHEMES.get(f"{parts.scheme}://", f"{parts.scheme}://").removesuffix("://")
        parts = parts._replace(scheme=scheme)
        known = parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if known and scheme in PORTS else None
