"""Tests of one server under many addresses: which are equal, and which may be, until shown not to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comfy_fsm.core.registry import server_identity
from replay import replay

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures" / "made"
THIS_MACHINE = ("localhost", "127.0.0.1", "[::1]", "0.0.0.0", "LocalHost", "localhost.", "[::ffff:127.0.0.1]")
hosts = st.sampled_from((*THIS_MACHINE, "host.example", "Host.Example", "host.example.", "10.0.0.5", "[2001:db8::1]"))


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """Two ways to write one address."""
    scheme, host = draw(st.sampled_from(("http", "https"))), draw(hosts)
    port, path = draw(st.sampled_from((None, 80, 443, 8188))), draw(st.sampled_from(("", "/comfy", "/a/b")))

    def one() -> str:
        told = draw(st.sampled_from([scheme, scheme.upper(), scheme.replace("http", "ws")]))
        default = server_identity.PORTS[scheme]
        shown = draw(st.sampled_from(["", f":{default}"])) if port in (None, default) else f":{port}"
        name = draw(st.sampled_from([host, host.upper(), host.lower()]))
        return f"{told}://{name}{shown}{path}{draw(st.sampled_from(['', '/', '//']))}"

    return one(), one()


@given(spellings())
def test_case_default_port_scheme_of_the_socket_and_slashes_make_no_other_server(pair: tuple[str, str]) -> None:
    one, other = pair
    assert server_identity.spelled(one) == server_identity.spelled(other)
    assert server_identity.spelled(server_identity.spelled(one)) == server_identity.spelled(one)
    assert server_identity.machine(one) == server_identity.machine(other)


def test_host_and_port_alone_are_an_address_of_http() -> None:
    assert server_identity.machine("localhost:8188") == server_identity.machine("http://127.0.0.1:8188")


@given(st.text(max_size=30) | st.from_regex(r"\A(http|ws)s?://[^/]{0,20}(/.{0,20})?\Z"))
@example("http://host:99999")
@example("http://[::1")
def test_whatever_a_trace_calls_its_server_is_a_name(name: str) -> None:
    assert server_identity.spelled(server_identity.spelled(name)) == server_identity.spelled(name)
    assert server_identity.machine(server_identity.spelled(name)) == server_identity.machine(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [("http://host:8188", "http://host:8189"), ("http://host", "https://host"), ("http://host", "http://hos"),
     ("http://host/a", "http://host/b"), ("http://127.0.0.1:8188", "http://127.0.0.2:8188"),
     ("http://localhost:8188", "http://localhost.example:8188")],
)  # fmt: skip
def test_another_port_scheme_host_or_path_is_another_server(one: str, other: str) -> None:
    assert server_identity.machine(one) != server_identity.machine(other)


# what a trace says of one server under two names

STORY = (FIXTURES / "two-names-of-loopback.jsonl").read_text(encoding="utf-8").splitlines()
HOME = "http://127.0.0.1:8188"


def told(*, posts: str = HOME, listens: str = HOME, looks: str = HOME, more: tuple[str, ...] = ()) -> dict:
    lines = []
    for line in STORY:
        if line.startswith("#"):
            continue
        value = json.loads(line)
        http = value["kind"].startswith("http")
        value["server"] = listens if not http else posts if value["data"]["id"] == "r1" else looks
        lines.append(json.dumps(value))
    report = replay([*lines[:4], *more, *lines[4:]])
    (task,) = report.tasks
    notes = {finding.code: finding for finding in report.findings}
    return {"state": task.state, "by": task.confirmed_by, "files": [o.filename for o in task.outputs], "notes": notes}


def name_at(host: str) -> str:
    return f"http://{host}:8188"


@pytest.mark.parametrize("role", ["posts", "listens", "looks"])
@pytest.mark.parametrize("other", [*map(name_at, THIS_MACHINE), HOME + "/", HOME + "/api", "ws://localhost:8188/ws"])
def test_what_is_told_under_another_name_of_the_server_counts(role: str, other: str) -> None:
    found = told(**{role: other})
    assert (found["state"], found["by"], found["files"]) == ("completed", "history", ["a.png"])
    assert {note.severity for note in found["notes"].values()} <= {"note"}
    if other.rstrip("/") != HOME:
        assert "one server" in found["notes"]["same-server"].text
    else:
        assert found["notes"] == {}


@pytest.mark.parametrize("other", ["http://127.0.0.1:8189", "http://10.0.0.5:8188", "https://127.0.0.1:8188"])
def test_what_is_told_by_another_server_does_not(other: str) -> None:
    found = told(looks=other)
    assert found["state"] != "completed"
    assert "wrong-server" in found["notes"]


def test_two_servers_of_different_age_are_not_one() -> None:
    """One honours chosen ids and the other does not (P10): that speaks against it."""
    asked = {"at": 1700000000.41, "kind": "http.request", "server": "http://localhost:8188",
             "data": {"id": "f", "method": "GET", "path": "/features"}}  # fmt: skip
    answered = {"at": 1700000000.42, "kind": "http.response", "data": {"id": "f", "status": 404}}
    found = told(looks="http://localhost:8188", more=(json.dumps(asked), json.dumps(answered)))
    assert "wrong-server" in found["notes"]
    assert found["state"] != "completed"


def test_a_name_that_is_refused_is_no_outage_of_the_server_that_answers_under_another() -> None:
    """`localhost` may be ::1, where nobody listens."""
    asked = {"at": 1700000000.41, "kind": "http.request", "server": "http://localhost:8188",
             "data": {"id": "f", "method": "GET", "path": "/queue"}}  # fmt: skip
    refused = {"at": 1700000000.42, "kind": "http.error", "data": {"id": "f", "error": "ConnectError"}}
    found = told(more=(json.dumps(asked), json.dumps(refused)))
    assert (found["state"], found["by"]) == ("completed", "history")
    assert found["notes"] == {}
