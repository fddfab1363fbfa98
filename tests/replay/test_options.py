"""Tests of what the subcommands share: an option that means nothing is wrong usage."""

from __future__ import annotations

from pathlib import Path

from replay.__main__ import app
from tests.support.lines import line
from tests.support.processes import BAD_DATA, NO_INPUT, USAGE, begin, finish


def test_a_time_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(line("tick", {}) + b"\n")
    found = finish(begin("t.jsonl", "--since", "noon", module="replay", cwd=tmp_path))
    assert (found.returncode, found.stdout) == (USAGE, "")
    assert "19:18" in found.stderr
    assert finish(begin("none", "--since", "noon", module="replay", cwd=tmp_path)).returncode in (NO_INPUT, BAD_DATA)


def test_the_help_of_each_subcommand_ends_with_an_example() -> None:
    subcommands = {(name,): app[name] for name in app if name[0] != "-" and name != "corpus"}
    subcommands |= {("corpus", name): app["corpus"][name] for name in app["corpus"] if name[0] != "-"}
    assert len(subcommands) >= 11
    for names, subcommand in subcommands.items():
        assert f"Example: python -m replay {' '.join(names)} " in str(subcommand.help_epilogue).replace(
            "comfy-replay", "python -m replay"
        )
