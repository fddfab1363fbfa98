"""The command as a stranger meets it: its version, its help, its exit statuses, and completion in real shells."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from comfy_fsm import __version__
from comfy_fsm.cli.options import STATUSES
from tests.support.lines import fill, line
from tests.support.processes import BAD_DATA, DONE, LOG, USAGE, begin, command, finish, said

each_module = pytest.mark.parametrize("module", ["comfy_fsm", "replay"])
PROGRAMS = {"comfy_fsm": "comfy-fsm", "replay": "comfy-replay"}


@each_module
def test_the_version_is_that_of_the_package(module: str, tmp_path: Path) -> None:
    found = finish(begin("--version", module=module, cwd=tmp_path))
    assert (found.returncode, found.stdout, found.stderr) == (DONE, f"comfy-fsm {__version__}\n", "")


@each_module
def test_exit_statuses_are_listed_once_for_all_commands(module: str, tmp_path: Path) -> None:
    found = finish(begin("--help-status", module=module, cwd=tmp_path))
    assert [line.split()[0] for line in found.stdout.splitlines()] == [status.split()[0] for status in STATUSES]
    assert "Exit status" not in finish(begin("--help", module=module, cwd=tmp_path)).stdout


def test_commands_stand_in_the_order_of_a_day(tmp_path: Path) -> None:
    told = re.findall(r"^│ ([a-z]+) ", command("--help", cwd=tmp_path).stdout, re.MULTILINE)
    assert told[:6] == ["run", "resume", "watch", "serve", "doctor", "diagnose"]
    assert told != sorted(told)


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

    assert completed("re") == {"resume", "recover"}
    assert completed("recover", "--kn") == {"--known"}


def test_a_shell_that_is_not_known_is_wrong_usage(tmp_path: Path) -> None:
    assert "name one" in said(command("--install-completion", cwd=tmp_path, env={"SHELL": "/bin/dash"}), USAGE)


def test_known_stands_for_the_servers_that_the_log_names(tmp_path: Path) -> None:
    """Nobody listens there, so each is named by the complaint about it."""
    for port in (7, 9):
        post = {
            "id": str(port),
            "method": "POST",
            "path": "/prompt",
            "body": {"prompt_id": f"{port}" * 8, "prompt": {}},
        }
        fill(tmp_path / LOG, line("http.request", post, server=f"http://127.0.0.1:{port}"))
    found = command("consistency", "7", "--known", cwd=tmp_path)
    assert all(f"http://127.0.0.1:{port}" in found.stderr for port in (7, 9))


def test_known_names_nobody_where_the_log_names_nobody(tmp_path: Path) -> None:
    fill(tmp_path / LOG)
    assert "the log names none" in said(command("recover", "--all", "--known", cwd=tmp_path), USAGE)
    (tmp_path / LOG).write_text("what I did today\n" * 20, encoding="utf-8")
    assert LOG in said(command("recover", "--all", "--known", cwd=tmp_path), BAD_DATA)
