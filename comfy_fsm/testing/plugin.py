"""Pytest plugin, active wherever this package is installed: a running fake ComfyUI, and a path for a log.

    @pytest.mark.comfy(version="0.3.10", step_seconds=0.01, faults={"empty_history": 2})
    def test_mine(fake_comfyui, comfy_log): ...

Nothing of the fake is loaded before a test uses it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from comfy_fsm.testing.threaded import ThreadedFake

__all__ = ["MARK", "comfy_log", "fake_comfyui", "fake_comfyui_session", "pytest_configure"]

MARK = "comfy(version, *, step_seconds, faults): which ComfyUI `fake_comfyui` is, and what goes wrong with it"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARK)


@pytest.fixture
def fake_comfyui(request: pytest.FixtureRequest) -> Iterator[ThreadedFake]:
    """Start a fake ComfyUI at `fake_comfyui.url`, new for each test."""
    mark = request.node.get_closest_marker("comfy")
    with _started(*_settings(mark)) as fake:
        yield fake


@pytest.fixture(scope="session")
def fake_comfyui_session() -> Iterator[ThreadedFake]:
    """Start one fake for the whole run; `reset()` makes it like new, at the start of a test or example."""
    with _started({}, {}) as fake:
        yield fake


@pytest.fixture
def comfy_log(tmp_path: Path) -> Path:
    """Return a path for a log; nothing is there yet."""
    return tmp_path / "comfy.log"


def _started(settings: dict[str, Any], faults: dict[str, Any]) -> ThreadedFake:
    """Start a fake with these settings, or fail with one line that says why there is none."""
    try:
        from comfy_fsm.testing import ThreadedFake
    except ModuleNotFoundError as lacking:
        pytest.fail(f"there is no fake ComfyUI: {lacking}", pytrace=False)
    try:
        fake = ThreadedFake(**settings)
    except (ValueError, OSError) as error:
        pytest.fail(f"no fake ComfyUI was started: {error}", pytrace=False)
    try:
        fake.faults.turn(faults)
    except ValueError as error:
        fake.close()
        pytest.fail(f"no fake ComfyUI was started: {error}", pytrace=False)
    return fake


def _settings(mark: pytest.Mark | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of the marker, which pytest itself does not check."""
    if mark is None:
        return {}, {}
    try:
        said = inspect.signature(_marked).bind(*mark.args, **mark.kwargs).arguments
    except TypeError as error:
        pytest.fail(f"pytest.mark.comfy: {error}; it is {MARK}", pytrace=False)
    faults = said.pop("faults", {})
    if not isinstance(faults, dict):
        pytest.fail(f'pytest.mark.comfy: faults={faults!r} is no dict, such as {{"empty_history": 2}}', pytrace=False)
    return said, faults


def _marked(version: object = None, *, step_seconds: object = None, faults: object = None) -> None:
    """Define the arguments of the marker."""
