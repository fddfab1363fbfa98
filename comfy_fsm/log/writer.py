"""Writer of log files: the single connection that writes a log, with its lock, settings and transactions. Plain
sqlite3, no await.

There is only one, because SQLite before 3.51.3 can lose commits if two connections write and checkpoint one WAL file.
"""

import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import chain, count, islice
from typing import Any

from comfy_fsm.errors import InvariantBroken, LogDamaged, LogError, LogLocked, LogMoved
from comfy_fsm.log.chain import GENESIS, seal
from comfy_fsm.log.creation import check_length, create, keep_aside
from comfy_fsm.log.lock import Lock, belongs_to_us
from comfy_fsm.log.reader import DAMAGE
from comfy_fsm.log.sqlite_file import SCHEMA_VERSION, beside, close_later, held, is_blank, uri

__all__ = ["BUSY", "BUSY_TURNS", "WAL_LIMIT", "Chain", "Writer", "logger"]

logger = logging.getLogger(__name__)
BUSY = 5.0  # seconds until we complain of a stranger who writes to our file, which nobody should: the sqlite3 shell
BUSY_TURNS = 12  # as often we complain; then the append fails
WAL_LIMIT = 16 * 1024 * 1024  # bytes that a `-wal` file is cut back to, once the reader that let it grow is gone

# Each INSERT pays for SQLite's counter of positions, so rows are a quarter cheaper by the block; past 25 little is won.
_BLOCK = 25
_INSERTS = [  # at each index, the statement for as many rows
    "INSERT INTO log (position, line, checksum) VALUES " + ", ".join(["(?, ?, ?)"] * count)
    for count in range(_BLOCK + 1)
]
_NEITHER = "no log was opened"


def _claim_file(path: str, stack: ExitStack) -> int:
    """Lock the log file itself, so that no other writer can have it, by whatever name it opens the file.

    The lock file covers one name only. This uses flock, which does not end with other descriptors of the file; on Linux
    it is independent of SQLite's own locks.
    """
    descriptor = os.open(path, os.O_RDWR)
    stack.callback(close_later, descriptor)
    if sys.platform.startswith("linux"):
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LogLocked(
                f"{path} is being written under another name, so nothing was written; close that log"
            ) from None
        stack.callback(fcntl.flock, descriptor, fcntl.LOCK_UN)
    return descriptor


def _check_file(path: str, found: os.stat_result) -> None:
    """Raise LogError if somebody else could read or write the file."""
    if not belongs_to_us(found):
        raise LogError(
            f"{path} cannot be opened for writing: it belongs to user {found.st_uid} and not to us, who could read all "
            f"that is written down; {_NEITHER}; give it to user {os.geteuid()} (chown), or write to another file"
        )
    if found.st_nlink > 1:
        raise LogError(
            f"{path} cannot be opened for writing: it has {found.st_nlink} names (hard links), and by another one a "
            f"second process could write to it; {_NEITHER}; remove the other names, or make a copy and open that"
        )


class _Files:
    """Identity of the files of an open log, to notice if they are moved or removed."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._wal = path + "-wal"
        self._descriptor = descriptor
        found, wal = os.stat(path), os.stat(self._wal)
        self._file, self._log = (found.st_ino, found.st_dev), (wal.st_ino, wal.st_dev)

    def check(self) -> None:
        """Raise LogMoved if a commit would go into files that no longer have a name."""
        with suppress(OSError):
            found, wal = os.stat(self._path), os.stat(self._wal)
            if (found.st_ino, found.st_dev) == self._file and (wal.st_ino, wal.st_dev) == self._log:
                return
        raise LogMoved("")

    def is_deleted(self) -> bool:
        return os.fstat(self._descriptor).st_nlink == 0


class Chain:
    """End of the chain of a log, and the result of opening it: written by the connection's thread, read by the loop
    afterwards.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.position = 0
        self.checksum = GENESIS
        self.commits = 0
        self.closing = False  # nobody who writes to our file is waited for any longer
        self.failure: Exception | None = None
        self._began = threading.Event()
        self._thread: threading.Thread | None = None
        self._writer: Writer | None = None

    def open(self, *_: object, **__: object) -> sqlite3.Connection:
        """Create the connection; aiosqlite calls this in its thread.

        A failure is stored, and an empty connection returned, to be closed like any other: if this raised, aiosqlite
        would not wait for its thread, which would then call into a loop that may be gone.
        """
        self._thread = threading.current_thread()
        self._began.set()
        try:
            self._writer = Writer(self)
        except Exception as error:
            self.failure = error
        return self._writer or sqlite3.connect(":memory:", check_same_thread=False)

    def outlast(self) -> None:
        """Wait for an opening that nobody waits for any more, in its thread, and undo it."""
        self._began.wait()
        if self._thread is None:
            raise InvariantBroken("an opening began without a thread")
        self._thread.join()
        if self._writer is not None:
            self._writer.close()


