"""Figures of what was told, as plain numbers."""

from __future__ import annotations

from collections.abc import Iterable

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.catalogue import METRICS, Figures, Reading
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.counters import Histogram
from comfy_fsm.testing.strategies.scripted import SERVERS


def told(seen_ones: Iterable[AnyObservation], servers: Iterable[str] = ()) -> Figures:
    figures = Figures(Board(), servers)
    for position, o in enumerate(seen_ones, 1):
        figures.board.fold_observation(position, o)
        figures.count(position, o)
    return figures


def numbers(readings: Iterable[Reading]) -> dict[tuple[str, ...], float]:
    """Every series, a histogram by its buckets, sum and count."""
    found: dict[tuple[str, ...], float] = {}
    for reading in readings:
        for labels, value in reading.rows:
            key = (reading.metric.name, *labels)
            if isinstance(value, Histogram):
                found[*key, "sum"], found[*key, "count"] = value.sum, value.count
                found |= {(*key, "bucket", str(index)): count for index, count in enumerate(value.counts)}
            else:
                found[key] = value
    return found


def check_growth(seen_ones: list[AnyObservation], step: int) -> None:
    figures, before = Figures(Board(), SERVERS[:1]), {}
    counted = {metric.name for metric in METRICS.values() if metric.kind != "gauge"}
    for position, o in enumerate(seen_ones, 1):
        figures.board.fold_observation(position, o)
        figures.count(position, o)
        if position % step == 0 or position == len(seen_ones):
            now = {k: v for k, v in numbers(figures.read(o.at)).items() if k[0] in counted}
            assert [key for key in before if now.get(key, -1.0) < before[key]] == []
            before = now


def quantile(histogram: Histogram, share: float) -> float:
    """The duration that this share did not exceed, between two bounds as a dashboard draws it."""
    wanted, below, floor = share * histogram.count, 0, 0.0
    for bound, count in zip((*histogram.bounds, histogram.longest), histogram.counts, strict=True):
        bound = max(floor, min(bound, histogram.longest))
        if count and below + count >= wanted:
            return floor + (bound - floor) * max(0.0, wanted - below) / count
        below, floor = below + count, bound
    return histogram.longest
