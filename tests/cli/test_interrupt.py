"""Tests of Ctrl-C while a command is still being loaded."""

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["comfy_fsm", "replay"])
def test_ctrl_c_during_the_imports_prints_no_traceback(module: str) -> None:
    words = [sys.executable, "-X", "importtime", "-m", module, "--help"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as loading:
        assert loading.stderr
        told = []
        for line in loading.stderr:
            told.append(line)
            if "cyclopts" in line:
                break
        loading.send_signal(signal.SIGINT)
        told.append(loading.stderr.read())
        status = loading.wait()
    assert status in (-signal.SIGINT, 130)
    assert "Traceback" not in "".join(told)
