"""Progress bar for what takes long, on a terminal: the bytes of a replay, or the traces of a corpus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

__all__ = ["progress"]

_PATIENCE = 1.0
"""Seconds before a bar is worth looking at."""
_REMEMBERED = 600.0
"""Seconds whose pace tells how much time is left."""


@contextmanager
def progress(file: IO[str], *, counting: str | None = None) -> Iterator[Callable[[int, int], None] | None]:
    """Return a bar on `file`, where that is a terminal; None where it is not. It counts bytes, or what is named."""
    if not file.isatty():
        yield None
        return
    bar = _bar(file, counting)
    row = bar.add_task("replaying", total=None)
    begun = time.monotonic()

    def watch(done: int, size: int) -> None:
        bar.update(row, completed=done, total=size or None)
        # traces are told in chunks, each of which may take minutes: whoever waits for the first must see that, too
        if not bar.live.is_started and (counting is not None or time.monotonic() - begun > _PATIENCE):
            bar.start()

    try:
        yield watch
    finally:
        bar.stop()


def _bar(file: IO[str], counting: str | None) -> Progress:
    from rich.console import Console  # loaded only for a terminal: it takes longer than a short trace
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    counted: tuple[ProgressColumn, ...] = (DownloadColumn(), TimeElapsedColumn())
    if counting is not None:
        counted = (MofNCompleteColumn(), TextColumn(counting), TimeRemainingColumn(), TextColumn("left"))
    columns = (TextColumn("replaying"), BarColumn(), *counted)
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    return Progress(*columns, console=console, transient=True, speed_estimate_period=_REMEMBERED)
