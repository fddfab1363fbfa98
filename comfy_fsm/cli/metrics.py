"""Command `metrics`: prints the metrics of a log, once, in the text format of Prometheus."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_fsm.cli.options import Log, Servers, What, must_be_readable
from comfy_fsm.exits import Unavailable

if TYPE_CHECKING:
    from comfy_fsm.core.metrics.catalogue import Figures

__all__ = [
    "metrics",
    "ops",
    "refolded",
]


def metrics(log: Log, *, server: Servers = None) -> int:
    """Print the figures of a log as Prometheus would scrape them, as they were at its last entry.

    Parameters
    ----------
    log
        The log, which another process may be writing.
    server
        Address of a server that may be named in the labels; may be given several times. All others are `other`.
    """
    must_be_readable(log)
    from comfy_fsm.errors import MissingExtra
    from comfy_fsm.live.extras import prometheus
    from comfy_fsm.live.transport.addresses import address_of

    figures = refolded(log, [address_of(url)[0] for url in server or ()])
    try:
        sys.stdout.write(prometheus.exposition(figures.read(figures.board.now)))
    except MissingExtra as error:
        raise Unavailable(str(error)) from None
    return 0


def ops(what: What, /) -> int:
    """Print alert rules for Prometheus, a dashboard for Grafana, or the tables and roles of logs in PostgreSQL.

    Parameters
    ----------
    what
        The alert rules (YAML), the dashboard (JSON), or the database (SQL, which may run again).
    """
    if what == "database":
        from comfy_fsm.log.postgres.schema import MIGRATE, ROLES

        sys.stdout.write(f"{MIGRATE}\n{ROLES}")
        return 0
    file = Path(__file__).parents[1] / "ops" / ("alerts.yml" if what == "rules" else "dashboard.json")
    sys.stdout.write(file.read_text(encoding="utf-8"))
    return 0


def refolded(log: str, servers: list[str]) -> Figures:
    """Return the metrics that a client would report if it opened this log now; the end of the log is not taken for the
    end of the tasks.
    """
    from comfy_fsm.core.fold.board import Board
    from comfy_fsm.core.metrics.catalogue import Figures
    from comfy_fsm.live.engine.ingest import refold
    from comfy_fsm.log import opening

    figures = Figures(Board(), servers)
    refold(opening.read(log), figures.board, opening.shown(log), figures.count)
    return figures
