"""Logs by their names: a path leads to a file, an address `postgresql://…/DATABASE?log=NAME` into a database.

Without `?log=NAME`, an address stands for all logs of its database: they are read as one, merged, and never written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import closing
from typing import Protocol

from comfy_fsm.errors import NotALog
from comfy_fsm.log import lock, reader, sqlite_file
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.postgres.address import Address, is_address
from comfy_fsm.log.postgres.farm import Farm
from comfy_fsm.log.postgres.reader import Reader
from comfy_fsm.log.store import Store

__all__ = [
    "Following",
    "follow",
    "is_log",
    "is_written",
    "logs_of",
    "open_log",
    "read",
    "secrets_of",
    "shown",
]

_Name = str | os.PathLike[str]
_PACE = 0.2
"""Seconds between two looks at a file: soon enough for an eye, and calm."""


class Following(Protocol):
    """Log that is followed while another process writes it; a follower reads again and again from where it was."""

    title: str
    """What a person calls it."""

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        """Yield the rows after a position, as far as there are some by now."""

    def is_written(self) -> bool | None:
        """Return whether a process writes it now; None if that cannot be known."""

    def wait(self) -> None:
        """Wait until there may be more."""

    def close(self) -> None:
        """Let go of it."""


class _File:
    """Log in a file that another process writes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.title = os.path.basename(path)

    def read(self, after: int = 0) -> Generator[LogRow, None, None]:
        return reader.read(self._path, after)

    def is_written(self) -> bool | None:
        return lock.is_written(self._path)

    def wait(self) -> None:
        time.sleep(_PACE)

    def close(self) -> None:
        pass  # each reading opens the file anew, since it may have been replaced


def shown(name: _Name) -> str:
    """Return the name as it may be told: an address without its password."""
    return str(Address.of(name)) if is_address(name) else os.fspath(name)


def secrets_of(name: _Name | None) -> tuple[str, ...]:
    """Return what of the name must be written down nowhere; raises NotALog for an address that cannot be read."""
    return Address.of(name).secrets if name is not None and is_address(name) else ()


async def open_log(name: _Name) -> Store:
    """Open the log for writing, and make it if there is none; raises LogError."""
    if is_address(name):
        from comfy_fsm.log.postgres.log import PostgresLog  # asyncio, which only who writes must load

        return await PostgresLog.open(os.fspath(name))
    from comfy_fsm.log.log import Log

    return await Log.open(name)


def read(name: _Name, after: int = 0) -> Generator[LogRow, None, None]:
    """Yield the rows after a position, each with what is wrong with it, up to the last one committed by now."""
    return _read(Address.of(name), after) if is_address(name) else reader.read(name, after)


def _read(address: Address, after: int) -> Generator[LogRow, None, None]:
    with closing(Farm(address)) as farm:
        yield from farm.read(after)


def logs_of(name: _Name) -> list[str]:
    """Return the names of the logs that a name stands for: itself, or all of a database; raises NotALog if there is
    none.
    """
    if not is_address(name):
        return [os.fspath(name)]
    address = Address.of(name)
    if address.name is not None:
        return [os.fspath(name)]
    with Reader(address) as asking:
        found = asking.names()
    if not found:
        raise NotALog(f"{address} holds no log yet; nothing was read; a client on {address.of_log('NAME')} makes one")
    return [address.of_log(each).whole() for each in found]


def is_log(name: _Name) -> bool:
    """Return whether it claims to be a log; it may still be damaged, or not be there. Raises OSError for no file."""
    if is_address(name):
        return True
    path = os.fspath(name)
    return sqlite_file.is_sqlite(path) and sqlite_file.is_log(path)


def is_written(name: _Name) -> bool | None:
    """Return whether a process writes the log now; None if that cannot be known."""
    if not is_address(name):
        return lock.is_written(os.fspath(name))
    with Reader(Address.of(name)) as asking:
        return asking.is_written()


def follow(name: _Name) -> Following:
    """Return the log for a follower, to be closed."""
    return Farm(Address.of(name)) if is_address(name) else _File(os.fspath(name))
