"""A Replay as the JSON report, version 1: the contract, field by field, and nothing else."""

from __future__ import annotations

import re

import msgspec

from comfy_fsm.core.findings import Finding
from comfy_fsm.core.task import Task
from replay.play import Replay

REPORT = 1
_TASK = (
    "prompt_id", "window", "server", "state", "outcome", "confidence", "completion_source", "confirmed_by",
    "submitted_at", "started_at", "ended_at", "settled_at", "outputs", "error",
)  # fmt: skip
_FINDING = ("code", "severity", "line", "at", "window", "server", "prompt_id", "text")
_RISKY = re.compile(r"[^\x0a\x20-\x7e]")


def compose(replay: Replay) -> dict[str, object]:
    """The report as plain values."""
    return {
        "report": REPORT,
        "trace": replay.trace,
        "verdict": replay.verdict,
        "tasks": [_task(replay, task) for task in replay.tasks],
        "findings": [_finding(replay, finding) for finding in replay.findings],
        "metrics": replay.metrics,
    }


def encode(replay: Replay) -> str:
    """The report as ASCII text: a terminal that shows it is driven by nothing that a server sent."""
    text = msgspec.json.encode(compose(replay)).decode()
    return text if text.isascii() and "\x7f" not in text else _RISKY.sub(_escape, text)


def _task(replay: Replay, task: Task) -> dict[str, object]:
    line = replay.origins.line
    fields: dict[str, object] = {name: getattr(task, name) for name in _TASK}
    fields["signals"] = [{"signal": t.signal, "line": line(t.position), "at": t.at} for t in task.signals]
    fields["findings"] = replay.codes_of(task)
    return fields


def _finding(replay: Replay, finding: Finding) -> dict[str, object]:
    return {name: replay.line_of(finding) if name == "line" else getattr(finding, name) for name in _FINDING}


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
