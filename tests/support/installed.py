"""An environment that has the wheel, as users have it."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import ROOT


def install_wheel(folder: Path) -> Path:
    """A Python that has the wheel, and of our checkout nothing; libraries are lent, so that nothing is downloaded."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    isolated = [] if find_spec("hatchling") is None else ["--no-build-isolation"]  # else it asks the network for it
    words = [*pip, "wheel", "--no-deps", *isolated, "--wheel-dir", str(folder), str(ROOT)]
    built = subprocess.run(words, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (wheel,) = folder.glob("*.whl")
    site = next((folder / "venv").glob("lib/python*/site-packages"))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True)
    _lend(site)
    return folder / "venv" / "bin" / "python"


def _lend(site: Path) -> None:
    """All that this environment has but our own checkout."""
    ours = next(
        Path(each) for each in sys.path if Path(each).name == "site-packages" and (Path(each) / "pytest").is_dir()
    )
    for each in ours.iterdir():
        if "comfy_fsm" not in each.name and each.suffix != ".pth" and not (site / each.name).exists():
            (site / each.name).symlink_to(each, target_is_directory=each.is_dir())
