"""JSON report and JSON diagnosis of a Replay: both formats are contracts, defined here field by field."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter

import msgspec

from comfy_fsm.core.effects import Failure, NodeFault
from comfy_fsm.core.explain.diagnosis import CONCERNS, Diagnosis, Explanation, Remark
from comfy_fsm.core.findings import Code, Finding, Severity
from comfy_fsm.core.registry.task import Task
from comfy_fsm.report.player import Replay
from comfy_fsm.report.sources import Location

__all__ = ["DIAGNOSIS", "encode", "encode_diagnoses", "pieces"]

_REPORT = 1
DIAGNOSIS = 1
_TASK = (
    "prompt_id", "window", "server", "state", "outcome", "confidence", "completion_source", "confirmed_by",
    "concluded", "submitted_at", "started_at", "ended_at", "settled_at", "outputs", "texts", "left_out", "missed",
    "error",
)  # fmt: skip
_DIAGNOSIS = ("prompt_id", "window", "server", "state", "outcome", "confidence")
_EVIDENCE = ("signal", "at", "before", "after", "why")
_EXPLANATION = ("code", "severity", "count", "window", "server", "prompt_id", "text", "meaning", "advice")
_fields_of = attrgetter(*_TASK)
_AT_ONCE = 256
"""Tasks or findings in a piece."""
_ESCAPED = "comfy_fsm.json"
"""Name under which the codecs know `_escape`."""


class _Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """Error of a task; the server's full answer is for the program that submitted, not for a report."""

    type: str | None
    message: str | None
    node_id: str | None
    node_type: str | None
    status: int | None = None
    faults: tuple[NodeFault, ...] = ()
    traceback: tuple[str, ...] = ()


class _Signal(msgspec.Struct, frozen=True, gc=False):
    signal: str
    line: int
    at: float


class _Finding(msgspec.Struct, frozen=True, gc=False):
    code: Code
    severity: Severity
    line: int
    at: float
    window: str | None
    server: str | None
    prompt_id: str | None
    text: str


def pieces(replay: Replay) -> Iterator[str]:
    """Write the report piece by piece: as a whole it would take more memory than all that was folded."""
    yield _encode({"report": _REPORT, "trace": replay.trace, "verdict": replay.verdict})[:-1]
    yield ',"tasks":['
    yield from _rows(_task(replay, task) for task in replay.tasks)
    yield '],"findings":['
    yield from _rows(_finding(replay, finding) for finding in replay.findings)
    yield "],"
    rest: dict[str, object] = {"metrics": replay.metrics} | ({"notes": replay.notes} if replay.notes else {})
    yield _encode(rest)[1:]


def _rows(rows: Iterator[object]) -> Iterator[str]:
    """Write the rows of a list, without its brackets."""
    comma = ""
    while some := list(islice(rows, _AT_ONCE)):
        yield comma + _encode(some)[1:-1]
        comma = ","


def _compose_diagnoses(replay: Replay) -> dict[str, object]:
    """Return the diagnoses as plain values."""
    diagnoses, loose = replay.diagnose()
    return {
        "diagnosis": DIAGNOSIS,
        "trace": replay.trace,
        "verdict": replay.verdict,
        "tasks": [_diagnosis(replay, diagnosis) for diagnosis in diagnoses],
        "loose": [_explanation(replay, finding) for finding in loose],
    }


def encode(replay: Replay) -> str:
    """Return the report as one text."""
    return "".join(pieces(replay))


def encode_diagnoses(replay: Replay) -> str:
    return _encode(_compose_diagnoses(replay))


def _encode(document: object) -> str:
    """Return ASCII text, so that nothing a server sent controls the terminal that shows it."""
    text = msgspec.json.encode(document).decode()
    if not text.isascii():
        text = text.encode("ascii", _ESCAPED).decode()
    return text.replace("\x7f", "\\u007f")


def _task(replay: Replay, task: Task) -> dict[str, object]:
    line = replay.origins.line
    fields: dict[str, object] = dict(zip(_TASK, _fields_of(task), strict=True))
    fields["error"] = None if task.error is None else _error(task.error)
    fields["signals"] = [_Signal(told.signal, line(told.position), told.at) for told in task.signals]
    fields["findings"] = replay.codes_of(task)
    return fields


def _error(error: Failure) -> _Error:
    return _Error(*(getattr(error, name) for name in _Error.__struct_fields__))


def _finding(replay: Replay, found: Finding) -> _Finding:
    line = replay.line_of(found)
    return _Finding(found.code, found.severity, line, found.at, found.window, found.server, found.prompt_id, found.text)


def _diagnosis(replay: Replay, told: Diagnosis) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(told, name) for name in _DIAGNOSIS}
    fields["concern"] = CONCERNS[told.concern]
    fields["says"] = _remark(replay, told.says)
    fields["evidence"] = [
        {name: getattr(each, name) for name in _EVIDENCE} | {"seen": _seen(replay, (each.position,))}
        for each in told.evidence
    ]
    fields["missing"] = [_remark(replay, remark) for remark in told.missing]
    fields["findings"] = [_explanation(replay, finding) for finding in told.findings]
    fields["next"] = told.steps
    return fields


def _remark(replay: Replay, remark: Remark) -> dict[str, object]:
    return {"text": remark.text, "seen": _seen(replay, remark.positions)}


def _explanation(replay: Replay, finding: Explanation) -> dict[str, object]:
    return {name: getattr(finding, name) for name in _EXPLANATION} | {"seen": _seen(replay, finding.positions)}


def _seen(replay: Replay, positions: tuple[int, ...]) -> list[Location]:
    return [replay.origins.locate(position) for position in positions]


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Return what ASCII lacks as JSON writes it; a pattern would look at each character of a report."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_ESCAPED, _escape)
