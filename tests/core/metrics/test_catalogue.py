"""Tests of metrics on any trace: they add up, agree with the report, only grow, and take no word from a trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from comfy_fsm.core import observations as seen
from comfy_fsm.core.findings import CODES
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import OPEN, SETTLED
from comfy_fsm.core.metrics.catalogue import FRAMES, KINDS, METRICS, OTHER, TIERS, Figures
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.counters import ANSWERS, CONFIDENCES, LOOKS, RECONNECTS, SOURCES
from comfy_fsm.live.extras.prometheus import exposition
from comfy_fsm.testing.strategies import observations, true_runs
from comfy_fsm.testing.strategies.scripted import TrueRun
from tests.support.examples import few
from tests.support.figures import check_growth, numbers, told

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


@few
@given(true_runs(), st.lists(observations(), max_size=20))
def test_a_counter_never_falls_whatever_is_told(run: TrueRun, odd: list[AnyObservation]) -> None:
    mixed = sorted([*run.observations, *odd], key=lambda o: o.at)
    check_growth(mixed, step=1)


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


@few
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


def test_jobs_that_wait_and_servers_that_are_drained_are_told() -> None:
    def asked(name: str, **data: object) -> dict:
        return {"data": seen.CommandData(name, **data)}

    now = follow(
        (seen.Command, 40.0, asked("enqueue", prompt_id="p1")),
        (seen.Command, 70.0, asked("enqueue", prompt_id="p2")),
        (seen.Command, 80.0, asked("drain")),
    )
    assert now["comfy_fsm_jobs_waiting",] == 2
    assert now["comfy_fsm_jobs_oldest_seconds",] == 60
    assert now["comfy_fsm_server_drained", "http://a"] == 1
