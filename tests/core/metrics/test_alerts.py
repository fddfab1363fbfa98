"""Alerts: when a condition holds, for how long, and that its start and its end are told once each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.core.metrics.alerts import ALERTS, MINUTE, Alert, Sum, Watch
from comfy_fsm.core.metrics.catalogue import METRICS, Reading
from comfy_fsm.core.registry.counters import SECONDS, Histogram

LOST, FINDINGS = "comfy_fsm_tasks_settled_total", "comfy_fsm_findings_total"
REQUESTS, COMMIT = "comfy_fsm_requests_total", "comfy_fsm_log_commit_seconds"
Rows = dict[tuple[str, ...], float | Histogram]
Told = tuple[bool, str | None, float | None]


def readings(**rows: Rows) -> list[Reading]:
    """Readings of every metric; those that are not given have no rows."""
    return [Reading(metric, tuple(rows.get(name, {}).items())) for name, metric in METRICS.items()]


def alert(part: Sum, over: float | None = None, under: float | None = None, lasting: float = 0.0, **more: Sum) -> Alert:
    return Alert("A", "warning", part, over, under, lasting, "", "", **more)


def looked(one: Alert, *steps: tuple[float, dict[str, Rows]]) -> list[list[Told]]:
    watch = Watch([one])
    return [
        [(change.began, change.server, change.value) for change in watch.update(now, readings(**rows))]
        for now, rows in steps
    ]


def settled(lost: float, completed: float = 0.0) -> dict[str, Rows]:
    return {LOST: {("lost",): lost, ("completed",): completed}}


def requests(**counts: float) -> dict[str, Rows]:
    """Requests of two servers that were unanswered, and of the first that were answered."""
    known = {"a": 0.0, "b": 0.0, "answered": 0.0} | counts
    rows: Rows = {
        ("a", "unanswered"): known["a"],
        ("b", "unanswered"): known["b"],
        ("a", "answered"): known["answered"],
    }
    return {REQUESTS: rows}


def test_an_increase_is_told_once_and_once_when_it_left_the_window() -> None:
    one = alert(Sum(LOST, 10.0, only=("state", ("lost",))), over=0.0)
    told = looked(one, (0.0, settled(3)), (1.0, settled(4)), (2.0, settled(5)), (20.0, settled(5)), (30.0, settled(5)))
    assert told == [[], [(True, None, 1.0)], [], [(False, None, 0.0)], []]


def test_what_holds_for_less_than_it_must_last_is_not_told() -> None:
    one = alert(Sum("comfy_fsm_log_failed"), over=0.0, lasting=5.0)
    failing, well = {"comfy_fsm_log_failed": {(): 1.0}}, {"comfy_fsm_log_failed": {(): 0.0}}
    assert looked(one, (0.0, failing), (4.0, failing), (4.5, well), (5.0, failing), (9.0, failing)) == [[]] * 5
    assert looked(one, (0.0, failing), (5.0, failing))[1] == [(True, None, 1.0)]


def test_a_share_is_under_its_limit_only_where_there_is_something_to_share() -> None:
    part, whole = Sum(LOST, only=("state", ("completed",))), Sum(LOST)
    one = alert(part, under=0.9, of=whole)
    told = looked(one, (0.0, settled(0, 0)), (1.0, settled(1, 1)), (2.0, settled(0, 0)))
    assert told == [[], [(True, None, 0.5)], [(False, None, None)]]


def test_each_server_has_its_own_alert_and_an_excuse_silences_it() -> None:
    failed, answered = (
        Sum(REQUESTS, by_server=True, only=("result", (result,))) for result in ("unanswered", "answered")
    )
    one = alert(failed, over=0.0, unless=answered)
    told = looked(one, (0.0, requests(a=1, b=1)), (1.0, requests(a=1, b=1, answered=1)), (2.0, requests()))
    assert told == [[(True, "a", 1.0), (True, "b", 1.0)], [(False, "a", None)], [(False, "b", 0.0)]]


def test_a_clock_that_was_set_back_makes_no_increase() -> None:
    one = alert(Sum(LOST, 10.0), over=0.0)
    assert looked(one, (100.0, settled(5)), (50.0, settled(5)), (51.0, settled(5))) == [[], [], []]


@pytest.mark.parametrize(("part", "value"), [("sum", 3.0), ("count", 2.0)])
def test_a_histogram_is_counted_or_summed(part: str, value: float) -> None:
    histogram = Histogram(SECONDS)
    for seconds in (1.0, 2.0):
        histogram.observe(seconds)
    one = alert(Sum(f"{COMMIT}:{part}"), over=0.0)
    assert looked(one, (0.0, {COMMIT: {(): histogram}})) == [[(True, None, value)]]


@pytest.mark.parametrize("one", ALERTS.values(), ids=ALERTS)
def test_every_row_names_metrics_that_are_there_and_labels_that_they_have(one: Alert) -> None:
    for term in (one.part, one.of, one.unless):
        if term is not None:
            labels = METRICS[term.metric.partition(":")[0]].labels
            assert not term.by_server or "server" in labels
            assert term.only is None or term.only[0] in labels
    assert (one.over is None) is not (one.under is None)


counts = st.lists(st.tuples(st.floats(0.0, 2 * MINUTE), st.integers(0, 9)), max_size=12)


@given(counts)
def test_no_alert_begins_twice_or_ends_before_it_began(steps: list[tuple[float, int]]) -> None:
    now, holds = 0.0, set[tuple[str, str | None]]()
    watch = Watch()
    for later, count in steps:
        now += later
        for change in watch.update(now, readings(**requests(a=count), **{FINDINGS: {("wrong-server",): float(count)}})):
            key = (change.alert.name, change.server)
            assert (key in holds) is not change.began
            holds ^= {key}
