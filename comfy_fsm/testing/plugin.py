"""Fixtures for pytest, there wherever this package is installed: `fake_comfyui`, a running server, and `comfy_log`.

    @pytest.mark.comfy(version="0.3.10", step_seconds=0.01)
    def test_mine(fake_comfyui, comfy_log): ...

Nothing of the fake is loaded before a test asks for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from comfy_fsm.testing.faults import Faults
    from comfy_fsm.testing.server import FakeComfy

T = TypeVar("T")


class ThreadedFake:
    """A fake on a loop and a thread of its own, so that a test that blocks is served all the same."""

    def __init__(self, comfy: FakeComfy) -> None:
        self._comfy = comfy
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake ComfyUI", daemon=True)
        self._thread.start()
        self._run(comfy.start())

    @property
    def url(self) -> str:
        return self._comfy.url

    @property
    def faults(self) -> Faults:
        """The knobs; to turn one is safe from any thread."""
        return self._comfy.faults

    @property
    def runs(self) -> Counter[str]:
        """How often each prompt was really run."""
        return self._comfy.runs.copy()

    @property
    def posts(self) -> Counter[str]:
        """How often each prompt was queued."""
        return self._comfy.posts.copy()

    def kill(self) -> None:
        self._run(self._comfy.kill())

    def restart(self, keep: bool = False) -> None:
        self._run(self._comfy.restart(keep))

    def cut(self, client_id: str | None = None) -> None:
        self._loop.call_soon_threadsafe(self._comfy.cut, client_id)

    def close(self) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._comfy.state.own_up()

    def _run(self, doing: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(timeout=30)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "comfy(version, step_seconds): which ComfyUI `fake_comfyui` is")


@pytest.fixture
def fake_comfyui(request: pytest.FixtureRequest) -> Iterator[ThreadedFake]:
    """A running fake ComfyUI at `fake_comfyui.url`, new for each test."""
    try:
        from comfy_fsm.testing import FakeComfy
    except ModuleNotFoundError as lacking:
        pytest.fail(f"the fixture fake_comfyui cannot be had: {lacking}", pytrace=False)
    mark = request.node.get_closest_marker("comfy")
    fake = ThreadedFake(FakeComfy(**(mark.kwargs if mark else {})))
    try:
        yield fake
    finally:
        fake.close()


@pytest.fixture
def comfy_log(tmp_path: Path) -> Path:
    """Where a test may keep a log; there is none yet."""
    return tmp_path / "comfy.log"
