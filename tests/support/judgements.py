"""What a replay decides, without the names of what it is about: two traces of the same story agree on it."""

from __future__ import annotations

from typing import Any

from comfy_fsm.core.registry.task import Task
from comfy_fsm.report.player import Replay

_FACTS = (
    "state", "confidence", "completion_source", "confirmed_by", "concluded", "submitted_at", "started_at", "ended_at",
    "settled_at", "left_out",
)  # fmt: skip


def judgement(replay: Replay) -> dict[str, Any]:
    return {
        "verdict": replay.verdict,
        "tasks": [_task(replay, task) for task in replay.tasks],
        "findings": [(f.code, f.severity, f.at, f.positions, f.count) for f in replay.findings],
        "counts": (replay.trace.observations, len(replay.trace.windows), len(replay.trace.servers)),
    }


def _task(replay: Replay, task: Task) -> tuple[object, ...]:
    signals = [(told.signal, told.position, told.at, told.before, told.after) for told in task.signals]
    produced = ([output.kind != "" for output in task.outputs], len(task.texts), len(task.missed))
    return (*(getattr(task, name) for name in _FACTS), signals, produced, replay.codes_of(task))
