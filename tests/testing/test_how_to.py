"""Tests of the how-to for client authors, block by block, here and with an installed wheel alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.installed import installed_wheel

PAGE = (ROOT / "docs" / "how-to" / "test-your-client.md").read_text(encoding="utf-8")


def steps() -> Iterator[tuple[str, str, str]]:
    """The blocks in their order: files to write, and commands with the lines that must come of them."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for (language, body), (after, shown) in zip(found, [*found[1:], ("", "")], strict=True):
        if language == "python":
            yield "file", body.partition("\n")[0].removeprefix("# "), body
        if language == "sh":
            yield "run", body.strip(), shown if after == "text" else ""


def follow(folder: Path, python: Path | str, environment: dict[str, str]) -> list[str]:
    """Do what the page says; returns the names of the files that were written."""
    (folder / "fixtures").symlink_to(ROOT / "fixtures", target_is_directory=True)
    written: list[str] = []
    for what, name, text in steps():
        if what == "file":
            assert re.fullmatch(r"\w+\.py", name)
            (folder / name).write_text(text, encoding="utf-8")
            written.append(name)
            continue
        words = [
            str(python),
            *name.removeprefix("python ").split(),
            *(["-p", "no:cacheprovider"] if "pytest" in name else []),
        ]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
        said = re.sub(r" in \d+\.\d+s( \(.*\))?$", "", done.stdout + done.stderr, flags=re.MULTILINE)
        assert [line for line in text.splitlines() if not any(_is(line, each) for each in said.splitlines())] == [], (
            said
        )
        assert (done.returncode == 0) is (" failed" not in text), said
    return written


def _is(shown: str, said: str) -> bool:
    """Whether a line of the output is the one that is shown, which pytest cuts at the width of the terminal."""
    return said.startswith(shown.removesuffix("..."))


def clean(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON", "COLUMNS"))}
    return kept | {"COLUMNS": "80", "NO_COLOR": "1"} | more


def test_the_page_does_what_it_says(tmp_path: Path) -> None:
    environment = clean(
        PYTHONPATH=str(ROOT), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTEST_PLUGINS="comfy_fsm.testing.plugin"
    )
    assert len(follow(tmp_path, sys.executable, environment)) >= 5


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed_wheel(tmp_path_factory)


def test_the_page_does_what_it_says_from_a_wheel(installed: Path, tmp_path: Path) -> None:
    where = [str(installed), "-c", "import comfy_fsm.testing.strategies as found; print(found.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=clean(), capture_output=True, text=True)
    assert (found.stderr, Path(found.stdout.strip()).is_relative_to(installed.parents[1])) == ("", True)
    follow(tmp_path, installed, clean())


BY_TYPE = """
from hypothesis import given, settings, strategies as st
from comfy_fsm.testing import Faults

drawn = []

@settings(max_examples=50, database=None)
@given(st.from_type(Faults))
def draw(faults):
    drawn.append(faults != Faults())

draw()
assert any(drawn), "all as ever"
"""


def test_hypothesis_draws_faults_by_their_type_once_the_wheel_is_installed(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run([str(installed), "-c", BY_TYPE], cwd=tmp_path, env=clean(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
