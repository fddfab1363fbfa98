"""Checks of the database that an address names: that it answers and keeps what it acknowledges, and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator

from comfy_fsm.errors import LogError, MissingExtra
from comfy_fsm.live.doctor.check import Check
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.reader import Reader

__all__ = ["checks"]

_APART = 60.0


def checks(log: str) -> Iterator[Check]:
    """Ask the server about itself."""
    address = Address.of(log)
    try:
        with Reader(address) as asking:
            server = asking.server()
    except MissingExtra as error:
        yield Check("database", "problem", "psycopg is not installed", f"pip install 'comfy-fsm[{error.extra}]'")
        return
    except LogError as error:
        yield Check("database", "problem", str(error), "start the database, or name another log by --log")
        return
    how = "over TLS" if server.encrypted else "not encrypted"
    yield Check("database", "ok", f"PostgreSQL {server.version} answers, {how}")
    if not server.syncs:
        told = "the server runs with fsync=off, so a crash can lose what it acknowledged, and no log is written there"
        yield Check("database", "problem", told, "let it run with fsync=on")
    if server.standby:
        told = "this server is a standby: logs can be read here, and not written"
        yield Check("database", "problem", told, "name the primary, or all hosts and target_session_attrs=read-write")
    apart = server.clock - time.time()
    if abs(apart) > _APART:
        told = f"its clock is {abs(apart):,.0f} s {'ahead of' if apart > 0 else 'behind'} ours; no log depends on it"
        yield Check("database", "ok", told)
