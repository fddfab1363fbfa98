"""Prometheus metrics: a collector that reads them when scraped, and an endpoint that serves them.

    client.accompany(Endpoint(client.readings, 9464))

Needs the extra `prometheus`. The names and labels are those of the table in `core/metrics/catalogue.py`.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from comfy_fsm.core.metrics.catalogue import METRICS, Metric, Reading
from comfy_fsm.core.registry.counters import Histogram
from comfy_fsm.errors import ClientError, MissingExtra
from comfy_fsm.live.client.companion import Companion

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

__all__ = ["Collector", "Endpoint", "Source", "exposition", "registry_of"]

_PATIENCE = 5.0  # seconds that a scrape waits for a busy loop; Prometheus itself gives up after ten

Source = Callable[[], list[Reading]]


class Collector:
    """Collector of the metrics for a registry of Prometheus."""

    def __init__(self, readings: Source) -> None:
        self._readings = readings

    def describe(self) -> Iterator[Family]:
        return (_family(metric, ()) for metric in METRICS.values())

    def collect(self) -> Iterator[Family]:
        return (_family(reading.metric, reading.rows) for reading in self._readings())


def _family(metric: Metric, rows: Iterable[tuple[tuple[str, ...], float | Histogram]]) -> Family:
    from prometheus_client import core

    histograms = core.HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    plain = core.CounterMetricFamily if metric.kind == "counter" else core.GaugeMetricFamily
    numbers = plain(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in rows:
        if isinstance(value, Histogram):
            histograms.add_metric(labels, _buckets(value), value.sum)
        else:
            numbers.add_metric(labels, value)
    return histograms if metric.kind == "histogram" else numbers


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return cumulative buckets, as Prometheus expects them."""
    total, found = 0, []
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found


def registry_of(readings: Source, registry: CollectorRegistry | None = None) -> CollectorRegistry:
    """Return the registry with these metrics added, or a new one; raises MissingExtra."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError as error:
        raise MissingExtra("prometheus", "no metrics can be exported") from error
    registry = registry or CollectorRegistry()
    registry.register(Collector(readings))
    return registry


def exposition(readings: list[Reading]) -> str:
    """Return the text that a scrape of these readings gets."""
    registry = registry_of(lambda: readings)
    from prometheus_client import generate_latest

    return generate_latest(registry).decode()


class Endpoint(Companion):
    """HTTP endpoint `http://HOST:PORT/metrics`, open until the client is closed; create it in the client's loop.

    With a `registry` of yours, the metrics are added to it. Raises ClientError if the port is not available, and
    MissingExtra.
    """

    def __init__(
        self, readings: Source, port: int, host: str = "127.0.0.1", *, registry: CollectorRegistry | None = None
    ) -> None:
        self._readings = readings
        self._loop, self._home = asyncio.get_running_loop(), threading.current_thread()
        registry = registry_of(self._read, registry)
        from prometheus_client import start_http_server

        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, OverflowError) as error:
            taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            why = "the port is in use already" if taken else str(error)
            raise ClientError(
                f"{host}:{port} cannot serve metrics ({why}), so there are none; choose another port, or 0 for any"
            ) from error
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._server.server_port}/metrics"

    def _read(self) -> list[Reading]:
        """Read the metrics in the loop, since a board must not be read from another thread."""
        if threading.current_thread() is self._home:  # a registry of the application's, which it reads itself
            return self._readings()
        answer: Future[list[Reading]] = Future()

        def read() -> None:
            try:
                answer.set_result(self._readings())
            except Exception as error:
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(read)
        return answer.result(_PATIENCE)

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
