"""Exchanges are written down as a client of ours would: whose they are, unpacked, and without what is secret."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from websockets.asyncio.client import connect

from comfy_fsm.testing import FakeComfy
from tests.support.http_servers import serving
from tests.support.recording import recorded_by, rows, run, until

KEY = "sesame-4711-open"


def record(number: int) -> dict[str, Any]:
    workflow = {"1": {"class_type": "X", "inputs": {"t": "x" * 900}}}
    return {"prompt": [number, f"p{number}", workflow, {}, []], "outputs": {}, "status": {"status_str": "success"}}


def test_what_a_client_asks_is_its_windows_if_it_has_one_alone(log: Path) -> None:
    async def story() -> list[str | None]:
        async with FakeComfy() as comfy, recorded_by(log, comfy.url) as recorded:
            host, port = recorded.address
            agents = [{"User-Agent": f"Browser/{number}"} for number in (1, 2)]

            async def ask(agent: dict[str, str]) -> None:
                async with httpx.AsyncClient(headers=agent) as client:
                    await client.get(f"{recorded.url}/queue")

            address = f"ws://{host}:{port}/ws?clientId="
            async with (
                connect(address + "a", user_agent_header="Browser/1"),
                connect(address + "b", user_agent_header="Browser/2"),
            ):
                await ask(agents[0])
                async with connect(address + "c", user_agent_header="Browser/2"):
                    await ask(agents[1])
        return [line.get("window") for line in recorded.lines("http.request")]

    assert run(story()) == ["a", None]


def test_what_a_client_sends_to_be_let_in_is_not_in_the_log(log: Path) -> None:
    async def repeat(request: web.Request) -> web.Response:
        told = [*request.headers.values(), *request.query.values()]
        body = {"error": {"type": "x", "message": " ".join(told)}, "node_errors": {}}
        return web.json_response(body, status=400)

    async def story() -> None:
        async with (
            serving(repeat) as url,
            recorded_by(log, url, headers={"X-Api-Key": KEY[::-1]}) as recorded,
            httpx.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, cookies={"c": KEY + "c"}) as client,
        ):
            answer = await client.post(f"{recorded.url}/prompt?key={KEY}", json={"prompt": {}})
            assert KEY in answer.text
            assert KEY[::-1] in answer.text

    run(story())
    kept = b"".join(rows(log))
    assert b"http.response" in kept
    assert KEY.encode() not in kept
    assert KEY[::-1].encode() not in kept


@pytest.mark.parametrize("encoding", ["", "gzip", "br"])
@pytest.mark.parametrize("records", [1, 300])
def test_an_answer_is_read_for_the_log_as_it_was_packed(encoding: str, records: int, log: Path) -> None:
    history = {f"p{number}": record(number) for number in range(records)}
    body = json.dumps(history).encode()
    packed = gzip.compress(body) if encoding == "gzip" else body

    async def handle(_: web.Request) -> web.Response:
        headers = {"Content-Encoding": encoding} if encoding else {}
        return web.Response(body=packed, headers=headers, content_type="application/json")

    async def story() -> None:
        async with serving(handle) as url, recorded_by(log, url) as recorded:
            async with httpx.AsyncClient() as client, client.stream("GET", f"{recorded.url}/history/p0") as answer:
                assert b"".join([chunk async for chunk in answer.aiter_raw()]) == packed
            await until(lambda: len(recorded.lines("http.")) == 2)
            _, told = recorded.lines("http.")
            if encoding == "br":
                assert told["data"]["error"] == "Encoded"
            else:
                assert [*told["data"]["body"]][:1] == ["p0"]
                assert "xxx" not in json.dumps(told)

    run(story())
