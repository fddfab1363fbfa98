"""Tab completion: the script that cyclopts writes for a shell, put where that shell looks for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from comfy_fsm.exits import Wrong

if TYPE_CHECKING:
    from cyclopts import App

__all__ = [
    "Name",
    "Shell",
    "install",
]

Name = Literal["bash", "zsh", "fish"]
Shell = Annotated[Name | None, Parameter(name="SHELL", show_choices=True)]
_START = {
    "bash": "Open a new bash to use it. Without the package bash-completion, add this to ~/.bashrc:  . {place}",
    "zsh": "Open a new zsh to use it, with this in ~/.zshrc:  fpath=({folder} $fpath); autoload -Uz compinit; compinit",
    "fish": "Open a new fish to use it.",
}


def install(app: App, program: str, shell: Name | None) -> int:
    """Write the script for `program`, and say where it is and what makes the shell read it."""
    shell = shell or _detected()
    place = _place(shell, program)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(app.generate_completion(prog_name=program, shell=shell), encoding="utf-8")
    print(place)
    print(_START[shell].format(place=place, folder=place.parent))
    return 0


def _detected() -> Name:
    name = os.path.basename(os.environ.get("SHELL", ""))
    if name == "bash":
        return "bash"
    if name == "zsh":
        return "zsh"
    if name == "fish":
        return "fish"
    raise Wrong(f"SHELL names {name or 'no shell'}; name one: --install-completion bash, zsh or fish")


def _place(shell: Name, program: str) -> Path:
    """Return where each shell looks by itself: bash by bash-completion, zsh along its `fpath`."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion" / "completions" / program,
        "zsh": data / "zsh" / "site-functions" / f"_{program}",
        "fish": config / "fish" / "completions" / f"{program}.fish",
    }[shell]
