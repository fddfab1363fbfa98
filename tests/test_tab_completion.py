"""Tests of completion in real shells: it is put where each looks, and completes."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import DONE, USAGE, begin, command, finish, said

each_module = pytest.mark.parametrize("module", ["comfy_fsm", "replay"])


PROGRAMS = {"comfy_fsm": "comfy-fsm", "replay": "comfy-replay"}


@each_module
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_put_where_the_shell_looks(module: str, shell: str, tmp_path: Path) -> None:
    where = {"HOME": str(tmp_path), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": "", "SHELL": f"/usr/bin/{shell}"}
    found = finish(begin("--install-completion", module=module, cwd=tmp_path, env=where))
    place = Path(found.stdout.splitlines()[0])
    assert found.returncode == DONE
    assert place.is_relative_to(tmp_path)
    assert PROGRAMS[module] in place.read_text(encoding="utf-8")
    if shutil.which(shell):
        assert subprocess.run([shell, "-n", str(place)], capture_output=True).stderr == b""


def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    found = command("--install-completion", "bash", cwd=tmp_path, env={"HOME": str(tmp_path), "XDG_DATA_HOME": ""})
    script = found.stdout.splitlines()[0]

    def completed(*words: str) -> set[str]:
        line = (
            f". {shlex.quote(script)}; COMP_WORDS=({shlex.join(['comfy-fsm', *words])}); COMP_CWORD={len(words)}; "
            '_comfy_fsm; echo "${COMPREPLY[@]}"'
        )
        return set(subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8").stdout.split())

    assert completed("re") == {"resume", "record", "recover"}
    assert completed("recover", "--kn") == {"--known"}


def test_a_shell_that_is_not_known_is_wrong_usage(tmp_path: Path) -> None:
    assert "name one" in said(command("--install-completion", cwd=tmp_path, env={"SHELL": "/bin/dash"}), USAGE)
