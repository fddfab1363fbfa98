"""Progress bars of `run` and `resume`, and the lines that they print.

Nothing is parsed as markup, and whatever a server sent has passed `harmless`.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from comfy_fsm.cli import stderr
from comfy_fsm.core.updates import Update
from comfy_fsm.display import harmless

__all__ = ["Bars"]


class Bars:
    """Progress bars on standard error, one for each task, so that standard output has only the results; silent if
    standard error is no terminal.
    """

    def __init__(self) -> None:
        console = stderr.console()
        name, state = (TextColumn("{task.fields[" + field + "]}", markup=False) for field in ("name", "state"))
        self._progress = Progress(
            name, BarColumn(), state, TimeElapsedColumn(), console=console, disable=not console.is_interactive,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self.status = 0
        """The exit status of a run that went well: another one if its reader left."""

    def __enter__(self) -> Self:
        stderr.complain_of_warnings(self.complain)  # for good: what nobody retrieved is told when it is collected
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, name: str, state: str) -> TaskID:
        return self._progress.add_task("", total=None, name=harmless(name, 40), state=state)

    def move(self, bar: TaskID, state: str, update: Update) -> None:
        total = None if update.share is None else 1.0
        node = update.title or (f"node {update.node}" if update.node else "")
        told = ", ".join(filter(None, (f"{state}: {node}" if node else state, _left(update.seconds_left))))
        self._progress.update(bar, state=harmless(told, 60), total=total, completed=update.share or 0.0)

    def end(self, bar: TaskID, state: str) -> None:
        self._progress.update(bar, state=state, total=1.0, completed=1.0)

    def say(self, text: str) -> None:
        """Print a line on standard output; if that is the terminal with the bars, the line goes above them."""
        if not self._progress.disable and sys.stdout.isatty():
            return self._progress.console.print(Text(harmless(text, 2_000)), soft_wrap=True)
        try:
            print(harmless(text, 2_000), flush=True)
        except BrokenPipeError:  # as of `| head`: no fault of what is told, which goes on, and is saved
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.status = 128 + signal.SIGINT

    def complain(self, text: str) -> None:
        stderr.complain_on(self._progress.console, text)


def _left(seconds: float | None) -> str:
    """Format the remaining time as a rough estimate."""
    if seconds is None:
        return ""
    return f"perhaps {max(seconds, 1.0):.0f} s" if seconds < 90 else f"perhaps {seconds / 60:.0f} min"
