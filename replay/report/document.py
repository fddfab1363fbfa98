"""A Replay as the JSON report, version 1: the contract, field by field, and nothing else."""

from __future__ import annotations

import re

import msgspec

from replay.play import Replay, TaskFacts

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
        "tasks": [_task(task) for task in replay.tasks],
        "findings": [{name: getattr(finding, name) for name in _FINDING} for finding in replay.findings],
        "metrics": replay.metrics,
    }


def encode(replay: Replay) -> str:
    """The report as ASCII text: a terminal that shows it is driven by nothing that a server sent."""
    text = msgspec.json.encode(compose(replay)).decode()
    return text if text.isascii() and "\x7f" not in text else _RISKY.sub(_escape, text)


def _task(task: TaskFacts) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(task, name) for name in _TASK}
    fields["signals"] = [{"signal": s.told.signal, "line": s.line, "at": s.told.at} for s in task.signals]
    fields["findings"] = task.findings
    return fields


def _escape(match: re.Match[str]) -> str:
    units = match.group().encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
