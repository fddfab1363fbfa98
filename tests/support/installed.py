"""An environment that has the wheel, as users have it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT


def installed_wheel(factory: pytest.TempPathFactory) -> Path:
    """A Python that has the wheel, and of our checkout nothing: one for all workers of a run, made by the first that
    wants it."""
    import fcntl  # which Windows does not have; the modules that import this one have other tests, too

    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            _install(folder)
            (folder / "done").touch()
    return folder / "venv" / "bin" / "python"


def _install(folder: Path) -> None:
    """Build the wheel, and install it; libraries are lent, so that nothing is downloaded."""
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


def _lend(site: Path) -> None:
    """All that this environment has but our own checkout."""
    ours = next(
        Path(each) for each in sys.path if Path(each).name == "site-packages" and (Path(each) / "pytest").is_dir()
    )
    for each in ours.iterdir():
        if "comfy_fsm" not in each.name and each.suffix != ".pth" and not (site / each.name).exists():
            (site / each.name).symlink_to(each, target_is_directory=each.is_dir())
