"""Tests of the metrics of a live client, over HTTP: equal to those of its log, also after a restart."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from comfy_fsm.cli.metrics import refolded
from comfy_fsm.core.metrics.catalogue import METRICS, Reading
from comfy_fsm.core.metrics.summary import measure
from comfy_fsm.errors import ClientError, MissingExtra
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.extras.prometheus import Endpoint, registry_of
from comfy_fsm.live.extras.tracing import Spans
from comfy_fsm.testing import FakeComfy, Faults
from replay import replay
from tests.support.scrapes import families, get
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
