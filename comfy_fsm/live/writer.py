"""The one connection that may write a log: its lock, its settings, its transaction. Plain sqlite3; awaits nothing.

One, because SQLite before 3.51.3 can lose commits when two connections write and checkpoint one WAL file.
"""

import os
import sqlite3
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from typing import Any

from comfy_fsm.errors import LogDamaged, LogError, LogLocked
from comfy_fsm.live.rows import APPLICATION_ID, DAMAGE, GENESIS, SCHEMA, SCHEMA_VERSION, digest, held, uri

_BUSY = 5.0  # seconds that a commit waits for a stranger who writes to our file, which nobody should: the sqlite3 shell

# Each INSERT pays for SQLite's counter of positions, so rows are a quarter cheaper by the block; past 25 little is won.
_BLOCK = 25
_INSERT = "INSERT INTO log (position, line, checksum) VALUES (?, ?, ?)"
_INSERT_BLOCK = _INSERT + ", (?, ?, ?)" * (_BLOCK - 1)

if sys.platform == "win32":  # never tried there by us: the same promise by the means of that system
    import msvcrt

    def _claim(lock: int) -> None:
        os.lseek(lock, 1 << 20, os.SEEK_SET)  # beyond the process id, which could not be read if it were claimed
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _claim(lock: int) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(path: str) -> int:
    """Claim the file `path`.lock, for as long as the descriptor is open; a killed process holds nothing.

    The file stays behind: between a look at it and its removal another writer could claim it.
    """
    name = path + ".lock"
    lock = os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    holder = b""
    try:
        holder = os.read(lock, 32).strip()
        if holder and not holder.isdigit():
            raise LogError(f"{name} is not a lock of ours, so {path} was not opened; move that file away")
        _claim(lock)
        os.ftruncate(lock, 0)
        os.lseek(lock, 0, os.SEEK_SET)
        os.write(lock, b"%d\n" % os.getpid())
    except BaseException as error:
        os.close(lock)
        if not isinstance(error, BlockingIOError | PermissionError):
            raise
        who = "this process" if holder == b"%d" % os.getpid() else f"process {holder.decode() or 'unknown'}"
        raise LogLocked(
            f"{path} is being written by {who}, so nothing was written; close that log, or write to another file"
        ) from error
    return lock


class Chain:
    """Where a log ends, and how its opening went: the connection's thread writes it, the loop reads it afterwards."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = 0
        self.checksum = GENESIS
        self.commits = 0
        self.failure: Exception | None = None
        self._began = threading.Event()
        self._thread: threading.Thread | None = None
        self._writer: Writer | None = None

    def open(self, *_: object, **__: object) -> sqlite3.Connection:
        """What aiosqlite calls, in its thread, to make the connection.

        It answers a failure with an empty connection, to be closed like any other: where this raises, aiosqlite does
        not wait for its thread, which then calls a loop that may be gone.
        """
        self._thread = threading.current_thread()
        self._began.set()
        try:
            self._writer = Writer(self)
        except Exception as error:
            self.failure = error
        return self._writer or sqlite3.connect(":memory:", check_same_thread=False)

    def outlast(self) -> None:
        """Let an opening that nobody waits for any more come to its end, in its thread, and take it back."""
        self._began.wait()
        assert self._thread is not None
        self._thread.join()
        if self._writer is not None:
            self._writer.close()


class Writer(sqlite3.Connection):
    """The owning connection, made for aiosqlite to run in its thread: `executemany` is one whole transaction.

    aiosqlite crosses threads once a call, which costs about as much as a small commit; to begin, insert and commit in
    three calls would cost three crossings. A connection class of one's own is how sqlite3 lets one make them one.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._stale = False
        path = chain.path
        with ExitStack() as stack:
            try:
                stack.enter_context(held(path, create=True))
                stack.callback(os.close, _lock(path))
            except (OSError, ValueError) as error:
                raise LogError(f"{path} cannot be opened for writing: {error}; no log was opened") from error
            # Used by its thread alone, but for `outlast`, which waits for that to end.
            super().__init__(
                uri(path, "mode=rw"), uri=True, isolation_level=None, timeout=_BUSY, check_same_thread=False
            )
            stack.callback(super().close)
            try:
                self._prepare(path)
            except DAMAGE as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise LogError(f"{path} cannot be opened for writing: {error}; no log was opened") from error
                raise LogDamaged(
                    f"{path} is damaged: {error}; no log was opened; read what is left, and write to another file", 0
                ) from error
            self._opened = stack.pop_all()

    def _prepare(self, path: str) -> None:
        self.execute("PRAGMA synchronous=FULL")
        self.execute("PRAGMA fullfsync=ON")  # without it, FULL on macOS reaches the drive's cache and not the drive
        if not self.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            # Before WAL, so that the file's own first bytes say whose it is from its first commit on.
            self.executescript(
                f"BEGIN EXCLUSIVE; {SCHEMA}; PRAGMA application_id={APPLICATION_ID};"
                f" PRAGMA user_version={SCHEMA_VERSION}; COMMIT"
            )
        journal, synchronous = (
            self.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in ("journal_mode=WAL", "synchronous")
        )
        if (journal, synchronous) != ("wal", 2):
            raise LogError(
                f"{path}: SQLite answers journal_mode={journal}, synchronous={synchronous} and not wal, 2 (FULL); "
                "no commit would be safe, so no log was opened; use a file on a local disk"
            )
        # A file that may not be written is refused now, not at the first append. To begin is no trial: SQLite makes of
        # it a reading transaction where it may not write.
        self.execute("BEGIN IMMEDIATE")
        self.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        self._resume()
        self.execute("ROLLBACK")

    def _resume(self) -> None:
        """Take up the chain where the file leaves it: at opening, and after a commit whose end nobody knows."""
        row = self.execute("SELECT position, checksum FROM log ORDER BY position DESC LIMIT 1").fetchone()
        count = self.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
        position, checksum = row or (0, GENESIS)
        # Rows may have been taken off the end. Their positions are not given again, and so the hole shows for ever.
        self._chain.position = max(position, count[0] if count else 0)
        self._chain.checksum = checksum if isinstance(checksum, bytes) else b""
        self._stale = False

    def executemany(self, _sql: str, lines: Iterable[Any], /) -> sqlite3.Cursor:
        """Commit the lines, as the next rows of the chain, or none of them."""
        self.execute("BEGIN IMMEDIATE")
        try:
            if self._stale:
                self._resume()
            position, checksum = self._chain.position, self._chain.checksum
            rows: list[Any] = []
            for line in lines:
                position += 1
                checksum = digest(checksum, position, line)
                rows += (position, line, checksum)
            whole = len(rows) // (3 * _BLOCK) * 3 * _BLOCK
            super().executemany(_INSERT_BLOCK, (rows[at : at + 3 * _BLOCK] for at in range(0, whole, 3 * _BLOCK)))
            super().executemany(_INSERT, (rows[at : at + 3] for at in range(whole, len(rows), 3)))
            cursor = self.execute("COMMIT")
        except BaseException:
            self._stale = True
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise
        self._chain.position, self._chain.checksum = position, checksum
        self._chain.commits += 1
        return cursor

    def close(self) -> None:
        # aiosqlite's thread would never end if this raised; and nothing is lost, since every commit is in the file.
        with suppress(sqlite3.Error, OSError):
            self._opened.close()
