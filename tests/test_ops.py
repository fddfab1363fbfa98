"""Tests of what operators load: rules and dashboard name existing metrics, follow from tables, and fire when they
must.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_fsm.__main__ import main
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.alerts import ALERTS, Alert, Watch
from comfy_fsm.core.metrics.catalogue import METRICS, Figures, Reading
from comfy_fsm.core.registry.counters import WAITS, Histogram
from ops import render
from ops.cases import CASES, WELL, Case
from ops.panels import PANELS

ROOT = Path(__file__).resolve().parents[1]
OPS = ROOT / "ops"
STEP = 15
PROMTOOL = shutil.which("promtool")
PACKED = ROOT / "comfy_fsm" / "ops"
DASHBOARD = json.loads((PACKED / "dashboard.json").read_text(encoding="utf-8"))
PANELS_DRAWN = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_alert = pytest.mark.parametrize("alert", ALERTS.values(), ids=lambda alert: alert.name)


def needs_promtool() -> str:
    """Its path; absent, this is skipped, unless whoever runs the tests says that it must be there."""
    if PROMTOOL is None:
        if "promtool" in os.environ.get("COMFY_FSM_REQUIRES", ""):
            pytest.fail("COMFY_FSM_REQUIRES names promtool, and it is not installed")
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return PROMTOOL


@pytest.mark.parametrize("name", render.FILES)
def test_a_file_is_what_its_table_gives(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == render.FILES[name](), "run python -m ops.render"


# every query, wherever it stands


def queries() -> Iterator[tuple[str, str]]:
    for alert in ALERTS.values():
        yield alert.name, render.expression(alert)
    for panel in PANELS_DRAWN:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"][1:]:
        yield variable["name"], variable["query"]


def series_of(query: str) -> Iterator[tuple[str, set[str]]]:
    """The series that a query names, each with the labels by which it chooses."""
    for name, chosen in re.findall(r"\b(comfy_fsm_\w+)(?:\{([^}]*)\})?", query):
        yield name, set(re.findall(r"(\w+)=~?\"", chosen))


def exposed() -> dict[str, set[str]]:
    """The series of a scrape, with their labels; Prometheus adds job and instance."""
    found: dict[str, set[str]] = {}
    for metric in METRICS.values():
        names = [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")] if metric.kind == "histogram" else []
        for name in names or [metric.name]:
            found[name] = {"job", "instance", *metric.labels, *(["le"] if name.endswith("_bucket") else [])}
    return found


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_every_metric_that_is_asked_for_exists_with_its_labels(where: str, query: str) -> None:
    asked = list(series_of(query))
    assert asked, where
    for name, labels in asked:
        assert name in exposed()
        assert labels <= exposed()[name], name
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", query) for label in re.split(r",\s*", group)}
    assert grouped <= set.union(*(exposed()[name] for name, _ in asked))


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_counter_is_never_read_but_as_a_growth_and_a_gauge_never_so(where: str, query: str) -> None:
    for name, _ in series_of(query):
        gauge = name in METRICS and METRICS[name].kind == "gauge"
        grown = re.search(rf"(?:increase|rate)\({name}", query) is not None
        assert grown is not gauge, where


def test_no_metric_goes_unseen() -> None:
    shown = {name for panel in PANELS_DRAWN for target in panel["targets"] for name, _ in series_of(target["expr"])}
    unseen = {name for name in METRICS if not shown & {name, f"{name}_bucket"}}
    # What is known as a share of a counter, and what tells only how large a process is.
    assert unseen == {
        "comfy_fsm_completion_rate", "comfy_fsm_recovery_rate", "comfy_fsm_tasks", "comfy_fsm_tasks_reopened_total"
    }  # fmt: skip


# the page


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "reference" / "figures.md").read_text(encoding="utf-8")


def test_the_table_of_metrics_is_that_of_the_code(page: str) -> None:
    rows = [
        f"| `{metric.name}` | {metric.kind} | {' '.join(f'`{label}`' for label in metric.labels) or '–'} "
        f"| {metric.meaning} |"
        for metric in METRICS.values()
    ]
    assert page.partition("<!-- metrics -->\n")[2].partition("<!-- /metrics -->")[0].splitlines()[2:] == rows


def test_the_table_of_alerts_is_that_of_the_code(page: str) -> None:
    rows = [
        f"| `{alert.name}` | {alert.severity} | {alert.summary} | {render.span(alert.lasting)} | {alert.advice} |"
        for alert in ALERTS.values()
    ]
    assert page.partition("<!-- alerts -->\n")[2].partition("<!-- /alerts -->")[0].splitlines()[2:] == rows


def test_the_page_names_every_attribute_of_a_span(page: str) -> None:
    source = (ROOT / "comfy_fsm" / "live" / "extras" / "tracing.py").read_text(encoding="utf-8")
    attributes = re.findall(r'"(comfyui\.\w+)"', source)
    assert len(attributes) > 5
    assert [name for name in attributes if f"`{name}`" not in page] == []


# the dashboard


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == list(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        where = panel["gridPos"]
        assert where["x"] + where["w"] <= render.COLUMNS
        cells = {(x, y) for x in range(where["x"], where["x"] + where["w"])
                 for y in range(where["y"], where["y"] + where["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", PANELS_DRAWN, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict) -> None:
    assert len(panel["description"]) > 10
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert panel["datasource"]["uid"] == "${source}"
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("name", [*render.FILES, "ops/README.md"])
def test_nothing_here_names_a_foreign_host(name: str) -> None:
    hosts = set(re.findall(r"https?://([^/\s:\"'`]+)", (ROOT / name).read_text(encoding="utf-8")))
    assert hosts <= {"a", "b", "127.0.0.1"}


# the rules


def test_promtool_takes_the_rules() -> None:
    found = subprocess.run(
        [needs_promtool(), "check", "rules", "alerts.yml"], cwd=PACKED, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert f"{len(ALERTS)} rules found" in found.stdout + found.stderr


def test_promtool_finds_each_alert_to_fire_when_it_must_and_no_other() -> None:
    found = subprocess.run(
        [needs_promtool(), "test", "rules", "alerts.test.yml"], cwd=OPS, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_promtool_takes_what_the_exporter_writes(tmp_path: Path) -> None:
    from comfy_fsm.live.extras.prometheus import exposition

    text = exposition(Figures(Board(), ["http://a"]).read(0.0))
    found = subprocess.run([needs_promtool(), "check", "metrics"], input=text, capture_output=True, text=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_the_rules_have_the_names_and_severities_of_the_table() -> None:
    text = (PACKED / "alerts.yml").read_text(encoding="utf-8")
    found = re.findall(r"- alert: (\w+)\n.*?labels: \{severity: (\w+)\}", text, re.DOTALL)
    assert found == [(alert.name, alert.severity) for alert in ALERTS.values()]


@each_alert
def test_an_alert_has_a_case_that_raises_it_and_says_what_to_do(alert: Alert) -> None:
    assert any(alert.name in case.raises for case in CASES)
    assert alert.summary.endswith(".")
    assert alert.advice.endswith(".")
    assert (alert.over is None) is not (alert.under is None)


# the same without Prometheus


def values_of(notation: str) -> list[float]:
    """What promtool makes of `0+1x40 7 9x3`."""
    found: list[float] = []
    for word in notation.split():
        start, step, times = re.fullmatch(r"([\d.]+)(?:\+([\d.]+))?(?:x(\d+))?", word).groups()
        found += [float(start) + n * float(step or 0) for n in range(int(times or 0) + 1)]
    return found


def readings_at(case: Case, index: int) -> list[Reading]:
    rows: dict[str, list] = {name: [] for name in METRICS}
    durations: dict[str, Histogram] = {}
    for series, notation in case.series.items():
        name, _, labels = series.partition("{")
        values = values_of(notation)
        value = values[min(index, len(values) - 1)]
        known = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if name in METRICS:
            rows[name].append((tuple(known[label] for label in METRICS[name].labels), value))
        else:
            name, _, part = name.rpartition("_")
            histogram = durations.setdefault(name, Histogram(WAITS))
            if part == "sum":
                histogram.sum = value
            else:
                histogram.counts[0] = int(value)
    rows |= {name: [((), histogram)] for name, histogram in durations.items()}
    return [Reading(METRICS[name], tuple(found)) for name, found in rows.items()]


@each_case
def test_the_callbacks_are_told_what_prometheus_is_told(case: Case) -> None:
    watch, held = Watch(), dict[str, str]()
    for index in range(int(case.at) // STEP + 1):
        for change in watch.update(index * STEP, readings_at(case, index)):
            assert (change.alert.name in held) is not change.began, "begins once, and ends once"
            if change.began:
                held[change.alert.name] = change.server or ""
            else:
                del held[change.alert.name]
    assert held == case.raises


def test_an_alert_ends_when_its_server_is_no_longer_told_of() -> None:
    alert = ALERTS["ComfyServerWedged"]
    watch = Watch([alert])
    metric = METRICS["comfy_fsm_server_stalled_seconds"]
    rows = ((("http://a",), 9999.0),)
    assert [change.began for change in watch.update(0.0, [Reading(metric, rows)])] == [True]
    (change,) = watch.update(1.0, [Reading(metric, ())])
    assert (change.began, change.server, change.value) == (False, "http://a", None)
    assert watch.update(2.0, [Reading(metric, ())]) == []


def test_a_clock_that_is_set_back_raises_nothing() -> None:
    watch, well = Watch(), Case("", WELL, 0, {})
    for now, index in [(1000.0, 0), (1015.0, 1), (5.0, 2), (20.0, 3), (1e9, 4)]:
        assert watch.update(now, readings_at(well, index)) == []


def test_a_watch_keeps_as_much_after_a_day_as_after_an_hour() -> None:
    watch, well = Watch(), Case("", WELL, 0, {})
    readings = readings_at(well, 0)
    for second in range(0, 86_400, 5):
        watch.update(float(second), readings)
        if second in (7_200, 86_395):
            kept = sum(len(series._kept) for series in watch._series.values())
            assert kept <= 125 * len(watch._series)


@pytest.mark.parametrize(("what", "name"), [("rules", "alerts.yml"), ("dashboard", "dashboard.json")])
def test_the_command_prints_what_operators_load(what: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops", what]) == 0
    assert capsys.readouterr().out == (PACKED / name).read_text(encoding="utf-8")
