"""Tests of the route table: what is built is recognised, in every spelling that recorders and proxies use."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.wire import routes
from comfy_fsm.core.wire.routes import OTHER, ROUTES, Route, build, parse

ID = "0f0f0f0f-1111-4222-8333-444444444444"
PREFIXES = ("", "/comfy", "/a/b/c", "/proxy/8188", "/api/v1/comfy")
ORIGINS = ("", "http://host:8188", "https://host.example", "http://[::1]:8188")
SPELLINGS = ("{}", "{}/", "{}?a=1&b=/history/x", "/{}", "{}#top")

each_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")


def spelled(route: Route, api: bool, origin: str, prefix: str, spelling: str, prompt_id: str = ID) -> str:
    path = route.path.removeprefix("/api").replace("{id}", quote(prompt_id, safe=""))
    return origin + prefix + spelling.format(("/api" if api else "") + path)


@each_route
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("origin", ORIGINS)
def test_every_spelling_of_a_route_is_the_route(route: Route, prefix: str, origin: str) -> None:
    for spelling in SPELLINGS:
        for api in (False, True):
            for method in (route.method, route.method.lower()):
                asked = parse(method, spelled(route, api, origin, prefix, spelling))
                assert asked.kind == route.kind, spelling
                assert asked.prompt_id == (ID if "{id}" in route.path else None)
                assert "/" + asked.prefix == (prefix or "/")
                assert asked.server == (origin + prefix if origin else None)


@each_route
def test_another_method_asks_for_something_else(route: Route) -> None:
    kinds = {each.method: each.kind for each in ROUTES if re.fullmatch(each.path.replace("{id}", "[^/]+"), route.path)}
    for method in ("GET", "POST", "PUT", "DELETE", "HEAD", ""):
        assert parse(method, route.path.replace("{id}", ID)).kind == kinds.get(method, OTHER)


@given(st.sampled_from(sorted({route.kind for route in ROUTES})), st.text(min_size=1))
def test_what_is_built_is_recognised_with_the_same_id(kind: str, prompt_id: str) -> None:
    asked = parse(*build(kind, prompt_id))
    assert asked.kind == kind
    if asked.prompt_id is not None:
        assert asked.prompt_id == prompt_id.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    "path",
    ["/v2/manager/queue/history", "/manager/queue/queue", "/history/x/queue", "/userdata/a.json", "/", "", "?", "://",
     "/api", "/history/a/b", "/jobs/a/b/cancel", "/view/queue", "http://", "http://history", "/promptx", "/Queue"],
)  # fmt: skip
def test_what_only_ends_like_a_route_is_none(path: str) -> None:
    assert parse("GET", path).kind == OTHER


@given(st.text(), st.text())
def test_no_path_raises(method: str, path: str) -> None:
    assert isinstance(parse(method, path), routes.ParsedRequest)


def test_a_path_of_a_million_segments_takes_no_time_to_speak_of() -> None:
    assert parse("GET", "/a" * 1_000_000 + "/history/x").prompt_id == "x"


@pytest.mark.parametrize(
    ("query", "partial"),
    [
        ("", False), ("?status=pending,in_progress", False), ("?status=In_Progress&status=pending,failed", False),
        ("?status=pending", True), ("?offset=0", False), ("?offset=20", True), ("?workflow_id=w", True),
        ("?" + "a=1&" * 99, True),
    ],
)  # fmt: skip
def test_a_list_of_jobs_is_whole_unless_its_query_leaves_some_out(query: str, partial: bool) -> None:
    assert routes.is_partial("/api/jobs" + query) is partial


_PIECES = st.sampled_from(
    [
        "",
        "api",
        "history",
        "history_v2",
        "queue",
        "prompt",
        "jobs",
        "job",
        "cancel",
        "status",
        "v2",
        "a-b_c",
        "%41",
        "x?y=1",
    ]
)


@given(st.sampled_from(["GET", "POST", "get"]), st.lists(_PIECES, max_size=5).map("/".join), st.booleans())
def test_a_usual_request_is_recognised_as_any_other_would_be(method: str, path: str, rooted: bool) -> None:
    path = f"/{path}" if rooted else path
    assert routes._parse_usual(method, path) in (None, routes._parse_any(method, path))


@pytest.mark.parametrize("route", routes.ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_each_route_is_recognised_whether_or_not_it_is_usual(route: routes.Route) -> None:
    path = route.path.replace("{id}", "592791cd-fe0d-421c-b3b2-bdf5a08e2422")
    assert routes.parse(route.method, path) == routes._parse_any(route.method, path)
