"""How a server is named: one spelling for each address, and which addresses may be the same server."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws://": "http://", "wss://": "https://"}
_THIS_MACHINE = frozenset({
    "localhost", "127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "0.0.0.0", "::", "ip6-localhost",
    "::ffff:127.0.0.1", "::ffff:7f00:1",
})  # fmt: skip
_BARE = re.compile(r"(?:\[[0-9a-f:.]+\]|[\w.-]+):\d+(?=[/?]|$)", re.I)
"""`host:port`, as people write it."""
_OURS = ("/ws", "/api")


def plain(url: str) -> str:
    """The address as it is written; a socket has a scheme of its own, and slashes at the end say nothing."""
    for scheme, spoken in _SCHEMES.items():
        if url.startswith(scheme):
            url = spoken + url.removeprefix(scheme)
    return url.rstrip("/")


def spelled(url: str) -> str:
    """The one spelling of an address: whatever its case, and whether it names the default port."""
    parts = _split(url)
    if parts is None or parts.username or parts.password or parts.query or parts.fragment or not url.isprintable():
        return plain(url)  # no address of a server: a trace may name its servers as it likes
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def machine(url: str) -> str:
    """The same for all addresses that are one server where nothing speaks against it.

    The names of this machine are, a name with a dot at its end, an address with a login in it, and one that goes on to
    ComfyUI's own `/ws`.
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
