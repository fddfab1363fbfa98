"""Writer of one log in a database: its session lock, its fence, and commits that are never written twice.

    lock     an advisory lock of the session: a second writer is refused while the first one lives
    fence    a number that grows when a writer takes the log up; each append checks it, in the statement that inserts

The lock ends with its session, which the database may end while the writer still believes in it. The fence does not
depend on that: whoever takes the log up makes it grow, which waits for an append that is on its way and refuses all
later ones. A commit whose answer was lost is decided the same way, by raising the fence and reading the head back.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from comfy_fsm.display import harmless
from comfy_fsm.errors import (
    LogError,
    LogInDoubt,
    LogLocked,
    LogReadOnly,
    LogRewound,
    LogTakenOver,
    LogUnreachable,
    LogWriteFailed,
)
from comfy_fsm.log.chain import GENESIS, seal
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.database import DISK_FULL, DUPLICATE, READ_ONLY, Database, DatabaseError
from comfy_fsm.log.postgres.reader import check_version, unreadable
from comfy_fsm.log.postgres.schema import KEY, MIGRATE, SCHEMA_VERSION

__all__ = ["PATIENCE", "Writer"]

PATIENCE = 30.0
"""Seconds that an append waits for a database that is away: a restart or a failover takes less."""
_LAST_PATIENCE = 5.0
"""The same while the log is being closed."""
_PAUSE = 0.2
_HANDOVER = 1.0
"""Seconds that an opening waits for a lock: the session of a killed process ends a moment after it."""
_TOLD_APART = 0.1
"""Seconds between two notifications: they make commits of one database wait for each other."""
_CHUNK_BYTES = 32 * 1024 * 1024
"""Bytes of lines in one statement: the server takes a message of at most 1 GB."""
_CHUNK_ROWS = 20_000
# A notification is a commit of its own, which need not be waited for.
_TELL = "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY comfy_fsm, '{}'; COMMIT"
_LOCK = f"SELECT pg_try_advisory_lock({KEY}, %s)"
_UNLOCK = f"SELECT pg_advisory_unlock({KEY}, %s)"
_END_SESSION = f"""
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND classid::bigint = {KEY} AND objid::bigint = %s AND pid = %s AND pid <> %s
"""
_APPEND = """
    WITH head AS (
        UPDATE comfy_fsm.logs SET position = position + %s, checksum = %s
        WHERE id = %s AND fence = %s AND position = %s AND checksum = %s RETURNING id
    )
    INSERT INTO comfy_fsm.entries (log, position, line, checksum)
    SELECT head.id, %s + number, row.line, row.checksum
    FROM head, unnest(%b::bytea[], %b::bytea[]) WITH ORDINALITY AS row (line, checksum, number)
"""
_RAISE_FENCE = """
    UPDATE comfy_fsm.logs SET fence = fence + 1, holder = %s WHERE id = %s AND (fence = %s OR %s)
    RETURNING fence, position, checksum
