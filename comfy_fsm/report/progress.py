"""Progress bar for a replay that takes long, on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["progress"]

_PATIENCE = 1.0
"""Seconds before a bar is worth looking at."""


@contextmanager
def progress(file: IO[str]) -> Iterator[Callable[[int, int], None] | None]:
    """Return a bar on `file` for a long trace, where that is a terminal; None where it is not."""
    if not file.isatty():
        yield None
        return
    columns = (TextColumn("replaying"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(file=file, highlight=False, markup=False, emoji=False), transient=True)
    row = bar.add_task("replaying", total=None)
    begun = time.monotonic()

    def watch(done: int, size: int) -> None:
        bar.update(row, completed=done, total=size or None)
        if not bar.live.is_started and time.monotonic() - begun > _PATIENCE:
            bar.start()

    try:
        yield watch
    finally:
        bar.stop()
