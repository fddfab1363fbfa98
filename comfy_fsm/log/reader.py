"""Reader of log files. Plain sqlite3, read-only, no await.

Rows come in order, each with what is wrong with it. Damage is reported, not raised, since whoever opens a damaged log
wants the rest of it: what the chain shows (`chain.py`), a page that SQLite cannot read, or a tail that was acknowledged
(`lock.py`) and was lost with a damaged `-wal` file.
"""

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, suppress

from comfy_fsm.errors import InvariantBroken, LogError
from comfy_fsm.log.chain import GENESIS, MAX_LINE, LogRow, Stretch, Verification, Verifier, span, summed
from comfy_fsm.log.lock import Mark, read_mark
from comfy_fsm.log.sqlite_file import beside, held, uri

__all__ = ["DAMAGE", "read", "verify"]

_SCAN = "SELECT position, line, checksum FROM log WHERE position >= ? ORDER BY position LIMIT ?"
_PATIENCE = 1000  # rows tried one by one beyond an unreadable one; a page of 4 KiB holds a dozen, and then we stride
_SMALLEST = 24  # bytes that a row takes at least: its place in a page, the types of its columns, its checksum
_REFUSED = "its commit was refused: whoever appended it was told that it is not in the log"
_LOST = "the log's own count is higher; its -wal file may be damaged, or may have been taken away: keep a copy of it"
_END = 2**62  # a position beyond every position

# A flipped bit can make SQLite quote the schema in an error message, and the quotation need not be UTF-8.
DAMAGE = (sqlite3.Error, UnicodeDecodeError)
_NOT_DAMAGE = {
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR,
}  # fmt: skip


def read(path: str | os.PathLike[str], after: int = 0) -> Generator[LogRow, None, None]:
    """Yield the rows after a position, up to the last one committed when reading began; a writer may continue to write.

    Raises NotALog, LogVersionError or OSError at once, and LogError when reading begins, if the file cannot be read.
    Close the generator if you stop early: until then it holds a snapshot, and the writer's `-wal` file grows.
    """
    where = os.path.realpath(path)  # what belongs to a log lies beside the file, not beside a link to it
    with held(where):
        return _read(where, after)


def _read(path: str, after: int) -> Generator[LogRow, None, None]:
    with held(path), closing(_Reading(path, after)) as reading:
        for part in reading.parts():
            if isinstance(part, Stretch):
                yield from part.rows()
            else:
                yield part


def verify(path: str | os.PathLike[str]) -> Verification:
    """Read the whole log and describe its first damaged row; raises as `read` does."""
    where = os.path.realpath(path)
    with held(where), closing(_Reading(where, 0)) as reading:
        return summed(reading.parts())


class _Moved(Exception):
    """Signal that a writer appeared while we read without locks."""