"""


class _Head(NamedTuple):
    """Last row of the chain."""

    position: int = 0
    checksum: bytes = GENESIS


class Writer:
    """Writer of a log, of which there is one at a time. All but `closing` belongs to one thread."""

    def __init__(self, address: Address, patience: float = PATIENCE) -> None:
        self.address = address
        self.head = _Head()
        self.closing = False
        self._name = address.one()
        self.patience = patience
        self._log = self._fence = self._pid = 0
        self._db: Database | None = None
        self._doubt: _Head | None = None  # the head that a commit without an answer would have made
        self._over: LogWriteFailed | None = None  # after which nothing is written any more
        self._told = 0.0
        self.untold = False
        """Whether followers were not told of the last commit yet."""

    def open(self) -> None:
        """Take the log up, and make it if there is none; raises LogLocked while another writer has it."""
        try:
            db = Database(self.address)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
        except DatabaseError as error:
            if error.code == READ_ONLY:
                raise self._read_only() from None
            raise unreadable(self.address, error) from error
        self._db, self._pid = db, db.pid

    def _prepare(self, db: Database) -> None:
        if check_version(self.address, db) < SCHEMA_VERSION:
            db.run(MIGRATE)
        self._keep_safe(db)
        found = db.rows("SELECT id, holder FROM comfy_fsm.logs WHERE name = %s", self._name)
        if not found:
            made = "INSERT INTO comfy_fsm.logs (name, checksum) VALUES (%s, %s) ON CONFLICT DO NOTHING"
            db.run(made, self._name, GENESIS)
            found = db.rows("SELECT id, holder FROM comfy_fsm.logs WHERE name = %s", self._name)
        self._log, holder = found[0]
        until = time.monotonic() + _HANDOVER
        while not db.rows(_LOCK, self._log)[0][0]:
            if self.closing or time.monotonic() > until:
                raise LogLocked(
                    f"{self.address} is being written by {harmless(holder, 100) or 'another session'}, so nothing was "
                    "written; close that log, or name another; the database lets go of a host without power after some "
                    "30 s"
                )
            time.sleep(_PAUSE / 4)
        self._raise_fence(db, anyhow=True)

    def _keep_safe(self, db: Database) -> None:
        """Make sure that what is committed outlives a crash of the server; raises LogError where it cannot."""
        fsync, commit = db.rows("SELECT current_setting('fsync'), current_setting('synchronous_commit')")[0]
        if fsync != "on":
            raise LogError(
                f"{self.address}: the server runs with fsync={fsync}; no commit would be safe, so nothing was written; "
                "let it run with fsync=on"
            )
        if commit == "off":
            db.run("SET synchronous_commit = on")

    def _raise_fence(self, db: Database, *, anyhow: bool = False) -> None:
        """Raise the fence and read the head: no append that was sent before can be committed after this."""
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        found = db.rows(_RAISE_FENCE, holder, self._log, self._fence, anyhow)
        if not found:
            raise self._end(self._taken_over())
        self._fence, position, checksum = found[0]
        head = _Head(position, bytes(checksum))
        if not anyhow and head not in (self.head, self._doubt):
            raise self._end(self._rewound(head))
        self.head, self._doubt = head, None

    # Append

    def commit(self, lines: list[bytes]) -> None:
        """Commit the lines as the next rows of the chain, or none of them, once and no more.

        Raises LogWriteFailed where they are surely not in the log, and LogInDoubt where that cannot be found out.
        """
        if self._over is not None:
            raise type(self._over)(*self._over.args)
        until = time.monotonic() + self.patience
        db = self._joined(until)
        before = self.head
        sums = seal(before.checksum, before.position + 1, lines)
        goal = _Head(before.position + len(sums), sums[-1])
        while self.head != goal:
            self._doubt = goal
            try:
                self._send(db, before, lines, sums)
                self.head, self._doubt = goal, None
            except DatabaseError as error:
                self._refuse(error)
                db = self._joined(until)  # and with it what became of this commit
        self.untold = True
        if time.monotonic() - self._told >= _TOLD_APART:
            self.tell()

    def _send(self, db: Database, before: _Head, lines: list[bytes], sums: list[bytes]) -> None:
        chunks = list(_chunks(lines))
        if len(chunks) == 1:
            self._insert(db, before, lines, sums)
            return
        with db.transaction():
            for first, last in chunks:
                self._insert(db, before, lines[first:last], sums[first:last])
                before = _Head(before.position + last - first, sums[last - 1])

    def _insert(self, db: Database, before: _Head, lines: list[bytes], sums: list[bytes]) -> None:
        done = db.run(
            _APPEND, len(lines), sums[-1], self._log, self._fence, before.position, before.checksum, before.position,
            lines, sums,
        )  # fmt: skip
        if done != len(lines):
            self._doubt = None
            found = db.rows("SELECT fence, position, checksum FROM comfy_fsm.logs WHERE id = %s", self._log)
            same = found and found[0][0] == self._fence
            raise self._end(self._rewound(_Head(found[0][1], found[0][2])) if same else self._taken_over())

    def _refuse(self, error: DatabaseError) -> None:
        """Raise LogWriteFailed for a refusal; return where the connection is gone, or leads to a standby."""
        if error.lost or error.code == READ_ONLY:
            self._doubt = None if error.code == READ_ONLY else self._doubt
            self._drop()
            return
        self._doubt = None
        cause, cure = str(error), "look at the log of the database"
        if error.code == DISK_FULL:
            cure = "make room on the disk of the database"
        elif error.code == DUPLICATE:
            cure = "another program inserted rows there, which nobody but the writer may: take them out"
        elif error.code == "57014":
            cure = "raise the statement_timeout of this role, or find what blocks the database"
        raise LogWriteFailed(
            f"{self.address}: the commit failed ({cause}), so these lines are not in the log; {cure}, "
            "then append them again"
        ) from error

    # The connection

    def _joined(self, until: float) -> Database:
        """Return the connection, a new one if need be, once what is in doubt has been read back."""
        while self._db is None:
            failure: DatabaseError
            try:
                self._db = self._rejoin()
                break
            except DatabaseError as error:
                failure = error
            if self.closing:
                until, self.closing = min(until, time.monotonic() + _LAST_PATIENCE), False
            if time.monotonic() > until:
                raise self._away(failure)
            time.sleep(_PAUSE)
        return self._db

    def _rejoin(self) -> Database:
        """Connect again, and go on where the log is, if nobody else has taken it up."""
        db = Database(self.address)
        try:
            self._keep_safe(db)
            self._heed_fence(db)
            if not db.rows(_LOCK, self._log)[0][0]:
                # Of ours, most likely: the server has not noticed yet that we have left.
                db.rows(_END_SESSION, self._log, self._pid, db.pid)
                raise DatabaseError("the session before this one still holds the log", "", lost=True)
            self._raise_fence(db)
        except BaseException:
            db.close()
            raise
        self._pid = db.pid
        return db

    def _heed_fence(self, db: Database) -> None:
        """Check that nobody else has raised the fence, and that it did not go back: then an older state came back."""
        state = "SELECT fence, position, checksum FROM comfy_fsm.logs WHERE id = %s AND name = %s"
        found = db.rows(state, self._log, self._name)
        if found and found[0][0] < self._fence:
            raise self._end(self._rewound(_Head(found[0][1], bytes(found[0][2]))))
        if not found or found[0][0] > self._fence:
            raise self._end(self._taken_over())

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _away(self, error: DatabaseError) -> LogError:
        """Return the error for a database that did not come back."""
        if self._doubt is not None:
            first, last = self.head.position + 1, self._doubt.position
            return LogInDoubt(
                f"{self.address}: the connection broke in mid-commit and the database did not come back ({error}): "
                f"whether rows {first} to {last} are in the log is not known; all are, or none; open the log again "
                "once the database is back, and read it"
            )
        if error.code == READ_ONLY:
            return self._read_only()
        return LogUnreachable(
            f"{self.address} cannot be reached ({error}), so these lines are not in the log; see that the database "
            "runs, then append them again"
        )

    def _end(self, error: LogWriteFailed) -> LogWriteFailed:
        self._over = error
        self._drop()
        return error

    def _read_only(self) -> LogReadOnly:
        return LogReadOnly(
            f"{self.address} takes no writes: it is a standby, or was made read-only, so nothing was written; name the "
            "primary, or all hosts and target_session_attrs=read-write"
        )

    def _taken_over(self) -> LogTakenOver:
        return LogTakenOver(
            f"{self.address} was taken up by another writer while our session was away, so these lines are not in the "
            f"log, and no more is written; what was acknowledged, up to position {self.head.position}, is in it; end "
            "one of the two processes"
        )

    def _rewound(self, head: _Head) -> LogRewound:
        return LogRewound(
            f"{self.address} ends at position {head.position} and not at {self.head.position}, which was acknowledged: "
            "the database lost commits, by a failover to a standby that was behind, or by a restored backup; no more "
            "is written; keep what is there, and open the log again to go on from it"
        )

    # Around it

    def tell(self) -> None:
        """Notify the followers; if that fails, they find out by looking."""
        self.untold = False
        self._told = time.monotonic()
        self._try(lambda db: db.run(_TELL.format(self._log)))

    def _try(self, action: Callable[[Database], Any]) -> None:
        if self._db is not None:
            try:
                action(self._db)
            except DatabaseError as error:
                if error.lost:
                    self._drop()

    def close(self) -> None:
        """Tell the followers what they were not told, and end the session, and with it the lock."""
        if self.untold:
            self.tell()
        self._try(lambda db: db.rows(_UNLOCK, self._log))  # else it would be free a moment after we have said so
        self._drop()


def _chunks(lines: list[bytes]) -> Iterator[tuple[int, int]]:
    """Cut lines into what one statement takes."""
    first = size = 0
    for number, line in enumerate(lines):
        if number > first and (size + len(line) > _CHUNK_BYTES or number - first == _CHUNK_ROWS):
            yield first, number
            first, size = number, 0
        size += len(line)
    yield first, len(lines)
