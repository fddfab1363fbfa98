"""Routes of ComfyUI, in one table: how each request is built, and recognised again. Sends nothing.

A new route is a new row of `ROUTES`: with it, it is built, recognised in a trace, and known to the redactor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlencode

__all__ = ["OTHER", "ROUTES", "Kind", "ParsedRequest", "Route", "build", "is_partial", "parse"]

_ActKind = Literal["act-queue", "act-history", "act-interrupt", "act-cancel", "act-batch"]
Kind = (
    Literal[
        "post", "remaining", "queue", "history", "histories", "job", "jobs", "features", "stats",
        "view", "upload", "socket", "assets", "asset", "nodes", "other",
    ]
    | _ActKind
)  # fmt: skip


class Route(NamedTuple):
    """Kind of request, method, and path, in which `{id}` stands for a prompt id."""

    kind: Kind
    method: str
    path: str


ROUTES = (
    Route("post", "POST", "/prompt"),
    Route("remaining", "GET", "/prompt"),
    Route("queue", "GET", "/queue"),
    Route("act-queue", "POST", "/queue"),
    Route("histories", "GET", "/history"),
    Route("history", "GET", "/history/{id}"),
    Route("act-history", "POST", "/history"),
    Route("histories", "GET", "/history_v2"),
    Route("history", "GET", "/history_v2/{id}"),
    Route("act-interrupt", "POST", "/interrupt"),
    Route("jobs", "GET", "/api/jobs"),  # only under /api (P36)
    Route("job", "GET", "/api/jobs/{id}"),
    Route("act-cancel", "POST", "/api/jobs/{id}/cancel"),
    Route("act-batch", "POST", "/api/jobs/cancel"),  # several at once (P42)
    Route("job", "GET", "/api/job/{id}/status"),  # that of Comfy Cloud
    Route("features", "GET", "/features"),
    Route("stats", "GET", "/system_stats"),
    Route("view", "GET", "/view"),
    Route("upload", "POST", "/upload/image"),
    Route("upload", "POST", "/upload/mask"),
    Route("socket", "GET", "/ws"),
    Route("assets", "GET", "/api/assets"),
    Route("asset", "GET", "/api/assets/{id}/content"),
    Route("nodes", "GET", "/object_info"),
)
"""Table of all routes. The first row of a kind is the one that we request; the others are recognised in traces."""

OTHER: Literal["other"] = "other"
"""Kind of a request for anything else."""


class ParsedRequest(NamedTuple):
    """Request in a trace, recognised."""

    kind: Kind
    prompt_id: str | None = None
    prefix: str = ""
    """Path of a proxy before ComfyUI's own."""
    server: str | None = None
    """Server that was asked, if the path is a whole address."""


def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.removeprefix("/api").strip("/").split("/"))


_ID = "{id}"
_BUILT = {route.kind: route for route in reversed(ROUTES)}
_SHAPES = [(route.kind, route.method, _parts(route.path)) for route in ROUTES]
_BY_SHAPE: dict[tuple[str, int, str], list[tuple[Kind, tuple[str, ...]]]] = {}
for _kind, _method, _shape in _SHAPES:
    _BY_SHAPE.setdefault((_method, len(_shape), _shape[0]), []).append((_kind, _shape))
_LONGEST = max(len(parts) for _, _, parts in _SHAPES)
_MAX_FIELDS = 32
_USUAL_ID = re.compile(r"[\w-]+", re.ASCII)
_WORDS = frozenset(part for _, _, parts in _SHAPES for part in parts if part != _ID)
_PLAIN: dict[tuple[str, str], ParsedRequest] = {}
_BEFORE_ID: dict[tuple[str, str], Kind] = {}
for _route in ROUTES:
    for _path in (_route.path, f"/api{_route.path.removeprefix('/api')}"):
        if _ID not in _path:
            _PLAIN[_route.method, _path] = ParsedRequest(_route.kind)
        elif _path.endswith(f"/{_ID}"):
            _BEFORE_ID[_route.method, _path.removesuffix(f"/{_ID}")] = _route.kind


def build(kind: Kind, prompt_id: str = "", query: Mapping[str, object] | None = None) -> tuple[str, str]:
    """Return method and path of a request of this kind."""
    route = _BUILT[kind]
    path = route.path.replace(_ID, quote(prompt_id, safe="", errors="replace"))
    told = urlencode(query, errors="replace", quote_via=quote) if query else ""
    return route.method, f"{path}?{told}" if told else path


def parse(method: str, path: str) -> ParsedRequest:
    """Recognise a request: with or without `/api`, behind a prefix, or as a whole address."""
    return _parse_usual(method, path) or _parse_any(method, path)


def _parse_usual(method: str, path: str) -> ParsedRequest | None:
    """Recognise what nearly every request looks like, without taking it apart."""
    known = _PLAIN.get((method, path))
    if known is not None:
        return known
    before, _, name = path.rpartition("/")
    kind = _BEFORE_ID.get((method, before))
    return ParsedRequest(kind, name) if kind is not None and _USUAL_ID.fullmatch(name) else None


def _parse_any(method: str, path: str) -> ParsedRequest:
    method = method.upper()
    origin, path = _split(path)
    parts = [part for part in path.split("/") if part]
    for start in range(max(0, len(parts) - _LONGEST - 1), len(parts)):
        rest = parts[start + (parts[start] == "api") :]
        for kind, shape in _BY_SHAPE.get((method, len(rest), rest[0] if rest else ""), ()):
            if _fits(shape, rest):
                before = parts[:start]
                if not _WORDS.isdisjoint(before):  # a route of a custom node, such as /v2/manager/queue/history
                    return ParsedRequest(OTHER, server=origin)
                prefix = "/".join(before)
                return ParsedRequest(
                    kind, _named(shape, rest), prefix, f"{origin}/{prefix}" if origin and prefix else origin
                )
    return ParsedRequest(OTHER, server=origin)


def is_partial(path: str) -> bool:
    """Return whether the requested list of jobs may leave out some that are pending or running (P36)."""
    try:
        query = parse_qs(path.partition("?")[2], max_num_fields=_MAX_FIELDS)
    except ValueError:
        return True
    statuses = {status.strip().lower() for text in query.get("status", ()) for status in text.split(",")}
    whole = not statuses or statuses >= {"pending", "in_progress"}
    return not whole or "workflow_id" in query or query.get("offset", ["0"]) != ["0"]


def _split(path: str) -> tuple[str | None, str]:
    """Return the server in a whole address, and the path without its query."""
    path = path.partition("?")[0].partition("#")[0]
    scheme, address, rest = path.partition("://")
    if not address or "/" in scheme:
        return None, path
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", path


def _fits(shape: tuple[str, ...], parts: list[str]) -> bool:
    return all(wanted in (_ID, part) for wanted, part in zip(shape, parts, strict=True))


def _named(shape: tuple[str, ...], parts: list[str]) -> str | None:
    return unquote(parts[shape.index(_ID)]) if _ID in shape else None
