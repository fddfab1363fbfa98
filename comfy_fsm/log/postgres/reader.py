"""Reader of the logs in a database: their names, their rows with what is wrong with them, and whether one is written.

Rows come in pages, each a short query of its own: no snapshot is held while the caller works on them, and none is
needed, since no row is ever changed and reading ends where the log ended when it began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

from comfy_fsm.errors import LogError, LogUnreachable, LogVersionError, NotALog
from comfy_fsm.log.chain import GENESIS, LogRow, Verifier, span
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.database import NO_PRIVILEGE, NO_TABLE, Database, DatabaseError
from comfy_fsm.log.postgres.schema import KEY, SCHEMA_VERSION

__all__ = ["Reader", "Server", "check_version", "unreadable"]

_T = TypeVar("_T")
_PAGES = (16, 128, 1024)
"""Rows of the first pages, and of each page after them: who wants one row does not wait for a thousand."""
_PAUSE = 0.2
_PAGE_BYTES = 4 * 1024 * 1024
_PAGE = f"""
    SELECT position, line, checksum FROM (
        SELECT position, line, checksum,
               sum(octet_length(line)) OVER (ORDER BY position) - octet_length(line) AS before
        FROM comfy_fsm.entries WHERE log = %s AND position >= %s AND position <= %s ORDER BY position LIMIT %s
    ) AS page WHERE before <= {_PAGE_BYTES} ORDER BY position
"""
_HEAD = "SELECT id, position FROM comfy_fsm.logs WHERE name = %s"
_ANCHOR = "SELECT checksum FROM comfy_fsm.entries WHERE log = %s AND position = %s"
_NAMES = "SELECT name FROM comfy_fsm.logs ORDER BY name"
_WRITTEN = f"""
    SELECT EXISTS (
        SELECT FROM pg_locks JOIN comfy_fsm.logs ON logs.id::bigint = pg_locks.objid::bigint
        WHERE locktype = 'advisory' AND classid::bigint = {KEY} AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND (logs.name = %s OR %s)
    )
"""
_SERVER = """
    SELECT current_setting('server_version'), current_setting('fsync') = 'on',
           pg_is_in_recovery(),
           extract(epoch FROM clock_timestamp())::float8,
           coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)