class _Reading:
    """Pass over a log."""

    def __init__(self, path: str, after: int) -> None:
        self._path = path
        self._chain = Verifier(after)
        self._begun = False
        self._refused = _END  # rows from here on were refused, and are in the file all the same
        self._odd = 0  # rows and gaps so far that are not as they were written
        # Readers of a WAL file leave `-shm` and `-wal` files beside it, and fail where they may not. A log that no
        # writer has open needs neither, so we read it as immutable. Should a writer come after all, no damage is
        # believed before a second look with locks; what is sound is proved by its checksum either way.
        self._seen = self._state()
        self._size = self._seen[2]  # bytes in which rows may stand
        self._mark = read_mark(path) or Mark()  # before the snapshot, which then holds all that was acknowledged
        self._immutable = not self._seen[0]
        self._db: sqlite3.Connection | None = None

    def _state(self) -> tuple[bool, int, int]:
        found = os.stat(self._path)
        return os.path.exists(self._path + "-wal"), found.st_mtime_ns, found.st_size

    def _bytes(self) -> int:
        """Return the size of the file and its `-wal`, which a writer takes away as it ends."""
        size = 0
        for each in (self._path, self._path + "-wal"):
            with suppress(OSError):
                size += os.path.getsize(each)
        return size

    def _connect(self) -> None:
        self.close()
        list(beside(self._path))
        query = "mode=ro&immutable=1" if self._immutable else "mode=ro"
        # A generator may be handed from thread to thread, and SQLite is built to allow it.
        self._db = sqlite3.connect(uri(self._path, query), uri=True, isolation_level=None, check_same_thread=False)
        self._db.text_factory = bytearray  # text where bytes were written betrays itself by its type
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_LINE + 1024)
        self._db.execute("PRAGMA cell_size_check=ON")
        self._db.execute("BEGIN")

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _ask(self, sql: str, *values: int) -> sqlite3.Cursor:
        if self._db is None:
            raise InvariantBroken("a log was read that is not open")
        return self._db.execute(sql, values)

    def _doubt(self) -> None:
        """Start again with locks if a writer appeared meanwhile, before any damage is reported."""
        if self._immutable and self._state() != self._seen:
            raise _Moved

    def parts(self) -> Iterator[Stretch | LogRow]:
        """Yield what is sound by the stretch, since a row costs less to verify than to hand on by itself."""
        while True:
            try:
                yield from self._pass()
                return
            except _Moved:
                self._immutable = False

    def _pass(self) -> Iterator[Stretch | LogRow]:
        complaint = self._begin()
        if complaint is not None:
            self._doubt()
            yield LogRow(0, None, complaint)
            return
        chain = self._chain
        while chain.next < _END:
            failure: Exception
            try:
                yield from self._rows()
                break
            except DAMAGE as error:
                failure = error
            self._doubt()
            here = chain.next
            try:
                yield from self._rows(1)  # Python's sqlite3 looks a row ahead, and loses the good one before the bad
            except DAMAGE as error:
                failure = error
            if chain.next == here:
                yield self._leap(failure)
            yield from self._stopped()
        if chain.last is not None and chain.next <= chain.last:
            self._doubt()
            yield LogRow(chain.next, None, f"{span(chain.next, chain.last)} missing: {_LOST}")

    def _begin(self) -> str | None:
        """Take the snapshot and find the start of the chain; returns what is wrong with the file as a whole."""
        try:
            self._connect()
            kinds = self._ask("SELECT type FROM sqlite_master WHERE name = 'log'").fetchall()
        except DAMAGE as error:
            if isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF in _NOT_DAMAGE:
                raise LogError(
                    f"{self._path} cannot be read: {error}; nothing was read; "
                    "if its directory is read-only, copy the file together with its -wal file and read the copy"
                ) from error
            return f"the file's structure is damaged and no row can be read: {error}"
        if kinds != [(b"table",)]:  # a view under our name could compute for ever
            return "the table of rows is gone"
        self._size = max(self._size, self._bytes())
        last = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'log'")
        self._chain.last = last if isinstance(last, int) else None
        self._heed(self._mark)
        if not self._begun:
            before = self._chain.next - 1
            self._chain.begin(self._one(f"SELECT checksum FROM log WHERE position = {before}") if before else GENESIS)
            self._begun = True
        return None

    def _heed(self, mark: Mark) -> None:
        """Take the mark in the lock file into account, if it belongs to this log."""
        if mark.is_about(self._one("SELECT checksum FROM log WHERE position = 1")):
            self._chain.last = max(self._chain.last or 0, mark.position)
        there = self._one(f"SELECT checksum FROM log WHERE position = {mark.refused}") if mark.refused else None
        if there is not None and there == mark.refused_checksum:
            self._refused = mark.refused

    def _one(self, sql: str) -> object:
        try:
            row = self._ask(sql).fetchone()
        except DAMAGE:
            return None
        return row[0] if row else None

    def _rows(self, limit: int = -1) -> Iterator[Stretch | LogRow]:
        chain = self._chain
        rows = self._ask(_SCAN, chain.next, limit)
        while chain.next < _END:
            first, lines = chain.next, list[bytes]()
            try:
                odd = chain.take(rows, lines)
            finally:
                yield from self._taken(first, lines)
            if odd is not None:
                self._doubt()
                yield from chain.judge(*odd)
                yield from self._stopped()
            elif not lines:
                return

    def _taken(self, first: int, lines: list[bytes]) -> Iterator[Stretch | LogRow]:
        accepted = max(self._refused - first, 0)
        yield Stretch(first, lines[:accepted])
        for position in range(first + accepted, first + len(lines)):
            yield LogRow(position, None, _REFUSED)

    def _stopped(self) -> Iterator[LogRow]:
        """Stop if the pages cannot be as they were written: a made or damaged file can send SQLite round its pages for
        longer than anybody lives."""
        chain, why = self._chain, ""
        self._odd += 1
        if chain.strays == _PATIENCE:
            why = f"{_PATIENCE} rows are out of order"
        elif self._odd > self._size // _SMALLEST:
            why = f"more rows are damaged than the {self._size} bytes of the file have room for"
        if why and chain.next < _END:
            yield LogRow(chain.next, None, f"{why}; reading stopped")
            chain.next = _END

    def _leap(self, error: Exception) -> LogRow:
        """Skip what SQLite cannot read: row by row at first, then in doubling steps, and back to where the damage
        ends.
        """
        first = self._chain.next
        bad = first
        step = 1
        while not self._readable(bad + step):
            bad += step
            if bad - first >= _PATIENCE:
                step *= 2
            if bad + step >= _END:
                self._chain.next = _END
                return LogRow(first, None, f"no row from {first} on can be read: {error}")
        good = bad + step
        while good - bad > 1:
            middle = (good + bad) // 2
            bad, good = (bad, middle) if self._readable(middle) else (middle, good)
        self._chain.leap(good)
        return LogRow(first, None, f"{span(first, good - 1)} unreadable: {error}")

    def _readable(self, position: int) -> bool:
        try:
            self._ask(_SCAN, position, 1).fetchone()  # the very question of `_rows`, else we would part and never end
        except DAMAGE:
            return False
        return True
