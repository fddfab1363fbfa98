"""Clients of the live tests look at the clock as often as their quick policy wants; commands, as processes, as ever."""

import pytest

from comfy_fsm.live.engine import runner


@pytest.fixture(autouse=True)
def pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a test waits up to a second for what `stage.QUICK` has due in a tenth of one."""
    monkeypatch.setattr(runner, "_PULSE", 0.1)