"""
_LOST = "the log's own count is higher; they were deleted, or the database was restored in part"


class Server(NamedTuple):
    """Facts that a server states about itself."""

    version: str
    syncs: bool
    standby: bool
    clock: float
    encrypted: bool


class Reader:
    """Reader of one log in a database, or of all; its idle connection is kept for the next reading."""

    def __init__(self, address: Address, patience: float = 0.0) -> None:
        """Read what this address names; a question waits `patience` seconds for a database that is away."""
        self.address = address
        self._patience = patience
        self._idle: list[Database] = []
        self._listening: Database | None = None
        self._closed = False

    def names(self) -> list[str]:
        """Return the names of the logs: all of the database, or the one of the address."""
        found = [row[0] for row in self._ask(lambda db: db.rows(_NAMES))]
        if self.address.name is None:
            return found
        return [name for name in found if name == self.address.name]

    def server(self) -> Server:
        """Return what the server says about itself."""
        return Server(*self._ask(lambda db: db.rows(_SERVER))[0])

    def is_written(self) -> bool:
        """Return whether a session holds the log now; of a database, whether one holds any of its logs."""
        name = self.address.name
        return bool(self._ask(lambda db: db.rows(_WRITTEN, name or "", name is None))[0][0])

    def read(self, after: int = 0, name: str | None = None) -> Generator[LogRow, None, None]:
        """Yield the rows after a position, up to the last one committed when reading began; `name` is that of another
        log of the database.

        Raises NotALog, LogVersionError or LogUnreachable at once.
        """
        name, chain = name or self.address.one(), Verifier(after)

        def begin(db: Database) -> tuple[int, int] | None:
            found = db.rows(_HEAD, name)
            if not found:
                return None
            log, last = found[0]
            before = db.rows(_ANCHOR, log, chain.next - 1) if chain.next > 1 else [(GENESIS,)]
            chain.begin(before[0][0] if before else None)
            return log, last

        head = self._ask(begin)
        if head is None:
            told = self.address.of_log(name)
            raise NotALog(f"{told}: there is no log of this name; nothing was read; see that it is spelled so")
        return self._rows(chain, *head)

    def _rows(self, chain: Verifier, log: int, last: int) -> Generator[LogRow, None, None]:
        chain.last, pages = last, iter(_PAGES)
        size = 0
        while chain.next <= last:
            size = next(pages, size)
            page = self._page(log, chain.next, last, size)
            if not page:
                yield LogRow(chain.next, None, f"{span(chain.next, last)} missing: {_LOST}")
                return
            yield from chain.verified(iter(page))

    def _page(self, log: int, first: int, last: int, size: int) -> list[tuple[Any, ...]]:
        return self._ask(lambda db: db.rows(_PAGE, log, first, last, size))

    def _ask(self, question: Callable[[Database], _T]) -> _T:
        """Ask by the idle connection or a new one, and again if it was gone."""
        until = time.monotonic() + self._patience
        while True:
            try:
                kept = self._idle.pop()
            except IndexError:
                kept = None
            try:
                db = kept or self._connect()
                try:
                    answer = question(db)
                except BaseException:
                    db.close()
                    raise
                self._keep(db)
                return answer
            except DatabaseError as error:
                if not error.lost or (kept is None and time.monotonic() >= until):
                    raise unreadable(self.address, error) from error
                if kept is None:
                    time.sleep(_PAUSE)

    def _keep(self, db: Database) -> None:
        if self._closed:
            db.close()
        else:
            self._idle.append(db)

    def _connect(self) -> Database:
        db = Database(self.address)
        try:
            db.run("SET default_transaction_read_only = on")
            check_version(self.address, db)
        except BaseException:
            db.close()
            raise
        return db

    def wait(self, seconds: float) -> bool:
        """Wait until a writer of this database tells of a commit, or so long; returns whether to look.

        Never trust it alone: a notification may be lost.
        """
        until = time.monotonic() + seconds
        try:
            if self._listening is None:
                self._listening = self._connect()
                self._listening.run("LISTEN comfy_fsm")
                return True  # of what came before nobody was told: look once more
            return bool(self._listening.notified(seconds))
        except (DatabaseError, LogError):  # which whoever reads now is told
            self._deafen()
            time.sleep(max(0.0, until - time.monotonic()))
            return True

    def _deafen(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def close(self) -> None:
        """Close what is idle; whoever reads after this connects for each page."""
        self._closed = True
        self._deafen()
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_version(address: Address, db: Database) -> int:
    """Return the version of the tables, 0 if there are none; raises LogVersionError if they are newer than we are."""
    if db.rows("SELECT to_regclass('comfy_fsm.schema') IS NULL")[0][0]:
        return 0
    version = max((int(row[0]) for row in db.rows("SELECT version FROM comfy_fsm.schema")), default=0)
    if version > SCHEMA_VERSION:
        raise LogVersionError(
            f"{address} holds logs of version {version}, newer than this release, which reads {SCHEMA_VERSION}; "
            "nothing was touched; use a newer comfy-fsm"
        )
    return version


def unreadable(address: Address, error: DatabaseError) -> LogError:
    """Return the error of ours for one of a database that is opened or read."""
    if error.lost:
        return LogUnreachable(f"{address} cannot be reached: {error}; nothing was read or written; {_cure(str(error))}")
    if error.code in NO_TABLE:
        return NotALog(
            f"{address} is a database without logs; nothing was touched; a writer makes them, or its owner: "
            "comfy-fsm ops database"
        )
    if error.code == NO_PRIVILEGE:
        return LogError(
            f"{address}: its role may not do this: {error}; nothing was changed; let the owner of the database run "
            "`comfy-fsm ops database`, and grant comfy_fsm_writer or comfy_fsm_reader"
        )
    return LogError(f"{address} refused a query: {error}; nothing was changed; look at the log of the database")


def _cure(said: str) -> str:
    if "certificate" in said:
        return "name the authority that signed for the server as sslrootcert, and as host what its certificate is for"
    if "does not support SSL" in said:
        return "the server speaks no TLS: let it (ssl = on), or leave sslmode out where nobody else listens"
    if "no encryption" in said:
        return "the server wants TLS: add sslmode=verify-full"
    return "see that the database runs, and that host, port, user and password are right, then try again"
