"""JUnit: a replay as the XML that CI servers show, a test case for each task.

A task fails where a finding of severity error is about it, and is in error while it is undecided: a run is green where
the verdict is a pass. What a task came to (`failed`, `cancelled`) is no failure of the replay, and is told beside it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

from comfy_fsm.core.findings import CODES, Finding, Severity
from comfy_fsm.core.registry.task import Task
from comfy_fsm.display import harmless, host
from comfy_fsm.report.player import Replay

__all__ = ["encode"]

_LATEST = 253_402_300_799.0


def encode(replay: Replay) -> str:
    """Return the document."""
    errors = [finding for finding in replay.findings if finding.severity is Severity.ERROR]
    known = {task.prompt_id for task in replay.tasks}
    loose = [finding for finding in errors if finding.prompt_id is None or finding.prompt_id not in known]
    suite = ElementTree.Element("testsuite")
    for task in replay.tasks:
        own = [finding for finding in errors if task.prompt_id is not None and finding.prompt_id == task.prompt_id]
        _add_task(suite, replay, task, own)
    _add_rest(suite, replay, loose)
    counts = {
        "tests": len(suite),
        "failures": sum(case.find("failure") is not None for case in suite),
        "errors": sum(case.find("error") is not None for case in suite),
    }
    told = {name: str(count) for name, count in counts.items()} | {"time": _seconds(_length(replay))}
    name = harmless(", ".join(replay.trace.names), 200)
    suite.attrib.update({"name": name, **told, "skipped": "0", "timestamp": _moment(replay.trace.first_at)})
    whole = ElementTree.Element("testsuites", {"name": "comfy-replay"} | told)
    whole.append(suite)
    ElementTree.indent(whole)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(whole, encoding="unicode") + "\n"


def _add_task(suite: ElementTree.Element, replay: Replay, task: Task, errors: list[Finding]) -> None:
    begun = task.submitted_at if task.submitted_at is not None else task.started_at
    took = task.ended_at - begun if begun is not None and task.ended_at is not None else 0.0
    of = f"{host(task.server)}.{harmless(task.window or 'no window', 80)}"
    case = _case(suite, harmless(task.prompt_id or "(no id)", 80), of, took)
    if errors:
        _add(case, "failure", ", ".join(dict.fromkeys(str(e.code) for e in errors)), _told(replay, errors))
    elif not task.settled:
        _add(case, "error", "undecided", f"the trace ends while the task is {task.state}")
    outcome = f"{task.state}" + (f" ({task.confidence})" if task.confidence else "")
    if task.error is not None:
        outcome += f": {harmless(task.error.type)}: {harmless(task.error.message)}"
    ElementTree.SubElement(case, "system-out").text = outcome


def _add_rest(suite: ElementTree.Element, replay: Replay, errors: list[Finding]) -> None:
    """Add a case for what is about no task: the trace itself."""
    case = _case(suite, "the trace itself", "comfy-replay", 0.0)
    if errors:
        _add(case, "failure", ", ".join(dict.fromkeys(str(e.code) for e in errors)), _told(replay, errors))


def _case(suite: ElementTree.Element, name: str, of: str, took: float) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", {"name": name, "classname": of, "time": _seconds(took)})


def _add(case: ElementTree.Element, kind: str, type: str, text: str) -> None:
    ElementTree.SubElement(case, kind, {"type": type, "message": text.splitlines()[0]}).text = text


def _told(replay: Replay, findings: list[Finding]) -> str:
    return "\n".join(
        f"{finding.code}, line {replay.line_of(finding)}: {harmless(finding.text)}. {CODES[finding.code].advice}"
        for finding in findings
    )


def _length(replay: Replay) -> float:
    first, last = replay.trace.first_at, replay.trace.last_at
    return last - first if first is not None and last is not None else 0.0


def _seconds(seconds: float) -> str:
    return f"{max(seconds, 0.0):.3f}"


def _moment(at: float | None) -> str:
    return datetime.fromtimestamp(min(max(at or 0.0, 0.0), _LATEST), UTC).strftime("%Y-%m-%dT%H:%M:%S")
