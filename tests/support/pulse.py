"""Fixture that lets clients poll as often as their quick policy wants; commands, as processes, poll as usual."""

import pytest

from comfy_fsm.live.engine import runner


@pytest.fixture(autouse=True)
def pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a test waits up to a second for what `stage.QUICK` has due in a tenth of one."""
    monkeypatch.setattr(runner, "_PULSE", 0.1)
