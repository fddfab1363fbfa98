"""Tests of progress on a terminal: bars are drawn there, and standard output is left alone."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pyte

from comfy_fsm.testing import FakeComfy
from tests.support.processes import (
    NOT_DONE,
    with_bars,
    write,
)
from tests.support.stage import graph

SEEDS = itertools.count(1)  # nothing comes from the server's cache


def test_on_a_terminal_bars_are_drawn_there_and_standard_output_is_left_alone(comfy: FakeComfy, tmp_path: Path) -> None:
    write(tmp_path, "w.json", graph(next(SEEDS)))
    write(tmp_path, "bad.json", {"1": {"class_type": "FakeText", "inputs": {}}})
    status, out, drawn = with_bars("run", "w.json", "bad.json", "--server", comfy.url, cwd=tmp_path)
    assert status == NOT_DONE
    assert (tmp_path / out.strip()).is_file()
    shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", drawn)
    assert b" completed " in shown
    screen = pyte.Screen(300, 50)
    pyte.ByteStream(screen).feed(drawn)
    assert [line for line in screen.display if line.startswith("comfy_fsm: bad.json: ")]  # on a line of its own
