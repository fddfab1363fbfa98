"""Tests of spans: each task of a live client is one, from its POST to the word of its end."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import Raw
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.companion import Companion
from comfy_fsm.live.extras.tracing import Spans
from comfy_fsm.testing import FakeComfy
from replay import replay
from tests.support.stage import QUICK, graph, outcome, until, with_node


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tasks.log"


# spans


def traced(log: Path, story: Callable[[FakeComfy, Client], Awaitable[None]]) -> list[ReadableSpan]:
    """Tell the story with a client that makes spans; what they are when it is closed."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))

    async def run() -> None:
        async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
            client.accompany(Spans(client.board, provider))
            await story(comfy, client)

    asyncio.run(run())
    provider.shutdown()
    return list(kept.get_finished_spans())


def test_each_task_is_a_span_from_its_post_to_the_word_of_its_end(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        assert await outcome(await client.window().submit(graph())) == "completed"
        assert await outcome(await client.window().submit(with_node("FakeFail", message="no"))) == "failed"

    spans = {str(span.attributes["comfyui.prompt_id"]): span for span in traced(log, story) if span.attributes}
    tasks = {task.prompt_id: task for task in replay(log).tasks}
    assert spans.keys() == tasks.keys()
    for prompt_id, span in spans.items():
        task = tasks[prompt_id]
        assert task.submitted_at is not None
        assert task.ended_at is not None
        assert (span.start_time, span.end_time) == (int(task.submitted_at * 1e9), int(task.ended_at * 1e9))
        wanted = StatusCode.OK if task.state == "completed" else StatusCode.ERROR
        assert span.status.status_code is wanted
        assert span.attributes is not None
        assert span.attributes["comfyui.state"] == task.state
        assert span.attributes["comfyui.server"] == task.server
        assert span.attributes["comfyui.source"] == task.completion_source


def test_what_the_socket_missed_is_told_in_the_span(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.mute = True
        assert await outcome(await client.window().submit(graph())) == "completed"

    (span,) = traced(log, story)
    assert {point.name for point in span.events} >= {"deaf-socket", "missed-end"}
    assert span.status.status_code is StatusCode.OK


async def test_a_process_that_takes_a_log_up_makes_the_span_that_the_last_one_could_not(log: Path) -> None:
    async with FakeComfy() as comfy:
        kept, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(kept))
        async with Client(comfy.url, log=log, policy=QUICK) as client:
            await client.window().submit(graph(seconds=0.5))
        async with Client(comfy.url, log=log, policy=QUICK) as client:
            client.accompany(Spans(client.board, provider))
            await until(lambda: not client.tasks)
        assert len(kept.get_finished_spans()) == 1
        provider.shutdown()


def test_a_span_is_a_child_of_what_was_current_where_its_task_was_submitted(log: Path) -> None:
    tracer = TracerProvider().get_tracer("the bot")

    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        with tracer.start_as_current_span("a command of a user") as asked:
            task = await window.submit(graph(1))
        parents[task.prompt_id] = asked.get_span_context().span_id
        alone = await window.submit(graph(2))
        parents[alone.prompt_id] = None
        await asyncio.gather(outcome(task), outcome(alone))

    parents: dict[str, int | None] = {}
    found = {
        str((span.attributes or {})["comfyui.prompt_id"]): span.parent.span_id if span.parent else None
        for span in traced(log, story)
    }
    assert found == parents


async def test_whatever_a_server_calls_a_task_its_span_is_one_that_can_be_shown() -> None:
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    board, evil = Board(), "\x1b[31m\u202e" + "x" * 1000
    spans = Spans(board, provider)
    start = seen.ExecutionStart(seen.StartData(evil))
    board.fold_observation(1, seen.Message(at=1e300, window="w", server=evil, data=start))
    asked = seen.RequestData("1", "GET", f"/history/{urllib.parse.quote(evil)}")
    record = {evil: {"outputs": {}, "status": {"status_str": "success", "completed": True, "messages": []}}}
    answer = seen.ResponseData("1", 200, Raw(json.dumps(record).encode()))
    board.fold_observation(2, seen.Request(at=1e300, window="w", server=evil, data=asked))
    board.fold_observation(3, seen.Response(at=1e301, window="w", server=evil, data=answer))
    spans.observe(seen.Delivered(at=1.0, window="w", server=evil, data=seen.DeliveredData(evil)))
    await closed_at_once(spans)
    (span,) = kept.get_finished_spans()
    assert span.attributes is not None
    shown = [value for value in span.attributes.values() if isinstance(value, str)]
    assert all(value.isprintable() and len(value) <= 100 for value in shown)
    assert span.start_time is not None
    assert 0 <= span.start_time < 2**63
    provider.shutdown()


async def closed_at_once(companion: Companion) -> None:
    running = asyncio.create_task(companion.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
