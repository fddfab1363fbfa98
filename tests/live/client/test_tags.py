"""Tests of tags: each comes back with its task and its result, in this process and the next, wherever the task went."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm import BadTag, Board, Client, Command, Dispatcher, Entry, Result, encode, read
from comfy_fsm.core.observations import CommandData
from comfy_fsm.core.scheduling.backlog import MAX_TAG
from comfy_fsm.live.client import tags
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.stage import QUICK, bytes_of, graph, until

SERVER, LONG = "http://127.0.0.1:1", 60.0
TAG = {"user": 1234567890123456789, "channel": ["général", None], "🖼": {"ratio": 1.5, "again": True}}
SECRET = "sk-0123456789abcdef"
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    LEAVES | TEXTS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


class Hiding:
    """An ingest that knows one secret."""

    def shown(self, value: object) -> object:
        return json.loads(json.dumps(value, ensure_ascii=False).replace(SECRET, "[redacted]"))


def tag_on_board(command: str, raw: bytes) -> object:
    """What a board says of it, once the task was posted."""
    board = Board()
    told = Command(at=1.0, window="w", server=SERVER, data=CommandData(command, "p", tag=Raw(raw)))
    board.fold(Entry(1, read(encode(told))))
    body = b'{"prompt_id":"p","client_id":"w","prompt":{}}'
    post = b'{"at":2,"kind":"http.request","window":"w","server":"%b","data":%b}'
    asked = b'{"id":"1","method":"POST","path":"/prompt","body":%b}' % body
    if command != "follow":
        board.fold(Entry(2, read(post % (SERVER.encode(), asked))))
    return board.tasks[0].result().tag


@given(VALUES, st.sampled_from(["submit", "enqueue", "follow"]))
def test_any_json_comes_back_as_it_was_given(value: Any, command: str) -> None:
    checked = tags.checked(value, Hiding())
    assert checked.value == value
    assert tag_on_board(command, bytes(checked.kept)) == value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1: "a"}, "keys as texts"),
        (float("nan"), "no NaN"),
        ({"a": {1, 2}}, "is a JSON value, and this one is none"),
        ("x" * MAX_TAG, "8,194 bytes"),
        ("\ud800", "another value"),
    ],
)
def test_what_would_not_come_back_is_refused_before_anything_is_sent(value: Any, words: str) -> None:
    with pytest.raises(BadTag, match="nothing was sent") as refused:
        tags.checked(value, Hiding())
    assert words in str(refused.value)


@given(st.binary(max_size=60), st.sampled_from(["submit", "enqueue", "follow"]))
def test_a_tag_that_nobody_wrote_is_read_or_is_none(junk: bytes, command: str) -> None:
    for raw in (json.dumps(junk.decode("latin-1")).encode(), b"[" * 300 + b"]" * 300, b'"%b"' % (b"x" * MAX_TAG)):
        tag_on_board(command, raw)


@asynccontextmanager
async def following(comfy: FakeComfy, log: Path, **settings: Any) -> AsyncIterator[Client]:
    async with Client(comfy.url, log=log, **({"policy": QUICK} | settings)) as client:
        yield client


@pytest.mark.parametrize("version", ["0.3.64", "0.3.10"])
async def test_a_tag_outlives_the_process_that_gave_it(version: str, tmp_path: Path) -> None:
    """Also where the server chose another id (P10), and where the POST was refused for now and sent again."""
    log = tmp_path / "a.log"
    async with FakeComfy(version=version) as comfy:
        async with following(comfy, log) as client:
            comfy.faults.turn({"too_many": {"POST /prompt": 1}, "retry_after": "0"})
            first = await client.window().submit(graph(), tag=TAG)
            assert (first.tag, (await first).tag) == (TAG, TAG)
            await client.window().submit(graph(1, seconds=2.0), tag="other")
        async with following(comfy, log) as client:
            (left,) = client.tasks
            assert (left.tag, (await left).tag) == ("other", "other")
    assert [tag for task in replay(log).tasks if (tag := task.result().tag)].count("other") == 1


async def test_a_job_has_its_tag_while_it_waits_and_when_it_is_a_task(tmp_path: Path) -> None:
    log, settled = tmp_path / "a.log", list[Result]()
    async with FakeComfy() as comfy:
        async with following(comfy, log) as client, Dispatcher(client, capacity=1) as dispatcher:
            long = await dispatcher.enqueue(graph(seconds=LONG), tag="long")
            await until(lambda: long.state == "in_progress")
            await dispatcher.enqueue(graph(1), tag=["waits"])
        async with following(comfy, log) as client, Dispatcher(client, capacity=1) as dispatcher:
            assert [task.tag for task in dispatcher.waiting] == [["waits"]]
            (placed,) = (task for task in client.tasks if not task.waits)
            assert placed.tag == "long"
            (waiting,) = dispatcher.waiting
            await placed.cancel()
            settled.append(await waiting)
    assert settled[0].tag == ["waits"]


async def test_a_prompt_of_somebody_else_is_followed_with_a_tag(tmp_path: Path) -> None:
    async with FakeComfy() as comfy, following(comfy, tmp_path / "a.log") as client:
        other = await client.window().submit(graph(seconds=0.2))
        async with Client(comfy.url, policy=QUICK) as stranger:
            followed = await stranger.window().follow(other.prompt_id, tag=TAG)
            assert (followed.tag, (await followed).tag) == (TAG, TAG)


def test_a_secret_in_a_tag_is_not_written_down_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, tag = tmp_path / "a.log", {"key": SECRET, SECRET: 1, "avatar": f"https://x.org/a?token={SECRET}", "user": 7}

    async def story() -> None:
        async with FakeComfy() as comfy:
            async with following(comfy, log, secrets=[SECRET]) as client:
                task = await client.window().submit(graph(seconds=LONG), tag=tag)
                assert task.tag == tag, "the process that gave it has it whole"
                async with Dispatcher(client) as dispatcher:
                    await dispatcher.enqueue(graph(1, seconds=LONG), tag=tag)
            async with following(comfy, log) as client:
                for task in client.tasks:
                    assert task.tag["user"] == 7
                    assert SECRET not in str(task.tag)
                    assert "[redacted]" in str(task.tag)
                    await task.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert SECRET.encode() not in b"".join(bytes_of(log).values())
    assert any("is in a tag" in record.message and SECRET not in record.message for record in caplog.records)
    assert "redacted" in {finding.code for finding in replay(log).findings}


async def test_a_task_without_a_tag_writes_nothing_more(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    async with FakeComfy() as comfy, following(comfy, log) as client:
        await (await client.window().submit(graph()))
    assert b'"submit"' not in b"".join(bytes_of(log).values())
