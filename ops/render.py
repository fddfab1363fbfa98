"""Write the files of this folder that follow from tables: `python -m ops.render`.

    core/metrics/alerts.py  ─► comfy_fsm/ops/alerts.yml      the rules of Prometheus
    ops/cases.py            ─► ops/alerts.test.yml           recorded series, each with the alerts that they must raise
    ops/panels.py           ─► comfy_fsm/ops/dashboard.json  the dashboard of Grafana

A test holds the files against what this writes.
"""

from __future__ import annotations

import json
from pathlib import Path

from comfy_fsm.core.metrics.alerts import ALERTS, Alert, Sum
from ops.cases import CASES, Case
from ops.panels import PANELS, Panel

ROOT = Path(__file__).resolve().parents[1]
COLUMNS, HEIGHT = 24, 8  # of a dashboard, and of a panel
DO_NOT_EDIT = "# Written by `python -m ops.render`; a change made here is lost.\n"


def span(seconds: float) -> str:
    """A duration as Prometheus writes it."""
    hours, minutes = divmod(seconds, 3600)[0], divmod(seconds, 60)[0]
    if seconds and seconds % 3600 == 0:
        return f"{hours:.0f}h"
    return f"{minutes:.0f}m" if seconds and seconds % 60 == 0 else f"{seconds:.0f}s"


# rules


def summed(term: Sum) -> str:
    name, _, part = term.metric.partition(":")
    only = f'{{{term.only[0]}=~"{"|".join(term.only[1])}"}}' if term.only else ""
    series = f"{name}_{part}{only}" if part else f"{name}{only}"
    grown = f"increase({series}[{span(term.within)}])" if term.within else series
    return f"sum by (job, instance{', server' if term.by_server else ''}) ({grown})"


def expression(alert: Alert) -> str:
    compared = summed(alert.part) + (f" / {summed(alert.of)}" if alert.of else "")
    limit = f"> {alert.over:g}" if alert.over is not None else f"< {alert.under:g}"
    told = f"{compared} {limit}"
    return told if alert.unless is None else f"({told}) unless ({summed(alert.unless)} > 0)"


def summary(alert: Alert) -> str:
    return f"{alert.summary} ({{{{ $labels.server }}}})" if alert.part.by_server else alert.summary


def rules() -> str:
    lines = [DO_NOT_EDIT + "groups:", "  - name: comfy-fsm", "    rules:"]
    for alert in ALERTS.values():
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {json.dumps(expression(alert))}",
            f"        for: {span(alert.lasting)}",
            f"        labels: {{severity: {alert.severity}}}",
            "        annotations:",
            f"          summary: {json.dumps(summary(alert))}",
            f"          description: {json.dumps(alert.advice)}",
        ]
    return "\n".join(lines) + "\n"


# their tests


def tests() -> str:
    lines = [DO_NOT_EDIT + "rule_files: [../comfy_fsm/ops/alerts.yml]", "evaluation_interval: 15s", "tests:"]
    for case in CASES:
        lines += [f"  - name: {json.dumps(case.name)}", "    interval: 15s", "    input_series:"]
        for series, values in case.series.items():
            lines.append(f"      - {{series: {json.dumps(_with_instance(series))}, values: {json.dumps(values)}}}")
        lines.append("    alert_rule_test:")
        for alert in ALERTS.values():
            fires = alert.name in case.raises
            lines.append(f"      - eval_time: {span(case.at)}")
            lines.append(f"        alertname: {alert.name}")
            lines.append("        exp_alerts:" + ("" if fires else " []"))
            lines += _expected(alert, case) if fires else []
    return "\n".join(lines) + "\n"


def _with_instance(series: str) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{job="comfy", instance="bot"{", " + labels if labels else "}"}'


def _expected(alert: Alert, case: Case) -> list[str]:
    server = case.raises[alert.name]
    labels = {"severity": alert.severity, "job": "comfy", "instance": "bot"} | ({"server": server} if server else {})
    told = summary(alert).replace("{{ $labels.server }}", server)
    return [
        f"          - exp_labels: {json.dumps(labels)}",
        f"            exp_annotations: {json.dumps({'summary': told, 'description': alert.advice})}",
    ]


# the dashboard


def dashboard() -> str:
    panels: list[dict[str, object]] = []
    top = 0
    for row, members in PANELS.items():
        panels.append({
            "id": len(panels) + 1, "type": "row", "title": row, "collapsed": False, "panels": [],
            "description": "", "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top},
        })  # fmt: skip
        top += 1
        left = 0
        for panel in members:
            if left + panel.width > COLUMNS:
                left, top = 0, top + HEIGHT
            where = {"h": HEIGHT, "w": panel.width, "x": left, "y": top}
            panels.append(drawn(panel, len(panels) + 1, where))
            left += panel.width
        top += HEIGHT
    return json.dumps(FRAME | {"panels": panels}, indent=1, ensure_ascii=False) + "\n"


SOURCE = {"type": "prometheus", "uid": "${source}"}


def variable(name: str, label: str, query: str) -> dict[str, object]:
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
        "multi": True, "includeAll": True, "allValue": ".*", "query": query,
    }  # fmt: skip


FRAME: dict[str, object] = {
    "uid": "comfy-fsm",
    "title": "comfy-fsm",
    "description": "Tasks at ComfyUI servers: whether each end is known, and on what evidence.",
    "tags": ["comfyui"],
    "schemaVersion": 39,
    "version": 1,
    "editable": True,
    "refresh": "30s",
    "time": {"from": "now-6h", "to": "now"},
    "templating": {
        "list": [
            {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
            variable("instance", "Process", "label_values(comfy_fsm_tasks, instance)"),
            variable("server", "Server", "label_values(comfy_fsm_sockets_open, server)"),
        ]
    },
    "annotations": {"list": []},
    "links": [],
}


def drawn(panel: Panel, number: int, where: dict[str, int]) -> dict[str, object]:
    defaults: dict[str, object] = {"unit": panel.unit, "min": 0}
    if panel.unit == "percentunit":
        defaults["max"] = 1
    if panel.worst is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": panel.worst}]
        if panel.unit == "percentunit":
            steps = [{"color": "red", "value": None}, {"color": "green", "value": panel.worst}]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults["color"] = {"mode": "thresholds"}
    return {
        "id": number, "type": panel.kind, "title": panel.title, "description": panel.description,
        "datasource": SOURCE, "gridPos": where, "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(65 + index), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }  # fmt: skip


FILES = {
    "comfy_fsm/ops/alerts.yml": rules,
    "ops/alerts.test.yml": tests,
    "comfy_fsm/ops/dashboard.json": dashboard,
}

if __name__ == "__main__":
    for name, render in FILES.items():
        (ROOT / name).write_text(render(), encoding="utf-8")
