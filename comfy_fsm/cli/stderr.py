"""Lines on standard error, where a command tells what went wrong: never markup, and harmless to the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from comfy_fsm.display import harmless
from comfy_fsm.errors import LogError

__all__ = ["complain", "complain_of_warnings", "complain_on", "console"]


def complain_of_warnings(write: Callable[[str], None]) -> None:
    """Print every warning that is logged from now on."""
    logging.getLogger().addHandler(_LineHandler(write))


def complain(text: str) -> None:
    """Print a line on standard error."""
    complain_on(console(), text)


def complain_on(screen: Console, text: str) -> None:
    """Print a line above whatever is drawn there."""
    screen.print(Text(f"comfy_fsm: {harmless(text, 2_000)}"), soft_wrap=True)


def console() -> Console:
    """Return a new console on standard error."""
    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)


class _LineHandler(logging.Handler):
    """Log handler that prints a line for each record; a failure of the log itself is printed once, at the end, and not
    for each task.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        if not (record.exc_info and isinstance(record.exc_info[1], LogError)):
            self._write(record.getMessage())
