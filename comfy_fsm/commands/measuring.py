"""`metrics`: the figures of a log, once, in the text format of Prometheus."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from comfy_fsm.commands.options import Log, Named, Wrong, must_exist

if TYPE_CHECKING:
    from comfy_fsm.core.figures import Figures


def metrics(log: Log, *, server: Named = None) -> int:
    """Print the figures of a log as Prometheus would scrape them, as they were at its last entry.

    Parameters
    ----------
    log
        The log, which another process may be writing.
    server
        Address of a server that may be named in the labels; may be given several times. All others are `other`.
    """
    must_exist(log)
    from comfy_fsm.errors import MissingExtra
    from comfy_fsm.live import exporter
    from comfy_fsm.live.comfy import address_of

    figures = refolded(log, [address_of(url)[0] for url in server or ()])
    try:
        sys.stdout.write(exporter.exposition(figures.read(figures.board.now)))
    except MissingExtra as error:
        raise Wrong(str(error)) from None
    return 0


def refolded(log: str, servers: list[str]) -> Figures:
    """What a client that took up this log now would tell: the trace goes on, so nothing is judged by its end."""
    from comfy_fsm.core import observations as seen
    from comfy_fsm.core import wire
    from comfy_fsm.core.board import Board
    from comfy_fsm.core.figures import Figures
    from comfy_fsm.live import rows

    board, at = Board(), 0.0
    figures = Figures(board, servers)
    for record in rows.read(log):
        if record.line is not None:
            observation = wire.read(record.line, at)
            at = observation.at
            board.fold_observation(record.position, observation)
            figures.count(record.position, observation)
        if record.damage is not None:
            damaged = seen.Damaged(at=at, data=seen.DamageData("damaged", record.damage))
            board.fold_observation(record.position, damaged)
            figures.count(record.position, damaged)
        board.drain()
    return figures
