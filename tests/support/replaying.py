"""Subcommands of the replay as their users run them, and the lines of the fixtures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.wire import codec
from replay.lines.reading import Line, Lines, read
from tests.support import forked
from tests.support.processes import ENVIRONMENT, GUARD


def run(folder: Path, *arguments: object, given: bytes = b"") -> subprocess.CompletedProcess[str]:
    if given:
        words = [sys.executable, "-m", "replay", *map(str, arguments)]
        piped = subprocess.run(words, cwd=folder, env=ENVIRONMENT, input=given, capture_output=True, check=False)
        done = subprocess.CompletedProcess(words, piped.returncode, piped.stdout.decode(), piped.stderr.decode())
    else:
        done = forked.run("replay", [*map(str, arguments)], folder, ENVIRONMENT, GUARD)
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    return done


def told(folder: Path, *arguments: object) -> dict[str, Any]:
    """What it prints as JSON."""
    done = run(folder, *arguments, "--format", "json")
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@cache
def lines_of(path: Path) -> Lines:
    return read(str(path))


def as_lines(observations: Iterable[AnyObservation]) -> list[Line]:
    return [Line(number, codec.encode(o), o) for number, o in enumerate(observations, 1)]
