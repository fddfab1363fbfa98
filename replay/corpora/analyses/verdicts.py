"""Verdicts of each trace, its tasks and its findings: `corpus run`."""

from __future__ import annotations

from comfy_fsm.core.findings import Finding
from comfy_fsm.core.registry.task import Task
from comfy_fsm.report.player import Replay, replay
from replay.corpora.analyses.analysis import Analysis, Answer, Row

__all__ = ["FINDINGS", "TASKS", "VERDICTS"]

TASKS, FINDINGS = "tasks", "findings"


def _ask(path: str) -> Answer:
    found = replay(path)
    facts = found.trace
    counts = (len(facts.windows), len(facts.servers), len(found.tasks), len(found.findings), found.unkept_findings)
    return Answer(
        (found.verdict, facts.observations, facts.first_at, facts.last_at, *counts),
        {
            TASKS: [_task(found, task) for task in found.tasks],
            FINDINGS: [_finding(found, finding) for finding in found.findings],
        },
    )


def _task(found: Replay, task: Task) -> Row:
    error = task.error
    return (
        task.prompt_id, task.window, task.server, task.state, task.outcome, task.confidence, task.completion_source,
        task.confirmed_by, task.submitted_at, task.started_at, task.ended_at, task.settled_at, len(task.outputs),
        error and error.type, error and error.message, found.codes_of(task),
    )  # fmt: skip


def _finding(found: Replay, finding: Finding) -> Row:
    return (
        finding.code, finding.severity, found.line_of(finding), finding.at, finding.window, finding.server,
        finding.prompt_id, finding.text,
    )  # fmt: skip


VERDICTS = Analysis(
    name="run",
    traces={"verdict": str, "observations": int, "first_at": float, "last_at": float}
    | dict.fromkeys(("windows", "servers", "tasks", "findings", "unkept_findings"), int),
    others={
        TASKS: dict.fromkeys(("prompt_id", "window", "server", "state", "outcome", "confidence"), str)
        | dict.fromkeys(("completion_source", "confirmed_by"), str)
        | dict.fromkeys(("submitted_at", "started_at", "ended_at", "settled_at"), float)
        | {"outputs": int, "error_type": str, "error_message": str, "findings": list[str]},
        FINDINGS: {"code": str, "severity": str, "line": int, "at": float}
        | dict.fromkeys(("window", "server", "prompt_id", "text"), str),
    },
    ask=_ask,
)
