"""Tests of a live client's metrics, over HTTP, as spans and as alerts: equal to those of its log, also after faults."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from comfy_fsm.cli.metrics import refolded
from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.alerts import ALERTS, Alert, Change, Sum
from comfy_fsm.core.metrics.catalogue import METRICS, Reading
from comfy_fsm.core.metrics.summary import measure
from comfy_fsm.errors import ClientClosed, ClientError, LogWriteFailed, MissingExtra
from comfy_fsm.live.blocking.client import BlockingClient
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.companion import Companion
from comfy_fsm.live.extras.alarm import Alarm
from comfy_fsm.live.extras.prometheus import Endpoint, registry_of
from comfy_fsm.live.extras.tracing import Spans
from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy, Faults, ThreadedFake
from replay import replay
from tests.support.lines import fill
from tests.support.processes import command, said
from tests.support.stage import QUICK, graph, outcome, until, with_node

TIMED = {"comfy_fsm_tasks_silent", "comfy_fsm_server_stalled_seconds"}  # what is so and so long ago, now


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tasks.log"


def numbers(readings: Iterable[Reading]) -> dict[tuple[str, ...], Any]:
    """What a log alone must tell as well; what it leaves out of an entry, it alone says."""
    found = {
        (reading.metric.name, *labels): value if isinstance(value, float) else (value.counts, value.sum)
        for reading in readings
        if reading.metric.name not in TIMED and "_log_" not in reading.metric.name
        for labels, value in reading.rows
    }
    found.pop(("comfy_fsm_findings_total", "redacted"), None)
    return found


async def get(url: str) -> str:
    with closing(await asyncio.to_thread(urllib.request.urlopen, url, None, 30)) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return answer.read().decode()


def families(text: str) -> dict[str, float]:
    """Every sample of a scrape, by its name and labels as they are written."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# the same figures from the log


