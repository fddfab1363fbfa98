"""The figures of every fixture: they add up, agree with its report, and never fall while it is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from comfy_fsm.core.machine import SETTLED
from comfy_fsm.core.metrics.catalogue import Figures
from comfy_fsm.core.metrics.summary import measure
from comfy_fsm.core.registry.counters import SECONDS
from replay import replay
from tests.support.figures import check_growth, numbers, quantile, told
from tests.support.fixtures import MADE, RECORDINGS, entries_of, expected_of, name_of


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
    exact = metrics.p95_seconds
    assert exact is not None
    below = max((bound for bound in (0.0, *SECONDS) if bound < exact), default=0.0)
    above = min((bound for bound in SECONDS if bound >= exact), default=math.inf)
    assert below <= quantile(seconds, 0.95) <= above


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
