"""Panels of the dashboard, row by row: what each shows, in which unit, and why one looks at it."""

from __future__ import annotations

from typing import Literal, NamedTuple

_I = 'instance=~"$instance"'
_S = f'{_I}, server=~"$server"'
_WITHIN = "[$__rate_interval]"


class Panel(NamedTuple):
    """`worst`: from here on it is red; of a share, below."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    """By the legend."""
    kind: Literal["stat", "timeseries"] = "timeseries"
    width: int = 8
    worst: float | None = None


def rate(metric: str, by: str, labels: str = _I) -> str:
    return f"sum by ({by}) (rate(comfy_fsm_{metric}{{{labels}}}{_WITHIN}))"


def now(metric: str, by: str = "", labels: str = _I) -> str:
    return f"sum{f' by ({by})' if by else ''} (comfy_fsm_{metric}{{{labels}}})"


def quantile(share: float, metric: str, by: str = "le", labels: str = _I) -> str:
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', by, labels)})"


def share(part: str, whole: str) -> str:
    return f"sum(increase(comfy_fsm_{part}[$__range])) / sum(increase(comfy_fsm_{whole}[$__range]))"


_DECIDED = f'tasks_settled_total{{{_I}, state=~"completed|failed|cancelled|rejected"}}'
_CLAIMED = "claimed_frames_total", "strange_frames_total"

PANELS: dict[str, list[Panel]] = {
    "Tasks": [
        Panel("Ends detected", "Of the tasks decided in this time, those decided by evidence: not lost, not given up.",
              "percentunit", {"detected": share(_DECIDED, f"tasks_settled_total{{{_I}}}")}, "stat", 6, 0.99),
        Panel("Recovered", "Of the tasks whose socket failed them in this time, those that were settled all the same.",
              "percentunit", {"recovered": share(f"recoveries_total{{{_I}}}", f"recoveries_needed_total{{{_I}}}")},
              "stat", 6, 0.95),
        Panel("Server consistency", "Tasks that only their own server was asked of and told of; since the log began.",
              "percentunit", {"{{instance}}": f"min by (instance) (comfy_fsm_server_consistency{{{_I}}})"}, "stat", 6,
              1.0),
        Panel("Attribution", "Frames that name a prompt, and whose prompt has a known task; since the log began.",
              "percentunit", {"{{instance}}": f"min by (instance) (comfy_fsm_attribution{{{_I}}})"}, "stat", 6, 1.0),
        Panel("Open tasks", "By state. Many in `ending` or `uncertain`: a server does not answer over HTTP.",
              "short", {"{{state}}": now("tasks_open", "state", _S)}),
        Panel("Jobs waiting", "Enqueued and not posted yet.", "short",
              {"{{instance}}": now("jobs_waiting", "instance")}),
        Panel("Longest wait", "How long the oldest of the waiting jobs waits.", "s",
              {"{{instance}}": f"max by (instance) (comfy_fsm_jobs_oldest_seconds{{{_I}}})"}),
        Panel("Decisions", "How tasks end, per second.", "ops", {"{{state}}": rate("tasks_settled_total", "state")}),
        Panel("Time to the end", "From the POST to the first word of the end, of the completed tasks.", "s",
              {"median": quantile(0.5, "task_seconds"), "95 %": quantile(0.95, "task_seconds")}),
        Panel("Silent tasks", "Open tasks without a sign of life for as long as each tier waits.", "short",
              {"{{tier}}": now("tasks_silent", "tier")}),
        Panel("Who told first", "Which signal told of the end: many by history alone means that sockets miss ends.",
              "ops", {"{{source}}": rate("completions_total", "source")}),
        Panel("Uncertain POSTs", "Without a clear answer, per second. Each is looked for, none is posted blindly.",
              "ops", {"uncertain": rate("uncertain_submits_total", "instance")}),
    ],
    "Truth": [
        Panel("Findings", "Per second, by code; docs/reference/findings.md says what each means and what to do.", "ops",
              {"{{code}}": rate("findings_total", "code") + " > 0"}, width=12),
        Panel("Looks", "What answers over HTTP said about open tasks, per second. Unreachable is never absent.", "ops",
              {"{{result}}": rate("looks_total", "result")}, width=12),
        Panel("Records asked for again", "Per second, since an earlier answer brought none.", "ops",
              {"{{instance}}": rate("history_retries_total", "instance")}),
        Panel("Frames", "Per second, by ComfyUI's word for them.", "ops", {"{{type}}": rate("frames_total", "type")}),
        Panel("Frames of strangers", "About prompts that nobody here had posted when they came, per second; and those "
              "claimed later.", "ops",
              {"strange": rate(_CLAIMED[1], "instance"), "claimed": rate(_CLAIMED[0], "instance")}),
    ],
    "Servers": [
        Panel("Queue", "Prompts that run or wait at a server, by its last answer about the queue.", "short",
              {"{{server}}": now("server_queue", "server", _S)}),
        Panel("Nothing runs", "Since the last sign that a server runs anything, while it holds tasks of ours.", "s",
              {"{{server}}": f"max by (server) (comfy_fsm_server_stalled_seconds{{{_S}}})"}, worst=600.0),
        Panel("Drained", "1 while a server is drained: it is given no jobs.", "short",
              {"{{server}}": f"max by (server) (comfy_fsm_server_drained{{{_S}}})"}),
        Panel("Answers", "How requests end, per second.", "reqps",
              {"{{server}} {{result}}": rate("requests_total", "server, result", _S)}),
        Panel("Latency", "From a request to its answer: 95 % take no longer.", "s",
              {"{{server}}": quantile(0.95, "request_seconds", "le, server", _S)}),
        Panel("Sockets opened again", "Per second, by what had ended them.", "ops",
              {"{{server}} {{reason}}": rate("reconnects_total", "server, reason", _S) + " > 0"}),
        Panel("Gaps", "How long a socket was not there: 95 % no longer.", "s",
              {"95 %": quantile(0.95, "socket_gap_seconds")}),
        Panel("Open sockets", "By server; one for each window that has work there.", "short",
              {"{{server}}": now("sockets_open", "server", _S)}),
    ],
    "Log": [
        Panel("Commit", "How long a commit takes: 95 % no longer. Nothing is acted on before it is committed.", "s",
              {"{{instance}}": quantile(0.95, "log_commit_seconds", "le, instance")}),
        Panel("Waiting", "Bytes that wait for the next commit; at 8 MiB the sockets wait too.", "bytes",
              {"{{instance}}": now("log_waiting_bytes", "instance")}, worst=4194304.0),
        Panel("Refused", "1 from when the log refused a commit: the client stopped.", "short",
              {"{{instance}}": now("log_failed", "instance")}, "stat", worst=1.0),
        Panel("Entries", "Per second, by kind.", "ops", {"{{kind}}": rate("observations_total", "kind") + " > 0"}),
        Panel("Lines waiting", "For the next commit.", "short",
              {"{{instance}}": now("log_waiting_lines", "instance")}),
        Panel("Prompts posted", "Per second.", "ops", {"{{instance}}": rate("submissions_total", "instance")}),
    ],
}  # fmt: skip
