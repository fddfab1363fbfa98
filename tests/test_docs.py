"""The pages of docs/ that follow from the code are those that `python -m docs.render` writes."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path

import pytest
from cyclopts import App
from rich.console import Console

from docs import render
from docs.blocks import PAGES

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("page", render.TABLES)
def test_the_tables_of_a_page_are_those_of_the_code(page: str) -> None:
    assert (render.REFERENCE / page).read_text("utf-8") == render.rendered(page), "run python -m docs.render"


OPTION = re.compile(r"--[a-z][a-z-]+")
OF_ALL = {"--help", "--help-status", "--install-completion", "--version"}  # of the command itself


@pytest.mark.parametrize(("heading", "command", "app"), render.every_command(), ids=lambda value: str(value)[:40])
def test_the_page_has_the_options_and_exit_statuses_that_the_help_prints(heading: str, command: str, app: App) -> None:
    printed = io.StringIO()
    app.help_print([], console=Console(file=printed, width=400))
    options, _, ends = printed.getvalue().partition("Exit status")
    section = render.section(heading, command, app)
    cells = re.findall(r"^\| `(.*?)` \|", section, re.MULTILINE)
    named = {
        option for start in re.findall(r"^│[ *]*(.*?)  ", options, re.MULTILINE) for option in OPTION.findall(start)
    }
    assert {option for cell in cells for option in OPTION.findall(cell)} == named - OF_ALL
    if ends:
        told = section
        assert re.findall(r"^\| (\d+)", told, re.MULTILINE) == re.findall(r"(?:: |· )(\d+)", ends)


def test_every_command_is_in_the_table_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| \[`(\w+)[^|]*\]\(docs/", readme.partition("## Commands")[2], re.MULTILINE)
    assert sorted(rows) == sorted(name for name in render.commands if not name.startswith("-"))


def test_no_page_made_from_the_code_shows_the_number_of_a_fact() -> None:
    for page in render.TABLES:
        for make in render.TABLES[page].values():
            assert not re.findall(r"\b[PFR]\d+\b", make())


@pytest.mark.parametrize("module", ["comfy_fsm", "comfy_fsm.testing", "comfy_fsm.testing.strategies", "replay"])
def test_every_public_name_is_in_the_api_reference(module: str) -> None:
    page = (render.REFERENCE / "api.rst").read_text("utf-8")
    names = importlib.import_module(module).__all__
    assert [name for name in names if not re.search(rf"^\.\. .*::(?: {module}\.| ){name}$", page, re.MULTILINE)] == []


def test_ci_runs_on_each_python_that_is_declared() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    declared = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert re.findall(r'"(3\.\d+)"', workflow) == declared
    assert "run: .ci/run" in workflow


SHELL = re.compile(r"^(?:\.venv/bin/)?(?:comfy-fsm|python -m comfy_fsm) +(\w+)(.*)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_that_a_page_shows_exist_with_their_options(page: Path) -> None:
    """Those of blocks that are not run, since they need servers or a terminal."""
    for block in re.findall(r"^```bash\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for name, rest in SHELL.findall(block):
            arguments = render.commands[name].assemble_argument_collection()
            assert set(OPTION.findall(rest)) <= {option for each in arguments for option in each.names}, name
