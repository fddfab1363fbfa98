"""Alerts: a table of conditions on the metrics, and which of them hold at a time.

The Prometheus rules in ops/ are written from the same table, so the two agree. Without Prometheus, call `Watch` from
time to time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from comfy_fsm.core.findings import Code
from comfy_fsm.core.metrics.catalogue import METRICS, Reading
from comfy_fsm.core.registry.counters import Histogram

__all__ = ["ALERTS", "HOUR", "MINUTE", "Alert", "Change", "Sum", "Watch"]

MINUTE = 60.0
HOUR = 60 * MINUTE
_STEPS = 120
"""Readings kept for a window: more than a scrape every 15 s yields in half an hour."""


class Sum(Struct, frozen=True):
    """Metric summed over all its labels except those named; of a counter, its increase within a window."""

    metric: str
    within: float = 0.0
    """Window in seconds; 0 for the value as it is."""
    by_server: bool = False
    only: tuple[str, tuple[str, ...]] | None = None
    """Label, and its values that are counted."""

    def values(self, readings: dict[str, Reading]) -> dict[str, float]:
        """Return the sums by server, or under the empty name."""
        name, _, part = self.metric.partition(":")
        found: dict[str, float] = {}
        for labels, value in readings[name].rows:
            known = dict(zip(METRICS[name].labels, labels, strict=True))
            if self.only is None or known[self.only[0]] in self.only[1]:
                key = known["server"] if self.by_server else ""
                found[key] = found.get(key, 0.0) + _number(value, part)
        return found


class Alert(Struct, frozen=True):
    """Row of the table: `part`, as a share of `of` if given, is over or under the limit."""

    name: str
    severity: Literal["critical", "warning"]
    part: Sum
    over: float | None
    under: float | None
    lasting: float
    """Seconds for which it must hold before it is reported."""
    summary: str
    advice: str
    of: Sum | None = None
    unless: Sum | None = None
    """Suppresses the alert while above zero."""


class Change(Struct, frozen=True):
    """Start or end of an alert, with the `server` that it is about, if any."""

    alert: Alert
    began: bool
    server: str | None
    value: float | None
    """None if the alert ended because nothing was left to count."""
    at: float


def _number(value: float | Histogram, part: str) -> float:
    if isinstance(value, Histogram):
        return value.sum if part == "sum" else float(value.count)
    return value


def _rise(metric: str, within: float, label: str = "", *values: str, by_server: bool = False) -> Sum:
    return Sum(metric, within, by_server, (label, values) if label else None)


def _found(code: str, within: float) -> Sum:
    return _rise("comfy_fsm_findings_total", within, "code", code)


_SETTLED = "comfy_fsm_tasks_settled_total"
_REQUESTS = "comfy_fsm_requests_total"
_COMMIT = "comfy_fsm_log_commit_seconds"

ALERTS: dict[str, Alert] = {
    row.name: row
    for row in (
        # the truth of results
        Alert("ComfyCompletionsUndetected", "critical",
              _rise(_SETTLED, HOUR, "state", "completed", "failed", "cancelled", "rejected"), None, 0.99, 5 * MINUTE,
              "Less than 99 % of the tasks decided in an hour were decided by evidence of their end.",
              "Check the lost and the expired tasks: a server that restarts forgets its tasks.",
              of=_rise(_SETTLED, HOUR)),
        Alert("ComfyTasksLost", "critical", _rise(_SETTLED, 15 * MINUTE, "state", "lost"), 0.0, None, 0.0,
              "A server forgot a task.",
              "Find out why it restarted or cleared its history; then submit the task again."),
        Alert("ComfyTasksExpired", "critical", _rise(_SETTLED, 15 * MINUTE, "state", "expired"), 0.0, None, 0.0,
              "A task was given up after silence.",
              "Check whether its server still runs it; a recover command reopens it."),
        Alert("ComfyTasksSilent", "warning",
              Sum("comfy_fsm_tasks_silent", only=("tier", ("warn",))), 0.0, None, MINUTE,
              "Tasks showed no sign of life for longer than the warning tier.",
              "Check the queue of their server: a silent node is not necessarily dead."),
        Alert("ComfyServerInconsistent", "critical", _found(Code.WRONG_SERVER, HOUR), 0.0, None, 0.0,
              "A server that the task is not bound to was asked about it, or answered about it.",
              "Name each server by its own address, not by that of a balancer without cookies."),
        Alert("ComfyFramesUnattributed", "warning", _rise("comfy_fsm_claimed_frames_total", 15 * MINUTE), None, 1.0,
              5 * MINUTE,
              "Frames came about prompts that none of our windows posted.",
              "Another client uses this server; give each program a log and windows of its own.",
              of=_rise("comfy_fsm_strange_frames_total", 15 * MINUTE)),
        Alert("ComfySubmitsUncertain", "warning", _rise("comfy_fsm_uncertain_submits_total", 15 * MINUTE), 2.0, None,
              0.0,
              "More than two POSTs in a quarter of an hour had no clear answer.",
              "Check the server and what is in front of it; each of these is looked for, and none posted blindly."),
        # sockets
        Alert("ComfyRecoveriesFailing", "warning", _rise("comfy_fsm_recoveries_total", HOUR), None, 0.95, 10 * MINUTE,
              "Less than 95 % of the tasks that a socket failed were settled all the same.",
              "Check what their servers answer over HTTP.",
              of=_rise("comfy_fsm_recoveries_needed_total", HOUR)),
        Alert("ComfySocketsDeaf", "warning", _found(Code.DEAF_SOCKET, 15 * MINUTE), 0.0, None, 0.0,
              "An open socket received nothing about its task.",
              "Look for a proxy that keeps dead connections open, and for two programs under one client id."),
        Alert("ComfyReconnectStorm", "warning",
              _rise("comfy_fsm_reconnects_total", 5 * MINUTE, by_server=True), 10.0, None, 0.0,
              "The sockets of a server were opened again more than ten times in five minutes.",
              "Check the reasons; a proxy with a short timeout is the usual one."),
        # servers
        Alert("ComfyServerUnreachable", "critical",
              _rise(_REQUESTS, 2 * MINUTE, "result", "failed", "unanswered", by_server=True), 0.0, None, MINUTE,
              "No request to a server was answered for two minutes.",
              "Check whether ComfyUI runs there; the client keeps asking about its tasks.",
              unless=_rise(_REQUESTS, 2 * MINUTE, "result", "answered", "refused", by_server=True)),
        Alert("ComfyServerWedged", "warning",
              Sum("comfy_fsm_server_stalled_seconds", by_server=True), 10 * MINUTE, None, 0.0,
              "A server holds tasks of ours, and nothing shows that it ran anything for ten minutes.",
              "Check whether a node is silent for so long; otherwise its worker has died: restart the server."),
        # this process
        Alert("ComfyLogFailed", "critical", Sum("comfy_fsm_log_failed"), 0.0, None, 0.0,
              "The log refused a commit, and the client stopped.",
              "Make room on the disk, and open the client again: it resumes what is open."),
        Alert("ComfyLogSlow", "warning", _rise(f"{_COMMIT}:sum", 5 * MINUTE), 0.25, None, 5 * MINUTE,
              "A commit of the log takes more than a quarter of a second.",
              "Move the log to a faster disk of this machine.",
              of=_rise(f"{_COMMIT}:count", 5 * MINUTE)),
        Alert("ComfyLogBehind", "warning", Sum("comfy_fsm_log_waiting_bytes"), 4.0 * 1024 * 1024, None, 30.0,
              "More than 4 MiB wait for the log; at 8 the sockets wait too.",
              "Move the log to a faster disk, or give each program fewer windows."),
        Alert("ComfyCallbackRecursion", "warning", _found(Code.CALLBACK_RECURSION, HOUR), 0.0, None, 0.0,
              "A progress callback caused its own call, and was cut off.",
              "Do not report progress from inside a progress callback."),
    )
}  # fmt: skip


class _Series:
    """Readings of one sum within its window, from which its increase follows."""

    def __init__(self, term: Sum) -> None:
        self._term = term
        self._kept: deque[tuple[float, dict[str, float]]] = deque()

    def take(self, now: float, readings: dict[str, Reading]) -> dict[str, float]:
        values, kept, within = self._term.values(readings), self._kept, self._term.within
        if not within:
            return values
        while kept and kept[-1][0] > now:  # the clock was set back
            kept.pop()
        while len(kept) > 1 and kept[1][0] <= now - within:  # the last reading before the window is where it starts
            kept.popleft()
        first = kept[0][1] if kept else values
        if not kept or now - kept[-1][0] >= within / _STEPS:
            kept.append((now, values))
        return {name: max(0.0, value - first.get(name, 0.0)) for name, value in values.items()}


class Watch:
    """Alerts that hold; `update` reports each once when it starts, and once when it ends."""

    def __init__(self, alerts: Iterable[Alert] = tuple(ALERTS.values())) -> None:
        self._alerts = tuple(alerts)
        terms = [term for alert in self._alerts for term in (alert.part, alert.of, alert.unless) if term is not None]
        self._series = {term: _Series(term) for term in dict.fromkeys(terms)}
        self._since: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()

    @property
    def holding(self) -> list[tuple[str, str]]:
        """Names of the alerts that hold, each with its server; empty where it is about none."""
        return sorted(self._told)

    def update(self, now: float, readings: Iterable[Reading]) -> list[Change]:
        """Return the alerts that started or ended since the last call."""
        named = {reading.metric.name: reading for reading in readings}
        values = {term: series.take(now, named) for term, series in self._series.items()}
        return [change for alert in self._alerts for change in self._judge(alert, now, values)]

    def _judge(self, alert: Alert, now: float, values: dict[Sum, dict[str, float]]) -> Iterable[Change]:
        shares = _shares(alert, values)
        begun = [server for name, server in self._since if name == alert.name and server not in shares]
        for server in [*shares, *begun]:
            key, value = (alert.name, server), shares.get(server)
            if value is None or not _beyond(alert, value):
                self._since.pop(key, None)
                if key in self._told:
                    self._told.discard(key)
                    yield Change(alert, False, server or None, value, now)
            elif now - self._since.setdefault(key, now) >= alert.lasting and key not in self._told:
                self._told.add(key)
                yield Change(alert, True, server or None, value, now)


def _shares(alert: Alert, values: dict[Sum, dict[str, float]]) -> dict[str, float]:
    """Return the values to compare with the limit, by server; none where there is nothing to compare."""
    found = values[alert.part]
    if alert.of is not None:
        wholes = values[alert.of]
        found = {name: part / wholes[name] for name, part in found.items() if wholes.get(name)}
    if alert.unless is not None:
        excused = values[alert.unless]
        found = {name: part for name, part in found.items() if not excused.get(name)}
    return found


def _beyond(alert: Alert, value: float) -> bool:
    over = alert.over is not None and value > alert.over
    return over or (alert.under is not None and value < alert.under)
