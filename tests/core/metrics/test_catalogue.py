"""The figures of any trace: they add up, agree with the report, only grow, and take no word from a trace."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import CODES
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import OPEN, SETTLED
from comfy_fsm.core.metrics.catalogue import FRAMES, KINDS, METRICS, OTHER, TIERS, Figures, Reading
from comfy_fsm.core.metrics.summary import measure
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.counters import ANSWERS, CONFIDENCES, LOOKS, RECONNECTS, SECONDS, SOURCES, Histogram
from comfy_fsm.live.extras.prometheus import exposition
from comfy_fsm.testing.strategies import observations, true_runs
from comfy_fsm.testing.strategies.scripted import SERVERS, TrueRun
from replay import replay
from tests.support.fixtures import MADE, RECORDINGS, entries_of, expected_of, name_of

HOSTILE = ['"} 1\nevil 2', "a\\b", "\x1b[31m", "\u202e", "", "\ud800", "http://127.0.0.1:8188"]
CLOSED: dict[str, set[str]] = {
    "state": {str(state) for state in (*OPEN, *SETTLED)},
    "source": set(SOURCES),
    "confidence": set(CONFIDENCES),
    "code": set(CODES),
    "result": {*LOOKS, *ANSWERS},
    "reason": set(RECONNECTS),
    "tier": set(TIERS),
    "type": set(FRAMES),
    "kind": set(KINDS),
}


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


def of(path: Path) -> Figures:
    return told(entry.observation for entry in entries_of(path))


each_fixture = pytest.mark.parametrize("path", RECORDINGS + MADE, ids=name_of)
each_recording = pytest.mark.parametrize("path", RECORDINGS, ids=name_of)


@each_fixture
def test_the_figures_of_a_trace_agree_with_its_report(path: Path) -> None:
    figures = of(path)
    figures.board.finish()
    metrics, now = measure(figures.board), numbers(figures.read(figures.board.now))
    rates = {
        "comfy_fsm_completion_rate": metrics.completion_rate,
        "comfy_fsm_recovery_rate": metrics.recovery_rate,
        "comfy_fsm_server_consistency": metrics.server_consistency,
        "comfy_fsm_attribution": metrics.attribution,
    }
    for name, rate in rates.items():
        assert now.get((name,)) == (None if rate is None else pytest.approx(rate, abs=1e-6)), name
    assert now["comfy_fsm_recoveries_total",] == metrics.recoveries
    assert now["comfy_fsm_tasks",] == metrics.tasks
    assert metrics == replay(path).metrics


@each_fixture
def test_the_figures_of_a_trace_add_up(path: Path) -> None:
    figures = of(path)
    board, now = figures.board, numbers(figures.read(figures.board.now))

    def total(name: str, *labels: str) -> float:
        return sum(value for key, value in now.items() if key[0] == f"comfy_fsm_{name}" and set(labels) <= set(key))

    settled = sum(task.settled for task in board.tasks)
    assert total("tasks_settled_total") == total("completions_total") == settled + total("tasks_reopened_total")
    assert total("tasks_open") == len(board.tasks) - settled
    assert total("task_seconds", "count") <= total("tasks_settled_total", "completed")
    assert total("recoveries_total") <= total("recoveries_needed_total") <= len(board.tasks)
    assert total("observations_total") == len(entries_of(path))
    assert total("frames_total") == total("observations_total", "ws.message")
    assert total("requests_total") <= total("observations_total", "http.request")
    assert total("request_seconds", "count") <= total("requests_total")
    assert total("reconnects_total") == total("socket_gap_seconds", "count")
    assert total("claimed_frames_total") <= total("strange_frames_total")
    assert total("tasks_silent", "warn") <= total("tasks_silent", "check") <= total("tasks_open")
    assert all(value >= 0 for value in now.values())


@each_recording
def test_quantiles_live_are_those_of_the_report_as_far_as_the_bounds_tell(path: Path) -> None:
    figures = of(path)
    metrics, seconds = measure(figures.board), figures.board.registry.counters.seconds
    if not seconds.count:
        assert metrics.mean_seconds is None
        return
    assert seconds.sum / seconds.count == pytest.approx(metrics.mean_seconds, abs=1e-5)
    exact, told_live = metrics.p95_seconds, seconds.quantile(0.95)
    assert exact is not None
    assert told_live is not None
    below = max((bound for bound in (0.0, *SECONDS) if bound < exact), default=0.0)
    above = min((bound for bound in SECONDS if bound >= exact), default=math.inf)
    assert below <= told_live <= above


def test_of_the_ends_that_servers_told_in_all_recordings_99_of_100_are_detected() -> None:
    ended = found = 0
    for path in RECORDINGS:
        tasks = {task.prompt_id: task for task in replay(path).tasks}
        for prompt_id, wanted in expected_of(path)["tasks"].items():
            if wanted.get("truth") in ("completed", "failed", "cancelled") and wanted["state"] in SETTLED:
                ended += 1
                found += tasks[prompt_id].state == wanted["truth"]
    assert ended > 300
    assert found / ended >= 0.99


@each_recording
def test_messages_and_answers_are_credited_to_the_right_tasks_wherever_a_trace_allows_it(path: Path) -> None:
    codes, metrics = set(expected_of(path)["findings"]), replay(path).metrics
    if "unknown-prompt" not in codes:
        assert metrics.attribution in (1.0, None)
    if "wrong-server" not in codes:
        assert metrics.server_consistency in (1.0, None)


@each_recording
def test_a_counter_never_falls_while_a_trace_is_told(path: Path) -> None:
    check_growth([entry.observation for entry in entries_of(path)], step=25)


@given(true_runs(), st.lists(observations(), max_size=20))
def test_a_counter_never_falls_whatever_is_told(run: TrueRun, odd: list[AnyObservation]) -> None:
    mixed = sorted([*run.observations, *odd], key=lambda o: o.at)
    check_growth(mixed, step=1)


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


hostile_ones = st.one_of(
    observations(),
    st.builds(
        seen.Message, at=st.floats(), window=st.sampled_from(HOSTILE), server=st.sampled_from(HOSTILE),
        data=st.builds(seen.UnrecognizedFrame, st.sampled_from(HOSTILE), st.sampled_from(HOSTILE)),
    ),
    st.builds(
        seen.Opened, at=st.floats(), window=st.sampled_from(HOSTILE), server=st.sampled_from(HOSTILE)),
    st.builds(
        seen.Closed, at=st.floats(), window=st.sampled_from(HOSTILE), server=st.sampled_from(HOSTILE),
        data=st.builds(seen.CloseData, st.none() | st.integers())),
    st.builds(
        seen.Request, at=st.floats(), window=st.sampled_from(HOSTILE), server=st.sampled_from(HOSTILE),
        data=st.builds(seen.RequestData, st.sampled_from(HOSTILE), st.sampled_from(HOSTILE), st.sampled_from(HOSTILE))),
    st.builds(
        seen.Response, at=st.floats(), window=st.sampled_from(HOSTILE), server=st.sampled_from(HOSTILE),
        data=st.builds(seen.ResponseData, st.sampled_from(HOSTILE), st.integers())),
    st.builds(
        seen.Command, at=st.floats(), window=st.sampled_from(HOSTILE), server=st.sampled_from(HOSTILE),
        data=st.builds(seen.CommandData, st.sampled_from(("resume", *HOSTILE)))),
)  # fmt: skip


@given(st.lists(hostile_ones, max_size=40), st.floats())
def test_whatever_a_trace_says_labels_stay_within_our_own_words_and_the_text_parses(
    line: list[AnyObservation], now: float
) -> None:
    configured = "http://127.0.0.1:8188"
    readings = told(line, [configured]).read(now)
    found = {
        (label, value)
        for reading in readings
        for labels, _ in reading.rows
        for label, value in zip(reading.metric.labels, labels, strict=True)
    }
    assert {value for label, value in found if label == "server"} <= {configured, OTHER}
    assert [pair for pair in found if pair[0] != "server" and pair[1] not in CLOSED[pair[0]]] == []
    families = list(text_string_to_metric_families(exposition(readings)))
    assert {family.name for family in families} == {name.removesuffix("_total") for name in METRICS}


def test_a_thousand_servers_and_windows_make_no_more_series_than_one() -> None:
    def line(names: int) -> list[AnyObservation]:
        return [seen.Opened(at=float(n), window=f"w{n}", server=f"http://s{n}") for n in range(names)]

    assert len(numbers(told(line(1000)).read(1.0))) == len(numbers(told(line(1)).read(1.0)))


def test_a_server_that_is_configured_has_its_series_before_it_has_any_count() -> None:
    now = numbers(told([], ["http://a"]).read(0.0))
    assert now["comfy_fsm_requests_total", "http://a", "unanswered"] == 0
    assert now["comfy_fsm_reconnects_total", "http://a", "abnormal"] == 0


def test_an_entry_is_counted_once() -> None:
    figures, opened = Figures(Board()), seen.Opened(at=1.0, window="w", server="http://a")
    for _ in range(3):
        figures.board.fold_observation(1, opened)
        figures.count(1, opened)
    assert numbers(figures.read(1.0))["comfy_fsm_observations_total", "ws.open"] == 1


# what a trace must have said for a figure to be what it is


def follow(*steps: tuple[type, float, dict]) -> dict[tuple[str, ...], float]:
    line = [kind(at=at, window="w", server="http://a", **data) for kind, at, data in steps]
    return numbers(told(line, ["http://a"]).read(100.0))


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, "normal"), (1006, "abnormal"), (1012, "restart"), (4711, "other"), (None, "other")]
)
def test_a_gap_lasts_from_the_end_of_a_socket_to_its_next_opening(code: int | None, reason: str) -> None:
    now = follow(
        (seen.Opened, 1.0, {}), (seen.Closed, 2.0, {"data": seen.CloseData(code)}), (seen.Opened, 5.0, {})
    )  # fmt: skip
    assert now["comfy_fsm_socket_gap_seconds", "sum"] == 3.0
    assert now["comfy_fsm_reconnects_total", "http://a", reason] == 1
    assert now["comfy_fsm_sockets_open", "http://a"] == 1


def test_a_socket_of_a_process_that_died_was_away_since_it_last_heard_something() -> None:
    now = follow(
        (seen.Opened, 1.0, {}),
        (seen.Message, 4.0, {"data": seen.Status()}),
        (seen.Command, 60.0, {"data": seen.CommandData("resume")}),
        (seen.Opened, 61.0, {}),
    )
    assert now["comfy_fsm_socket_gap_seconds", "sum"] == 57.0
    assert now["comfy_fsm_reconnects_total", "http://a", "resumed"] == 1


@pytest.mark.parametrize(
    ("status", "result"), [(200, "answered"), (302, "answered"), (404, "refused"), (502, "failed")]
)
def test_a_request_is_counted_by_how_it_ended(status: int, result: str) -> None:
    asked = {"data": seen.RequestData("r", "GET", "/queue")}
    now = follow((seen.Request, 1.0, asked), (seen.Response, 1.5, {"data": seen.ResponseData("r", status)}))
    assert now["comfy_fsm_requests_total", "http://a", result] == 1
    assert now["comfy_fsm_request_seconds", "http://a", "sum"] == 0.5


def test_a_request_without_an_answer_has_no_latency_and_no_answer_that_comes_late_counts() -> None:
    asked = {"data": seen.RequestData("r", "GET", "/queue")}
    late = {"data": seen.ResponseData("r", 200)}
    now = follow(
        (seen.Request, 1.0, asked), (seen.NoAnswer, 2.0, {"data": seen.NoAnswerData("r")}), (seen.Response, 3.0, late)
    )
    assert now["comfy_fsm_requests_total", "http://a", "unanswered"] == 1
    assert now["comfy_fsm_requests_total", "http://a", "answered"] == 0
    assert now["comfy_fsm_request_seconds", "http://a", "count"] == 0


def test_a_server_stands_still_since_its_last_sign_while_it_holds_a_task() -> None:
    started = {"data": seen.ExecutionStart(seen.StartData("p"))}
    ran = {"data": seen.Executing(seen.ExecutingData("p", "1"))}
    assert follow((seen.Message, 10.0, started))["comfy_fsm_server_stalled_seconds", "http://a"] == 90
    assert follow((seen.Message, 10.0, started), (seen.Message, 40.0, ran), (seen.Message, 70.0,
                  {"data": seen.Status()}))["comfy_fsm_server_stalled_seconds", "http://a"] == 60  # fmt: skip
    assert follow()["comfy_fsm_server_stalled_seconds", "http://a"] == 0


# histograms

durations = st.lists(st.floats(0.0, 10_000.0), min_size=1, max_size=60)


@given(durations, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@example([3601.0, 3601.0, 6330.873512224208], 0.0, 1.0)
def test_a_quantile_grows_with_its_share_within_what_was_seen(seen_ones: list[float], a: float, b: float) -> None:
    histogram = Histogram(SECONDS)
    for seconds in seen_ones:
        histogram.observe(seconds)
    low, high = histogram.quantile(min(a, b)), histogram.quantile(max(a, b))
    assert low is not None
    assert high is not None
    assert 0.0 <= low <= high <= max(seen_ones)
    assert histogram.count == len(seen_ones)


@given(durations, durations)
def test_histograms_add_up(some: list[float], others: list[float]) -> None:
    one, other, both = Histogram(SECONDS), Histogram(SECONDS), Histogram(SECONDS)
    for histogram, values in ((one, some), (other, others), (both, some + others)):
        for value in values:
            histogram.observe(value)
    one.add(other)
    assert (one.counts, one.longest) == (both.counts, both.longest)
    assert one.sum == pytest.approx(both.sum)


@pytest.mark.parametrize("odd", [math.nan, -1.0, -math.inf, math.inf, 1e308])
def test_no_time_of_a_trace_makes_a_sum_anything_but_a_number(odd: float) -> None:
    histogram = Histogram(SECONDS)
    histogram.observe(odd)
    assert 0.0 <= histogram.sum < 1e10
    assert histogram.count == 1


def test_jobs_that_wait_and_servers_that_are_drained_are_told() -> None:
    def asked(name: str, **data: object) -> dict:
        return {"data": seen.CommandData(name, **data)}  # type: ignore[arg-type]

    now = follow(
        (seen.Command, 40.0, asked("enqueue", prompt_id="p1")),
        (seen.Command, 70.0, asked("enqueue", prompt_id="p2")),
        (seen.Command, 80.0, asked("drain")),
    )
    assert now["comfy_fsm_jobs_waiting",] == 2
    assert now["comfy_fsm_jobs_oldest_seconds",] == 60
    assert now["comfy_fsm_server_drained", "http://a"] == 1
