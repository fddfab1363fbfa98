"""Reports to compare: of this release, under a policy, or of another that is installed elsewhere."""

from __future__ import annotations

import os
import subprocess

import msgspec

from comfy_fsm.core.policy import Policy
from comfy_fsm.display import harmless
from comfy_fsm.errors import TraceError
from comfy_fsm.exits import BAD_DATA, Wrong
from comfy_fsm.report import json_report
from comfy_fsm.report.player import replay
from replay.comparison.difference import Report

__all__ = ["report_by", "report_of"]

_JUDGED = 3
"""The highest exit status with which a replay has a report."""
_VERSION = "from importlib.metadata import version; print(version('comfy-fsm'))"


def report_of(trace: str, policy: Policy | None = None) -> Report:
    """Return the report of this release, under this policy or that of the log."""
    return msgspec.json.decode(json_report.encode(replay(trace, policy=policy)), type=Report)


def report_by(python: str, trace: str) -> Report:
    """Return the report of the release that this Python has installed.

    Raises Wrong if it has none, and TraceError if that release gives no report, or none that can be compared.
    """
    done = _run(python, "-m", "replay", "--format", "json", trace)
    if not 0 <= done.returncode <= _JUDGED or not done.stdout:
        raise TraceError(
            f"{_release(python)} cannot judge {trace} ({_reason(done)}); {_next_step(done, python, trace)}"
        )
    try:
        return msgspec.json.decode(done.stdout, type=Report)
    except msgspec.DecodeError as error:
        raise TraceError(
            f"{_release(python)} writes a report that this release cannot compare ({error}); name a release closer to "
            "this one, or let the newer of the two compare"
        ) from None


def _run(python: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run it where only what it has installed is found: neither the current folder nor PYTHONPATH stands in for it."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment["PYTHONUTF8"] = "1"
    return subprocess.run(
        [python, "-P", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment
    )


def _release(python: str) -> str:
    asked = _run(python, "-c", _VERSION)
    version = asked.stdout.decode(errors="replace").strip()
    if asked.returncode or not version:
        raise Wrong(
            f"{python} has no comfy-fsm installed, so nothing to compare with; name the Python of an environment that "
            "has, or install a release there"
        )
    return f"comfy-fsm {harmless(version, 40)} of {python}"


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return f"exit status {done.returncode}: {harmless(lines[-1]) if lines else 'it said nothing'}"


def _next_step(done: subprocess.CompletedProcess[bytes], python: str, trace: str) -> str:
    if done.returncode == BAD_DATA:
        return "give it a trace: comfy-replay import makes one of a capture, comfy-fsm export one of a log"
    return f"{python} -P -m replay {trace} tells all that it says"
