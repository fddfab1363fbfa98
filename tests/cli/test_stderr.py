"""Tests of lines on standard error: one a line, harmless, and each once."""

import logging
from collections.abc import Iterator

import pytest

from comfy_fsm.cli import stderr
from comfy_fsm.errors import LogWriteFailed


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """Whatever is complained of, until the test ends."""
    lines: list[str] = []
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    stderr.complain_of_warnings(lines.append)
    yield lines
    root.handlers[:] = before


def test_hostile_words_are_told_without_their_escapes_and_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    stderr.complain("\x1b[2J[bold]no[/bold] " + "x" * 10_000)
    said = capsys.readouterr().err
    assert said.startswith("comfy_fsm: ")
    assert "[bold]no[/bold]" in said
    assert "\x1b" not in said
    assert len(said) < 2_100


def test_every_warning_is_told_and_what_is_below_is_not(complaints: list[str]) -> None:
    logging.getLogger("comfy_fsm.any").warning("the disk is %s", "full")
    logging.getLogger("comfy_fsm.any").info("all is well")
    assert complaints == ["the disk is full"]


def test_a_failure_of_the_log_is_not_told_for_each_task(complaints: list[str]) -> None:
    for error in (LogWriteFailed("no space is left"), OSError("no route")):
        logging.getLogger("comfy_fsm.any").warning("a task failed", exc_info=error)
    assert complaints == ["a task failed"]
