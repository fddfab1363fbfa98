"""Tests of the options that commands share."""

from __future__ import annotations

from pathlib import Path

from tests.support.lines import fill, line
from tests.support.processes import BAD_DATA, LOG, USAGE, command, said


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
