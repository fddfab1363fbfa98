"""Makes the page of the package: links of the README that lead somewhere, and the addresses of the project.

Links in the repository are relative, which a package index cannot follow. Where the repository is known, from the
environment variable COMFY_FSM_REPOSITORY or the remote `origin` of the clone, they are made to lead there; where it is
not, they are left out, and their text stays.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|#)([^)\s]+)\)")


class PageHook(MetadataHookInterface):
    """Fill in what `pyproject.toml` calls dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        repository = repository_of(self.root)
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": page(text, repository)}
        if repository:
            metadata["urls"] = {
                "Repository": repository,
                "Documentation": f"{repository}/blob/main/docs/index.md",
                "Changelog": f"{repository}/blob/main/CHANGELOG.md",
                "Issues": f"{repository}/issues",
            }


def repository_of(root: str) -> str:
    """Return the address of the repository, or nothing where it is on this machine alone."""
    named = os.environ.get("COMFY_FSM_REPOSITORY", "")
    if not named:
        asked = ["git", "-C", root, "remote", "get-url", "origin"]
        try:
            named = subprocess.run(asked, capture_output=True, text=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ""
    address = re.sub(r"^(?:ssh://)?git@([\w.-]+)[:/]", r"https://\1/", named).rstrip("/").removesuffix(".git")
    address = re.sub(r"^(https://)[^/@]*@", r"\1", address)  # no credentials
    return address if re.fullmatch(r"https://[\w.-]+(?:/[\w.~-]+)+", address) else ""


def page(text: str, repository: str) -> str:
    """Return the README with its relative links made whole, or taken out."""

    def whole(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if not repository:
            return "" if picture else words
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/main/{target})"

    return _LINK.sub(whole, text)
