"""Tests of Ctrl-C while a command is still being loaded."""

import signal
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

SCRIPT = "import sys; from comfy_fsm_command import {0}; sys.exit({0}())"  # as pip writes them
COMMANDS = {
    "python -m comfy_fsm": (["-m", "comfy_fsm"], "cyclopts"),
    "python -m replay": (["-m", "replay"], "cyclopts"),
    "comfy-fsm": (["-c", SCRIPT.format("comfy_fsm")], "cyclopts"),
    "comfy-replay": (["-c", SCRIPT.format("replay")], "cyclopts"),
}


@pytest.mark.parametrize(("command", "moment"), COMMANDS.values(), ids=COMMANDS)
def test_ctrl_c_during_the_imports_prints_no_traceback(command: list[str], moment: str) -> None:
    """At the moment in which this module has been imported."""
    words = [sys.executable, "-X", "importtime", *command, "--help"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as loading:
        assert loading.stderr
        told = []
        for line in loading.stderr:
            told.append(line)
            if moment in line:
                break
        loading.send_signal(signal.SIGINT)
        told.append(loading.stderr.read())
        status = loading.wait()
    assert status in (-signal.SIGINT, 130)
    assert "Traceback" not in "".join(told)
