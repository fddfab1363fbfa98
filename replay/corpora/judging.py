"""Judging of a chunk: what a worker does. Each trace becomes rows, and one that cannot be read becomes a row too."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from comfy_fsm import __version__
from comfy_fsm.core import machine as core
from comfy_fsm.core.findings import Finding
from comfy_fsm.core.registry.task import Task
from comfy_fsm.errors import LogError, TraceError
from comfy_fsm.report.player import Replay, replay
from replay.corpora.chunks import Chunk
from replay.corpora.places import Unit, at_hand
from replay.corpora.tables import FINDINGS, TABLES, TASKS, TRACES, encode

__all__ = ["Part", "judge", "machine"]

_FATAL = "a worker died of it, each time that it was replayed alone; it may need more memory than there is"

_Row = tuple[Any, ...]


class Part(Struct, frozen=True):
    """Rows of one chunk, as the Parquet files of its tables, by their names."""

    machine: str
    files: dict[str, bytes]


@cache
def machine() -> str:
    """Return the version of the machine that judges: the release, and a digest of the code of the core."""
    code = hashlib.sha256()
    for path in sorted(Path(core.__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    return f"{__version__}+{code.hexdigest()[:12]}"


def judge(chunk: Chunk, fatal: frozenset[str] = frozenset()) -> Part:
    """Replay each trace of a chunk; those that are `fatal`, by their addresses, are only told."""
    rows: dict[str, list[_Row]] = {table: [] for table in TABLES}
    for unit in chunk.units:
        if unit.url in fatal:
            rows[TRACES].append(_failure(unit, _FATAL))
            continue
        path = unit.url
        try:
            with at_hand(unit) as path:
                told = _told(unit, replay(path))
        except Exception as error:  # whatever it is, the other traces are judged
            rows[TRACES].append(_failure(unit, _reason(error).replace(path, unit.name)))
            continue
        for table, some in told.items():
            rows[table] += some
    return Part(machine(), {table: encode(table, rows[table]) for table in TABLES})


def _told(unit: Unit, found: Replay) -> dict[str, list[_Row]]:
    facts = found.trace
    counts = (len(facts.windows), len(facts.servers), len(found.tasks), len(found.findings), found.unkept_findings)
    trace = (unit.name, machine(), unit.size, found.verdict, None, facts.observations, facts.first_at, facts.last_at)
    return {
        TRACES: [(*trace, *counts)],
        TASKS: [_task(unit, found, task) for task in found.tasks],
        FINDINGS: [_finding(unit, found, finding) for finding in found.findings],
    }


def _task(unit: Unit, found: Replay, task: Task) -> _Row:
    error = task.error
    return (
        unit.name, machine(), task.prompt_id, task.window, task.server, task.state, task.outcome, task.confidence,
        task.completion_source, task.confirmed_by, task.submitted_at, task.started_at, task.ended_at, task.settled_at,
        len(task.outputs), error and error.type, error and error.message, found.codes_of(task),
    )  # fmt: skip


def _finding(unit: Unit, found: Replay, finding: Finding) -> _Row:
    return (
        unit.name, machine(), finding.code, finding.severity, found.line_of(finding), finding.at, finding.window,
        finding.server, finding.prompt_id, finding.text,
    )  # fmt: skip


def _failure(unit: Unit, why: str) -> _Row:
    return (unit.name, machine(), unit.size, None, why, *[None] * 8)


def _reason(error: Exception) -> str:
    match error:
        case TraceError() | LogError():
            return str(error)
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return f"our own fault: {type(error).__name__}: {error}"
