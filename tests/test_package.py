"""The package as others get it: its page, its addresses, and the versions of libraries that it promises."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOME = "https://example.org/somebody/comfy-fsm"


def core(monkeypatch: pytest.MonkeyPatch, repository: str) -> Any:
    monkeypatch.setenv("COMFY_FSM_REPOSITORY", repository)
    return ProjectMetadata(str(ROOT), PluginManager()).core


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize(
    "repository", [HOME, "git@example.org:somebody/comfy-fsm.git", f"{HOME}.git/", "/srv/comfy-fsm"]
)
def test_every_link_of_the_page_is_whole(monkeypatch: pytest.MonkeyPatch, repository: str) -> None:
    page = core(monkeypatch, repository).readme
    assert [target for target in links(page) if not target.startswith("https://")] == []
    wanted = {target for target in links((ROOT / "README.md").read_text(encoding="utf-8")) if "://" not in target}
    if repository.startswith("/"):
        assert HOME not in page
    else:
        assert {f"{HOME}/blob/main/{target}" for target in wanted if not re.search(r"\.(svg|png)$", target)} <= {
            *links(page)
        }


def test_the_addresses_of_the_project_are_those_of_its_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    urls = core(monkeypatch, "https://token@example.org/somebody/comfy-fsm.git").urls
    assert urls["Repository"] == HOME
    assert all(url.startswith(HOME) for url in urls.values())
    assert core(monkeypatch, "file:///srv/comfy-fsm").urls == {}


def test_the_commands_are_scripts_of_the_package() -> None:
    assert PROJECT["scripts"] == {
        "comfy-fsm": "comfy_fsm_command:comfy_fsm",
        "comfy-replay": "comfy_fsm_command:replay",
    }


def test_the_lowest_versions_are_tested_as_they_are_promised() -> None:
    """A requirement without its number in .ci/lowest.txt would be tried with its newest release alone."""
    extras = PROJECT["optional-dependencies"]
    promised = [
        *PROJECT["dependencies"],
        *(row for name in ("corpus", "testing", "prometheus", "otel", "images", "postgres") for row in extras[name]),
    ]
    pinned = [line for line in (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    # pip takes no extras in a file of constraints
    assert pinned == sorted({re.sub(r"\[.*\]", "", row).replace(">=", "==") for row in promised})
