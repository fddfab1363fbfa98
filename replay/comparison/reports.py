"""Reports to compare: of this release, under a policy, or of another that is installed elsewhere."""

from __future__ import annotations

import subprocess

import msgspec

from comfy_fsm.core.policy import Policy
from comfy_fsm.errors import TraceError
from comfy_fsm.report import json_report
from comfy_fsm.report.player import replay
from replay.comparison.difference import Report

__all__ = ["report_by", "report_of"]

_JUDGED = 3
"""The highest exit status with which a replay has a report."""


def report_of(trace: str, policy: Policy | None = None) -> Report:
    """Return the report of this release, under this policy or that of the log."""
    return _decode(json_report.encode(replay(trace, policy=policy)), "this release")


def report_by(python: str, trace: str) -> Report:
    """Return the report of the release that this Python has installed; raises TraceError if it gives none.

    It runs without the current folder on its path, so that a checkout there does not stand in for what is installed.
    """
    words = [python, "-P", "-m", "replay", trace, "--format", "json"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if not 0 <= done.returncode <= _JUDGED or not done.stdout:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise TraceError(f"{python} gave no report of {trace} (exit status {done.returncode}): {last}")
    return _decode(done.stdout, python)


def _decode(text: str, name: str) -> Report:
    try:
        return msgspec.json.decode(text, type=Report)
    except msgspec.DecodeError as error:
        raise TraceError(f"{name} wrote no report that this release can read: {error}") from None
