"""Whole processes, start and exit included: the seconds of CPU and the memory of each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["cpu", "floor", "peak", "ratio", "replay"]

_FLOOR = """
import sys, msgspec
decode = msgspec.json.Decoder().decode
with open(sys.argv[1], "rb") as lines:
    for line in lines:
        decode(line)
"""


_PEAK = """
import re, runpy, sys
try:
    runpy.run_module("replay", run_name="__main__", alter_sys=True)
finally:
    with open("/proc/self/status") as status:
        sys.stderr.write(re.search(r"VmHWM:\\s*(\\d+) kB", status.read())[1])
"""
"""Of the process itself: what the operating system counts for a child begins with the memory of its parent."""


def cpu(words: Sequence[str]) -> float:
    """Run a command to its end, and return its seconds; what it prints is thrown away, and so is its status."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment())
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0  # it was waited for
    return used.ru_utime + used.ru_stime


def floor(trace: Path) -> float:
    """Decode each line, and nothing else: the least that a reader of the trace can do."""
    return cpu([sys.executable, "-c", _FLOOR, str(trace)])


def replay(trace: Path) -> float:
    """Replay the trace, and write the report as JSON."""
    return cpu([sys.executable, "-m", "replay", "--format", "json", str(trace)])


def peak(trace: Path) -> int:
    """Replay the trace, and return the bytes that the process had in memory at its peak; on Linux alone."""
    words = [sys.executable, "-c", _PEAK, "--format", "json", str(trace)]
    ended = subprocess.run(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, env=_environment()
    )
    return int(ended.stderr.split()[-1]) * 1024


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def ratio(one: Callable[[], float], other: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Return the medians of both, taken in turns after a pair that does not count, and that of one by the other."""
    pairs = [(one(), other()) for _ in range(rounds + 1)][1:]
    low, high = (statistics.median(side) for side in zip(*pairs, strict=True))
    return low, high, statistics.median(first / second for first, second in pairs)
