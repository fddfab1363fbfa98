"""Tests of the command as a stranger meets it: its version, its help, its exit statuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfy_fsm import __version__
from comfy_fsm.exits import STATUSES
from tests.support.processes import DONE, begin, command, finish

each_module = pytest.mark.parametrize("module", ["comfy_fsm", "replay"])


@each_module
def test_the_version_is_that_of_the_package(module: str, tmp_path: Path) -> None:
    found = finish(begin("--version", module=module, cwd=tmp_path))
    assert (found.returncode, found.stdout, found.stderr) == (DONE, f"comfy-fsm {__version__}\n", "")


@each_module
def test_exit_statuses_are_listed_once_for_all_commands(module: str, tmp_path: Path) -> None:
    found = finish(begin("--help-status", module=module, cwd=tmp_path))
    assert [line.split()[0] for line in found.stdout.splitlines()] == [status.split()[0] for status in STATUSES]
    assert "Exit status" not in finish(begin("--help", module=module, cwd=tmp_path)).stdout


def test_commands_stand_in_the_order_of_a_day(tmp_path: Path) -> None:
    told = re.findall(r"^│ ([a-z]+) ", command("--help", cwd=tmp_path).stdout, re.MULTILINE)
    assert told[:7] == ["run", "resume", "watch", "serve", "record", "doctor", "diagnose"]
    assert told != sorted(told)