async def test_a_log_tells_the_figures_that_its_client_told_and_so_does_its_replay(log: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
        comfy.faults.empty_history = 2
        window = client.window()
        for seed in range(3):
            await outcome(await window.submit(graph(seed)))
        comfy.faults.lose_end = 1
        await outcome(await window.submit(graph(9)))
        await outcome(await window.submit(with_node("FakeFail", message="no")))
        await until(lambda: not client.tasks)
        await client.close()
        told, servers, metrics = numbers(client.readings()), client.servers, measure(client.board)
    figures = refolded(str(log), servers)
    assert numbers(figures.read(figures.board.now)) == told
    assert told["comfy_fsm_tasks_settled_total", "completed"] == 4
    assert told["comfy_fsm_tasks_settled_total", "failed"] == 1
    replayed = replay(log).metrics
    assert replayed == metrics


async def test_counters_go_on_where_an_earlier_process_left_them(log: Path) -> None:
    async with FakeComfy() as comfy:
        async with Client(comfy.url, log=log, policy=QUICK) as client:
            await outcome(await client.window().submit(graph(1)))
            await client.close()
            before = numbers(client.readings())
        async with Client(comfy.url, log=log, policy=QUICK) as client:
            after = numbers(client.readings())
            counted = [key for key in before if METRICS[key[0]].kind == "counter"]
            assert [key for key in counted if after[key] < before[key]] == []
            assert after["comfy_fsm_tasks_settled_total", "completed"] == 1
            await outcome(await client.window().submit(graph(2)))
            assert numbers(client.readings())["comfy_fsm_tasks_settled_total", "completed"] == 2


# under every fault that leaves the truth to be found

FAULTS = {
    "nothing": Faults(),
    "ends that are never told": Faults(lose_end=4),
    "no end of any kind": Faults(drop_types={"execution_success", "executing", "executed", "progress_state"}),
    "every frame twice": Faults(double=True),
    "a deaf socket": Faults(deaf=1),
    "sockets that hear nothing": Faults(mute=True),
    "an empty history": Faults(empty_history=4),
    "a record that comes late": Faults(history_seconds=0.3),
    "a history of another prompt": Faults(foreign_history=3),
    "pages of errors": Faults(html={"GET /history": 3, "GET /queue": 3}),
    "too many requests": Faults(too_many={"GET /history": 2}, retry_after="0"),
    "half an answer": Faults(cut_answer={"GET /history": 2}),
    "no JSON": Faults(garbage={"GET /history": 2}),
    "a POST without an answer": Faults(swallow_post=1),
    "a POST answered 500 and queued": Faults(post_500_queued=1),
    "frames before the answer": Faults(late={"POST /prompt": 0.2}),
    "failures written down as successes": Faults(stale_status=4),
    "a queue that hides what waits": Faults(hide_pending=True),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_end_is_detected_and_everything_credited_rightly_under(fault: str, log: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
        for name in Faults.__struct_fields__:
            setattr(comfy.faults, name, getattr(FAULTS[fault], name))
        windows = [client.window(), client.window()]
        tasks = [await windows[seed % 2].submit(graph(seed)) for seed in range(4)]
        async with asyncio.timeout(60):
            assert {await outcome(task) for task in tasks} == {"completed"}
        now = numbers(client.readings())
        assert now["comfy_fsm_tasks_settled_total", "completed"] == 4
        assert now["comfy_fsm_completion_rate",] >= 0.99
        assert now["comfy_fsm_server_consistency",] == 1.0
        assert now.get(("comfy_fsm_attribution",), 1.0) == 1.0
        assert now.get(("comfy_fsm_recovery_rate",), 1.0) == 1.0


# over HTTP


async def test_a_scrape_over_http_tells_what_the_client_tells(log: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
        endpoint = Endpoint(client.readings, 0)
        client.accompany(endpoint)
        assert endpoint.url.startswith("http://127.0.0.1:")
        await outcome(await client.window().submit(graph()))
        await until(lambda: not client.tasks)
        samples = families(await get(endpoint.url))
        assert samples["comfy_fsm_tasks_settled_total[('state', 'completed')]"] == 1
        assert samples[f"comfy_fsm_requests_total[('result', 'answered'), ('server', '{comfy.url}')]"] >= 2
        assert samples["comfy_fsm_log_commit_seconds_count[]"] > 3
        assert samples["comfy_fsm_task_seconds_bucket[('le', '+Inf')]"] == 1
        assert samples["comfy_fsm_log_failed[]"] == 0
        narrowed = families(await get(endpoint.url + "?name[]=comfy_fsm_tasks"))
        assert list(narrowed) == ["comfy_fsm_tasks[]"]
    with pytest.raises(urllib.error.URLError):  # it ends with the client
        await get(endpoint.url)


async def test_scrapes_from_many_threads_read_a_board_that_is_being_written(log: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
        endpoint = Endpoint(client.readings, 0)
        client.accompany(endpoint)
        tasks = [await client.window().submit(with_node("FakeProgress", seed, steps=100, seconds=0))
                 for seed in range(5)]  # fmt: skip
        texts = await asyncio.gather(*(get(endpoint.url) for _ in range(20)), *map(outcome, tasks))
        assert all("comfy_fsm_tasks 5.0" in text for text in texts[:20])


async def test_a_registry_of_the_application_holds_our_figures_beside_its_own() -> None:
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK) as client:
        registry = CollectorRegistry()
        Gauge("of_the_bot", "Its own.", registry=registry).set(7)
        endpoint = Endpoint(client.readings, 0, registry=registry)
        client.accompany(endpoint)
        text = await get(endpoint.url)
        assert "of_the_bot 7.0" in text
        assert "comfy_fsm_tasks 0.0" in text
        assert "comfy_fsm_tasks 0.0" in generate_latest(registry).decode()  # in the loop itself


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", None), ("127.0.0.1", 70_000), ("no-such-host.invalid", 0)])
async def test_an_endpoint_that_cannot_be_had_is_told_and_the_client_goes_on(host: str, port: int | None) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1] if port is None else port
        async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK) as client:
            with pytest.raises(ClientError, match=r"cannot serve metrics.*choose another port") as caught:
                Endpoint(client.readings, wanted, host)
            assert f"{host}:{wanted}" in str(caught.value)
            assert await outcome(await client.window().submit(graph())) == "completed"


@pytest.mark.parametrize(
    ("extra", "library", "make"),
    [
        ("prometheus", "prometheus_client", lambda client: registry_of(client.readings)),
        ("otel", "opentelemetry", lambda client: Spans(client.board)),
    ],
)
async def test_an_extra_that_is_not_installed_is_named(
    extra: str, library: str, make: Callable[[Client], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    async with Client("http://127.0.0.1:9", policy=QUICK) as client:
        with pytest.raises(MissingExtra, match=re.escape(f"pip install 'comfy-fsm[{extra}]'")):
            make(client)


# the command


async def test_metrics_prints_the_figures_of_a_log(log: Path) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
        await outcome(await client.window().submit(graph()))
        url = comfy.url
    found = command("metrics", log, "--server", url + "/", cwd=log.parent)
    assert (found.returncode, found.stderr) == (0, "")
    samples = families(found.stdout)
    assert samples["comfy_fsm_tasks_settled_total[('state', 'completed')]"] == 1
    assert samples[f"comfy_fsm_requests_total[('result', 'unanswered'), ('server', '{url}')]"] == 0
    unnamed = families(command("metrics", log, cwd=log.parent).stdout)
    assert not [name for name in unnamed if url in name]


def test_metrics_of_a_hostile_log_are_no_more_than_ours(log: Path) -> None:
    fill(
        log,
        b"\xff\x00 no JSON",
        b'{"at":1e308,"kind":"ws.open","server":"\\u001b[31m\\" 1\\nevil 2","window":"w"}',
        b'{"at":-5,"kind":"http.request","server":"http://x","data":{"id":"\\u202e","method":"GET","path":"/queue"}}',
    )
    found = command("metrics", log, cwd=log.parent)
    assert (found.returncode, found.stderr) == (0, "")
    assert "evil" not in found.stdout
    assert families(found.stdout)["comfy_fsm_observations_total[('kind', 'ws.undecodable')]"] == 1


def test_metrics_counts_the_damage_of_a_log_and_goes_on(log: Path) -> None:
    fill(log, *(seen_line(second) for second in range(5)))
    with closing(sqlite3.connect(log)) as db, db:
        db.execute("UPDATE log SET line = ? WHERE position = 3", (seen_line(9),))
    samples = families(command("metrics", log, cwd=log.parent).stdout)
    assert samples["comfy_fsm_findings_total[('code', 'damaged')]"] >= 1
    assert samples["comfy_fsm_observations_total[('kind', 'ws.open')]"] == 5


def seen_line(second: int) -> bytes:
    return b'{"at":%d,"kind":"ws.open","server":"http://a","window":"w%d"}' % (second, second)


def test_metrics_refuses_what_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("text")
    assert "no log of this project" in said(command("metrics", "other", cwd=tmp_path), 65)
    said(command("metrics", "absent", cwd=tmp_path), 66)
    said(command("metrics", cwd=tmp_path), 64)
    fill(tmp_path / "empty")
    assert "is no address" in said(command("metrics", "empty", "--server", "ftp://x", cwd=tmp_path), 64)
    assert command("metrics", "empty", cwd=tmp_path).returncode == 0


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


# for programs without a loop


async def test_a_blocking_client_is_scraped_and_alarmed_too(fake_comfyui: ThreadedFake, log: Path) -> None:
    told: list[Change] = []
    done = _ended("completed")
    with BlockingClient(fake_comfyui.url, log=log, policy=QUICK) as client:
        endpoint = client.accompany(lambda its: Endpoint(its.readings, 0))
        client.accompany(lambda its: Alarm(its.readings, told.append, alerts=[done], seconds=0.02))
        client.run(graph())
        text = await get(endpoint.url)
        assert families(text)["comfy_fsm_tasks_settled_total[('state', 'completed')]"] == 1
    assert [change.alert.name for change in told] == ["Ended"]


def _ended(state: str) -> Alert:
    part = Sum("comfy_fsm_tasks_settled_total", only=("state", (state,)))
    return Alert("Ended", "warning", part, over=0.0, under=None, lasting=0.0, summary="It ended.", advice="Rejoice.")


async def test_nothing_runs_beside_a_client_that_is_closed() -> None:
    async with Client("http://127.0.0.1:9", policy=QUICK) as client:
        pass
    with pytest.raises(ClientClosed):
        client.accompany(Companion())


# alerts


def alarmed(
    on_alert: Callable[[Change], Any], story: Callable[[FakeComfy, Client], Awaitable[None]], *alerts: Alert, log: Path
) -> None:
    async def run() -> None:
        async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
            client.accompany(Alarm(client.readings, on_alert, alerts=alerts, seconds=0.02))
            await asyncio.sleep(0.05)  # a first look, so that what comes is a growth
            await story(comfy, client)

    asyncio.run(run())


def test_a_callback_that_called_itself_is_told_once(log: Path) -> None:
    told: list[Change] = []

    async def story(comfy: FakeComfy, client: Client) -> None:
        async def again(_: object) -> None:
            task.report("a stage of the callback's own")

        task = await client.window().submit(with_node("FakeProgress", steps=5, seconds=0.05), on_progress=again)
        assert await outcome(task) == "completed"
        await until(lambda: told)
        await asyncio.sleep(0.1)

    alarmed(told.append, story, ALERTS["ComfyCallbackRecursion"], log=log)
    assert [(change.alert.name, change.began, change.server) for change in told] == [
        ("ComfyCallbackRecursion", True, None)
    ]


def quick(name: str, lasting: float = 0.05, within: float = 0.5) -> Alert:
    """The same alert, in a hurry."""

    def hurried(term: Any) -> Any:
        return term and type(term)(term.metric, within if term.within else 0.0, term.by_server, term.only)

    alert = ALERTS[name]
    return Alert(
        alert.name, alert.severity, hurried(alert.part), alert.over, alert.under, lasting, alert.summary, alert.advice,
        hurried(alert.of), hurried(alert.unless),
    )  # fmt: skip


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_server_that_answers_with_pages_alone_is_told_and_told_again_when_it_is_back(
    asynchronous: bool, log: Path
) -> None:
    told: list[Change] = []

    async def hear(change: Change) -> None:
        told.append(change)

    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.lose_end = 1
        comfy.faults.html = {"GET /history": 10**6, "GET /jobs": 10**6, "GET /queue": 10**6}
        task = await client.window().submit(graph())
        await until(lambda: told)
        comfy.faults.html = {}
        assert await outcome(task) == "completed"
        await until(lambda: len(told) == 2)
        assert [(change.began, change.server) for change in told] == [(True, comfy.url), (False, comfy.url)]

    alarmed(hear if asynchronous else told.append, story, quick("ComfyServerUnreachable"), log=log)


def test_a_worker_that_died_is_told(log: Path) -> None:
    told: list[Change] = []
    wedged = ALERTS["ComfyServerWedged"]
    hurried = Alert(wedged.name, wedged.severity, wedged.part, 0.3, None, 0.0, wedged.summary, wedged.advice)

    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.dead_worker = True
        task = await client.window().submit(graph())
        await until(lambda: told)
        comfy.faults.dead_worker = False
        assert await outcome(task) == "completed"
        await until(lambda: len(told) == 2)

    alarmed(told.append, story, hurried, log=log)
    assert [change.began for change in told] == [True, False]


def test_a_log_that_refuses_is_told_though_the_client_has_stopped(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Change] = []

    async def story(comfy: FakeComfy, client: Client) -> None:
        async def refuse(*_: object) -> tuple[bool, Exception]:
            return False, OSError("no space left on device")

        monkeypatch.setattr(Log, "_transact", refuse)
        with pytest.raises(LogWriteFailed):
            await client.window().submit(graph())
        await until(lambda: told)

    alarmed(told.append, story, ALERTS["ComfyLogFailed"], log=log)
    assert [(change.alert.name, change.began) for change in told] == [("ComfyLogFailed", True)]


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_a_callback_that_misbehaves_stops_neither_the_client_nor_its_closing(how: str, log: Path) -> None:
    called: list[Change] = []

    async def misbehave(change: Change) -> None:
        called.append(change)
        if how == "raises":
            raise RuntimeError("in the callback")
        await asyncio.Event().wait()

    flips = iter(range(10**6))
    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:

        def flicker() -> list[Reading]:
            return [Reading(METRICS["comfy_fsm_log_failed"], (((), float(next(flips) % 2)),))]

        client.accompany(Alarm(flicker, misbehave, alerts=[ALERTS["ComfyLogFailed"]], seconds=0.02))
        await until(lambda: len(called) > (2 if how == "raises" else 0))
        assert await outcome(await client.window().submit(graph())) == "completed"
    assert [change.began for change in called[:2]] == [True, False][: len(called)]


async def test_a_companion_that_stumbles_falls_alone(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stumbles(Companion):
        async def run(self) -> None:
            raise RuntimeError("stumbled")

    async with FakeComfy() as comfy, Client(comfy.url, log=log, policy=QUICK) as client:
        client.accompany(Stumbles())
        assert await outcome(await client.window().submit(graph())) == "completed"
    assert "stumbled" in caplog.text
