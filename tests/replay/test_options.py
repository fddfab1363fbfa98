"""Tests of what the subcommands share: an option that means nothing is wrong usage."""

from __future__ import annotations

from pathlib import Path

from tests.support.lines import line
from tests.support.processes import BAD_DATA, NO_INPUT, USAGE, begin, finish


def test_a_time_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(line("tick", {}) + b"\n")
    found = finish(begin("t.jsonl", "--since", "noon", module="replay", cwd=tmp_path))
    assert (found.returncode, found.stdout) == (USAGE, "")
    assert "19:18" in found.stderr
    assert finish(begin("none", "--since", "noon", module="replay", cwd=tmp_path)).returncode in (NO_INPUT, BAD_DATA)
