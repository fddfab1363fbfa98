"""A pytest of its own, on the test files of a user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PLAIN = """
import json, urllib.request

def ask(url, body=None):
    sent = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, sent, {"Content-Type": "application/json"})) as answer:
        return json.load(answer)
"""


def pytest_on(folder: Path, **files: str) -> tuple[int, str]:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-W", "error", "--strict-markers", "-p", "comfy_fsm.testing.plugin", "."]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr
