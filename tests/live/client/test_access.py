"""Tests of credentials: headers, the socket's query, extra_data, a certificate; none of them is logged.

By the library and by the command, at a fake ComfyUI behind a door that lets in only who has them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from comfy_fsm.__main__ import main
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.dispatch.dispatcher import Dispatcher
from comfy_fsm.log import reader
from comfy_fsm.testing import FakeComfy, picture
from comfy_fsm.testing.routes import Routes
from tests.support.stage import QUICK, graph, outcome

KEY = "comfyui-4f1c-canary"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate(FakeComfy):
    """A fake behind a door: `wants` says of a request whether it is let in; what came is in `seen`."""

    def __init__(self, wants: Callable[[web.Request], bool]) -> None:
        super().__init__()
        self.wants = wants
        self.bodies: list[dict[str, Any]] = []

    def _routes(self) -> Routes:
        routes, table = super()._routes(), super()._routes().table()
        routes.table = lambda: [web.route(each.method, each.path, self._guarded(each.handler)) for each in table]
        return routes

    def _guarded(self, handler: Any) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            if not self.wants(request):
                return web.json_response({"message": "Unauthorized"}, status=401)
            if request.method == "POST" and request.path.endswith("prompt"):
                self.bodies.append(await request.json())
            return await handler(request)

        return answer


def by_header(request: web.Request) -> bool:
    return request.headers.get("X-API-Key") == KEY


def as_comfy_cloud(request: web.Request) -> bool:
    return request.query.get("token") == KEY if request.path.endswith("ws") else by_header(request)


def by_query(request: web.Request) -> bool:
    return request.query.get("token") == KEY


WAYS: dict[str, tuple[Callable[[web.Request], bool], str, dict[str, Any]]] = {
    "a header for both": (by_header, "", {"headers": {"X-API-Key": KEY}}),
    "a header, and the socket's query is found out": (as_comfy_cloud, "", {"headers": {"X-API-Key": KEY}}),
    "a header, and a query for the socket": (
        as_comfy_cloud, "", {"headers": {"x-api-key": KEY}, "socket_query": {"token": KEY}},
    ),
    "a query in the address": (by_query, f"?token={KEY}", {}),
}  # fmt: skip
each_way = pytest.mark.parametrize(("wants", "query", "settings"), WAYS.values(), ids=WAYS)


def written(log: Path) -> bytes:
    return b"".join(path.read_bytes() for path in log.parent.iterdir() if path.name.startswith(log.name))


@each_way
async def test_a_client_gets_in_and_the_key_is_written_nowhere(
    wants: Any, query: str, settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    log = tmp_path / "tasks.log"
    async with (
        Gate(wants) as gate,
        Client(gate.url + query, log=log, policy=QUICK, sockets="require", **settings) as client,
        asyncio.timeout(30),
    ):
        task = await client.window().submit(graph())
        ended = await outcome(task)
        assert await task.outputs[0].read()
        assert ended == "completed"
    assert KEY.encode() not in written(log)
    assert KEY not in caplog.text
    assert {o.server for o in map(_read, reader.read(log)) if o.server} == {_server(log)}


def _read(record: Any) -> Any:
    from comfy_fsm import read

    return read(record.line)


def _server(log: Path) -> str:
    return next(o.server for o in map(_read, reader.read(log)) if o.server)


async def test_extra_data_of_the_client_goes_with_every_prompt_and_what_a_prompt_says_itself_counts_more(
    tmp_path: Path,
) -> None:
    log = tmp_path / "tasks.log"
    async with Gate(lambda _: True) as gate:
        async with Client(gate.url, log=log, policy=QUICK, extra_data={"a": KEY, "b": "1"}) as client:
            assert await outcome(await client.window().submit(graph())) == "completed"
            again = await client.window().submit(graph(1), extra_data={"b": "2"})
            assert await outcome(again) == "completed"
            async with Dispatcher(client) as dispatcher:
                assert await outcome(await dispatcher.enqueue(graph(2), extra_data={"c": "3"})) == "completed"
        first, second, third = [body["extra_data"] for body in gate.bodies]
    assert (first["a"], first["b"]) == (KEY, "1")
    assert (second["a"], second["b"]) == (KEY, "2")
    assert (third["a"], third["b"], third["c"]) == (KEY, "1", "3")
    assert KEY.encode() not in written(log)


def test_a_job_without_its_secrets_is_withdrawn_by_the_next_process_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "tasks.log"
    workflow = picture() | {"7": {"class_type": "FakeText", "inputs": {"text": "x", "api_key": KEY}}}

    async def told() -> str:
        async with FakeComfy() as comfy:
            async with Client(comfy.url, log=log, policy=QUICK) as client, Dispatcher(client) as dispatcher:
                await dispatcher.drain(comfy.url)
                await dispatcher.enqueue(workflow)
            async with Client(comfy.url, log=log, policy=QUICK) as client, Dispatcher(client) as dispatcher:
                [task] = dispatcher.waiting
                await dispatcher.undrain(comfy.url)
                async with asyncio.timeout(30):
                    try:
                        await task
                    except Exception as error:
                        return str(error)
        return "ran"

    assert "7.api_key of this job was not written down" in asyncio.run(told())
    assert "7.api_key of a job is not written down" in caplog.text
    assert KEY.encode() not in written(log)
    assert not [
        o
        for o in map(_read, reader.read(log))
        if getattr(o.data if hasattr(o, "data") else None, "method", "") == "POST"
    ]


async def test_a_workflow_with_nan_waits_in_the_log_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"
    workflow = picture() | {"7": {"class_type": "FakeText", "inputs": {"text": "x"}, "is_changed": [float("nan")]}}
    async with Gate(lambda _: True) as gate:
        async with Client(gate.url, log=log, policy=QUICK) as client, Dispatcher(client) as dispatcher:
            assert await outcome(await dispatcher.enqueue(workflow)) == "completed"
        assert str(gate.bodies[0]["prompt"]["7"]["is_changed"]) == "[nan]"


# the command


@pytest.fixture(autouse=True)
def _handlers_of_the_command_end_with_it() -> Iterator[None]:
    """A command has its process to itself, and never takes back where warnings go."""
    before = logging.getLogger().handlers[:]
    yield
    for handler in set(logging.getLogger().handlers) - set(before):
        logging.getLogger().removeHandler(handler)


def test_the_command_takes_keys_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", KEY)
    (tmp_path / "w.json").write_text(json.dumps(picture()))

    async def told() -> tuple[int, int, list[dict[str, Any]]]:
        async with Gate(as_comfy_cloud) as gate:
            keys = ["--header", "X-API-Key=KEY", "--socket-query", "token=KEY", "--timeout", "9"]
            run = [
                "run",
                "w.json",
                "--server",
                gate.url.removeprefix("http://"),
                *keys,
                "--extra",
                "api_key_comfy_org=KEY",
            ]
            status = await asyncio.to_thread(main, run)
            recovered = await asyncio.to_thread(main, ["recover", "--all", "--server", gate.url, *keys])
            return status, recovered, gate.bodies

    monkeypatch.setattr("signal.signal", lambda *_: None)  # which the main thread alone may set
    status, recovered, bodies = asyncio.run(told())
    assert (status, recovered) == (0, 0)
    assert bodies[0]["extra_data"]["api_key_comfy_org"] == KEY
    assert KEY.encode() not in written(tmp_path / "comfy-fsm.log")
    assert KEY not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--header", "X-Key"], "takes NAME=ENV"),
        (["--header", "=KEY"], "takes NAME=ENV"),
        (["--header", "X-Key=NO_SUCH_KEY"], "no such variable"),
        (["--header", "X Key=KEY"], "no header may hold"),
        (["--header", "X-Key=ODD"], "no header may hold"),
        (["--extra", "api_key"], "takes NAME=ENV"),
        (["--socket-query", "token=NO_SUCH_KEY"], "no such variable"),
        (["--timeout", "0"], "timeout"),
        (["--ca", "no-such-file.pem"], "no-such-file.pem"),
        (["--ca", "w.json"], "no certificate in PEM form"),
    ],
)
def test_what_is_given_wrongly_is_refused_without_telling_a_value(
    option: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", KEY)
    monkeypatch.setenv("ODD", f"{KEY}\r\nX: 1")
    (tmp_path / "w.json").write_text(json.dumps(picture()))
    assert main(["run", "w.json", "--server", "http://127.0.0.1:9", *option]) in (64, 66, 69)
    out, err = capfd.readouterr()
    assert said in err
    assert KEY not in out + err
    assert not (tmp_path / "comfy-fsm.log").exists()
