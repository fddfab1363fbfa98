"""Tests of `tail`: what a log holds, and what another process adds meanwhile."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from tests.support.lines import fill
from tests.support.processes import GUARD, LOG, begin, finish


def test_tail_prints_what_is_there_and_then_what_comes(tmp_path: Path) -> None:
    entries = [b'{"at":%d,"kind":"tick"}' % number for number in range(1, 5)]
    fill(tmp_path / LOG, *entries[:2])
    process = begin("tail", LOG, cwd=tmp_path)
    assert process.stdout is not None
    guard = threading.Timer(GUARD, process.kill)
    guard.start()
    try:
        printed = [process.stdout.readline() for _ in range(2)]
        for entry in entries[2:]:
            fill(tmp_path / LOG, entry)
            printed.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        found = finish(process)
    finally:
        guard.cancel()
    assert [line.encode() for line in printed] == [entry + b"\n" for entry in entries]
    assert (found.returncode, found.stdout, found.stderr) == (128 + signal.SIGINT, "", "")
