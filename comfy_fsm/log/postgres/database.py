"""Connection to a database: the one module that knows psycopg. Blocks; used by one thread at a time.

An error of the library leaves as DatabaseError, which says what was refused, or that the connection is gone. In the
second case nobody knows whether the last statement was committed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from comfy_fsm.errors import MissingExtra
from comfy_fsm.log.postgres.address import Address

__all__ = ["DISK_FULL", "DUPLICATE", "NO_PRIVILEGE", "NO_TABLE", "READ_ONLY", "Database", "DatabaseError"]

READ_ONLY, NO_PRIVILEGE, DUPLICATE = "25006", "42501", "23505"
DISK_FULL = "53100"
NO_TABLE = ("42P01", "3F000")
_GOING = ("57P01", "57P02", "57P03", "57P05", "25P03")  # the server or the session ends
_WAIT = 10
"""Seconds for a connection to come about, of each host."""
_DEFAULTS = {
    "connect_timeout": str(_WAIT), "application_name": "comfy-fsm", "keepalives_idle": "10",
    "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "30000",
}  # fmt: skip
_SESSION = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = 30000; SET idle_in_transaction_session_timeout = '30s'; SET lock_timeout = '10s'"
)
"""So that a host without power holds its log for half a minute, and not for two hours."""


class DatabaseError(Exception):
    """Refusal of a statement or loss of a connection; the text has no secret in it, and is one line."""

    def __init__(self, text: str, code: str, lost: bool) -> None:
        super().__init__(text)
        self.code = code
        """SQLSTATE, or nothing."""
        self.lost = lost
        """The connection is gone, and with it the answer."""


class Database:
    """Connection in autocommit: each statement is a transaction of its own, unless it stands in `transaction`."""

    def __init__(self, address: Address) -> None:
        """Connect; raises DatabaseError, and MissingExtra if psycopg is not installed."""
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("postgres", "no log in a database can be opened") from None
        self._library = psycopg
        self._secrets = address.secrets
        settings: dict[str, Any] = _DEFAULTS | dict(address.settings)
        with self._translated():
            self._connection = psycopg.Connection[tuple[Any, ...]].connect("", autocommit=True, **settings)
            self._connection.execute(_SESSION)
        self.pid = self._connection.info.backend_pid

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement, and return its rows."""
        with self._translated():
            return self._connection.execute(statement, values, binary=True).fetchall()

    def run(self, statement: str, *values: object) -> int:
        """Run a statement, and return how many rows it changed."""
        with self._translated():
            return self._connection.execute(statement, values or None).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run what is inside as one transaction, which is rolled back if it raises."""
        with self._translated(), self._connection.transaction():
            yield

    def notified(self, seconds: float = 0.0) -> Sequence[str]:
        """Wait for notifications of the channels that are listened to, and return what they say."""
        with self._translated():
            until = time.monotonic() + seconds
            told: list[str] = []
            for note in self._connection.notifies(timeout=seconds, stop_after=1 if seconds else None):
                told.append(note.payload)
                if time.monotonic() > until:
                    break
            return told

    def close(self) -> None:
        with suppress(self._library.Error):
            self._connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._library.Error as error:
            code = error.sqlstate or ""
            connection = getattr(self, "_connection", None)
            broken = connection is None or connection.closed
            gone = not code and isinstance(error, self._library.OperationalError)
            raise DatabaseError(self._said(error), code, broken or gone or code in _GOING) from None

    def _said(self, error: Exception) -> str:
        """Return what the library said, in one line; it does not repeat passwords, and is not trusted not to."""
        text = " ".join(str(error).split())
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text[:500] or type(error).__name__