class Writer(sqlite3.Connection):
    """Connection that owns the log, made for aiosqlite to run in its thread: `executemany` is one whole transaction.

    aiosqlite crosses threads once a call, which costs about as much as a small commit; begin, insert and commit as
    three calls would cost three crossings. A connection class of our own makes them one.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._stale = self._doubtful = self._gone = False
        self._first: bytes | None = None
        path = chain.path
        with ExitStack() as stack:
            try:
                check_length(path)
                self._lock, descriptor = self._claim(path, stack)
                # Used by its thread alone, but for `outlast`, which waits for that to end.
                super().__init__(
                    uri(path, "mode=rw"), uri=True, isolation_level=None, timeout=BUSY, check_same_thread=False
                )
                stack.callback(super().close)
                self._prepare(path)
                self._place = _Files(path, descriptor)
            except (OSError, ValueError, sqlite3.OperationalError) as error:
                raise LogError(f"{path} cannot be opened for writing: {error}; {_NEITHER}") from error
            except DAMAGE as error:
                raise LogDamaged(
                    f"{path} is damaged: {error}; {_NEITHER}; read what is left, and write to another file", 0
                ) from error
            self._opened = stack.pop_all()

    def _claim(self, path: str, stack: ExitStack) -> tuple[Lock, int]:
        """Acquire the lock, and open the file, which is created if there is none."""
        if not is_blank(path):
            with held(path) as found:  # a file that is no log is not touched, nor anything put beside it
                _check_file(path, found)
        lock = Lock(path)
        stack.callback(lock.close)
        if is_blank(path):
            if lock.mark.position and os.path.exists(path):
                logger.warning("%s was emptied: rows 1 to %d were acknowledged and are lost", path, lock.mark.position)
            lock.reset()
            create(path)
        _check_file(path, stack.enter_context(held(path)))
        for name, found in beside(path):
            _check_file(name, found)
        return lock, _claim_file(path, stack)

    def _prepare(self, path: str) -> None:
        self.execute("PRAGMA synchronous=FULL")
        self.execute("PRAGMA fullfsync=ON")  # without it, FULL on macOS reaches the drive's cache and not the drive
        self.execute(f"PRAGMA journal_size_limit={WAL_LIMIT}")
        journal, synchronous = (
            self.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in ("journal_mode=WAL", "synchronous")
        )
        if (journal, synchronous) != ("wal", 2):
            raise LogError(
                f"{path}: SQLite answers journal_mode={journal}, synchronous={synchronous} and not wal, 2 (FULL); "
                f"no commit would be safe, so {_NEITHER}; use a file on a local disk"
            )
        # A file that may not be written is refused now, not at the first append. To begin is no trial: SQLite makes of
        # it a reading transaction where it may not write.
        self._begin()
        try:
            self.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self._resume()
            self._heed(path)
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise
        self._lock.acknowledge(self._chain.position, self._chain.checksum, self._first or GENESIS)

    def _heed(self, path: str) -> None:
        """Check the file against the mark in the lock file: which rows must be in it, and which must not."""
        mark, chain = self._lock.mark, self._chain
        if mark.refused and mark.refused_checksum == self._checksum(mark.refused):
            self.execute("DELETE FROM log WHERE position >= ?", (mark.refused,))
            self.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'log'", (mark.refused - 1,))
            logger.warning(
                "%s: %d rows, from position %d on, were found whose commit had been refused; they were taken out",
                path, chain.position - mark.refused + 1, mark.refused,
            )  # fmt: skip
            self._resume()
        if mark.is_about(self._first) and mark.position > chain.position:
            kept = keep_aside(path + "-wal", copy=True) if os.path.exists(path + "-wal") else ""
            logger.warning(
                "%s: rows %d to %d were acknowledged and are lost; %s", path, chain.position + 1, mark.position,
                f"what is left of them is in {kept}" if kept else "there is no -wal file beside it",
            )  # fmt: skip
            chain.position = mark.position  # not given again, and so the hole shows for ever

    def _checksum(self, position: int) -> bytes | None:
        row = self.execute("SELECT checksum FROM log WHERE position = ?", (position,)).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else None

    def _begin(self) -> None:
        """Begin a transaction. If another process writes, wait for it and warn: refusing an append would be worse."""
        for turn in range(1, BUSY_TURNS + 1):
            began = time.monotonic()
            try:
                self.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or turn == BUSY_TURNS or self._chain.closing:
                    raise
                time.sleep(max(0.0, min(BUSY, 0.1) - (time.monotonic() - began)))  # where SQLite itself did not wait
                logger.warning(
                    "%s: another program writes to this log, which must have one writer; end it (a sqlite3 shell?): "
                    "what is appended waits for it", self._chain.path,
                )  # fmt: skip

    def _resume(self) -> None:
        """Read the end of the chain from the file: at opening, and after a commit whose result is unknown."""
        row = self.execute("SELECT position, checksum FROM log ORDER BY position DESC LIMIT 1").fetchone()
        count = self.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
        position, checksum = row or (0, GENESIS)
        # Rows may have been taken off the end. Their positions are not given again, and so the hole shows for ever.
        self._chain.position = max(position, count[0] if count else 0)
        self._chain.checksum = checksum if isinstance(checksum, bytes) else b""
        self._first = self._checksum(1)
        self._stale = False

    def executemany(self, _sql: str, lines: Iterable[Any], /) -> sqlite3.Cursor:
        """Commit the lines as the next rows of the chain, or none of them."""
        end, attempted = self._chain, False
        sums: list[bytes] = []
        try:
            if self._doubtful:
                self._settle()
            if self._gone:  # before anything is written; mostly it is there, and one look after the commit is enough
                self._place.check()
            self._begin()
            if self._stale:
                self._resume()
            lines = [*lines]
            sums = seal(end.checksum, end.position + 1, lines)
            # A bytearray is bound as it is. For bytes, sqlite3 looks for an adapter, row by row, which costs far more.
            rows = zip(count(end.position + 1), map(bytearray, lines), map(bytearray, sums), strict=False)
            while values := tuple(chain.from_iterable(islice(rows, _BLOCK))):
                self.execute(_INSERTS[len(values) // 3], values)
            attempted = True
            cursor = self.execute("COMMIT")
            self._place.check()
        except BaseException as error:
            self._stale, self._gone = True, isinstance(error, LogMoved)
            if self.in_transaction:
                self.execute("ROLLBACK")
            if attempted:
                self._refuse(end.position + 1, sums[0])
            if isinstance(error, LogMoved):
                raise self._moved() from None
            raise
        end.position, end.checksum = end.position + len(sums), sums[-1]
        end.commits += 1
        self._first = self._first or sums[0]
        self._lock.acknowledge(end.position, end.checksum, self._first)
        return cursor

    def _refuse(self, position: int, checksum: bytes) -> None:
        """Record a failed commit, whose pages may be in the `-wal` file, where the next process would find them."""
        self._doubtful = True
        self._lock.refuse(position, checksum)
        with suppress(sqlite3.Error, OSError, LogError):
            self._settle()

    def _settle(self) -> None:
        """Read back what a failed commit left, and overwrite what must not be there, before anything else.

        An empty commit takes the place of the refused pages in the `-wal` file. Raises if that fails, too.
        """
        refused = self._lock.mark.refused
        self._begin()
        try:
            self._resume()
            if self._chain.position >= refused:  # it failed in word only
                self.execute("DELETE FROM log WHERE position >= ?", (refused,))
                self.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'log'", (refused - 1,))
                self._resume()
            self.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise
        self._lock.forgive()
        self._doubtful = False

    def _moved(self) -> LogMoved:
        """Build the error for a log that was moved; what was acknowledged is written into the file, wherever it is
        now.
        """
        path, position = self._chain.path, self._lock.mark.position
        if self._place.is_deleted():
            kept = f"what was acknowledged, up to position {position}, is gone, but for what is in {path}-wal"
        else:
            with suppress(sqlite3.Error):
                self._gather()
            kept = f"everything acknowledged, up to position {position}, is in the file that was moved"
        return LogMoved(
            f"{path} or its -wal file was removed, renamed or replaced while it was open, so these lines are not in "
            f"the log, and no more is written; {kept}; a log cannot be rotated while it is written: leave it out of "
            "logrotate, or close the client before and open it again after"
        )

    def close(self) -> None:
        # aiosqlite's thread would never end if this raised; and nothing is lost, since every commit is in the file.
        with suppress(sqlite3.Error, OSError):
            self._gather()
        with suppress(sqlite3.Error, OSError):
            self._opened.close()

    def _gather(self) -> None:
        """Checkpoint a log that was moved. SQLite will not touch any file of it on closing, so its `-wal` file, which
        nobody would find, must not hold anything any more.
        """
        try:
            self._place.check()
        except LogMoved:
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)")
