"""Access to log files: the one module that opens them, and knows which are logs and which are open here.

Closing any descriptor of a file drops every POSIX lock that this process has on it, those of SQLite included
(sqlite.org/howtocorrupt.html, 2.2); another process may then remove the `-wal` file under its writer.
"""

import errno
import os
import stat
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from comfy_fsm.errors import LogError, LogVersionError, NotALog

__all__ = [
    "APPLICATION_ID",
    "SCHEMA",
    "SCHEMA_VERSION",
    "beside",
    "close_later",
    "held",
    "is_blank",
    "is_log",
    "is_sqlite",
    "uri",
]

APPLICATION_ID = 0x6366736D  # "cfsm"; at byte 68 of the file, where `file` and other tools look for it
SCHEMA_VERSION = 1
SCHEMA = "CREATE TABLE log (position INTEGER PRIMARY KEY AUTOINCREMENT, line BLOB NOT NULL, checksum BLOB NOT NULL)"

_MAGIC = b"SQLite format 3\0"
_BLANK = 1024 * 1024  # bytes of a file that is read to see whether it is all zeros
_guard = threading.Lock()
_held: Counter[tuple[int, int]] = Counter()
_unclosed: dict[tuple[int, int], list[int]] = {}


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@contextmanager
def held(path: str) -> Iterator[os.stat_result]:
    """Count a file as open in SQLite here, after reading its first bytes; yields its `stat` result.

    The count comes first, since a file that is open in SQLite here is not read again.
    """
    with _guard:
        found = os.stat(path)
        if not _held[_key(found)]:
            _look(path, found)
        _held[_key(found)] += 1
    try:
        yield found
    finally:
        with _guard:
            _held[_key(found)] -= 1
            if not _held[_key(found)]:
                del _held[_key(found)]
                for descriptor in _unclosed.pop(_key(found), ()):
                    os.close(descriptor)


def close_later(descriptor: int) -> None:
    """Close a descriptor of a log once nobody in this process has the file open in SQLite."""
    with _guard:
        _close(descriptor)


def _close(descriptor: int) -> None:
    """Close it, for whoever holds the guard."""
    key = _key(os.fstat(descriptor))
    if _held[key]:
        _unclosed.setdefault(key, []).append(descriptor)
    else:
        os.close(descriptor)


def _head(path: str, found: os.stat_result, size: int) -> bytes:
    """Return the first bytes of a file; the caller must hold the guard."""
    if _held[_key(found)]:
        return _MAGIC
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        now = os.fstat(descriptor)
        if stat.S_ISDIR(now.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return os.read(descriptor, size) if stat.S_ISREG(now.st_mode) and _key(now) == _key(found) else b""
    finally:
        _close(descriptor)


def is_sqlite(path: str) -> bool:
    """Return whether the file is a SQLite database, and so perhaps a log."""
    with _guard:
        return _head(path, os.stat(path), len(_MAGIC)) == _MAGIC


def is_blank(path: str) -> bool:
    """Return whether a log may be created here: there is no file, or an empty one, as after `touch` or a power cut."""
    with _guard:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return True
        if not stat.S_ISREG(found.st_mode) or found.st_size > _BLANK:
            return False
        return found.st_size == 0 or not _head(path, found, _BLANK).strip(b"\0")


def _look(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotALog(f"{path} is not a regular file, so it is no log; name the log's file")
    if not found.st_size:
        raise NotALog(f"{path} is empty: no log was begun in it")
    head = _head(path, found, 100)
    if len(head) < 100 or not head.startswith(_MAGIC):
        raise NotALog(f"{path} is no SQLite file, so it is no log; it was not touched")
    application, version = (int.from_bytes(head[at : at + 4], "big") for at in (68, 60))
    if application != APPLICATION_ID or not version:
        raise NotALog(f"{path} is an SQLite file of another application, not a log; it was not touched")
    if version > SCHEMA_VERSION:
        raise LogVersionError(
            f"{path} is a log of version {version}, newer than this release, which reads {SCHEMA_VERSION}; "
            "it was not touched; use a newer comfy-fsm"
        )


def beside(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Return the files that SQLite has beside a log, those that are there, before it opens them; raises LogError where
    one is a pipe, for which it would wait for ever, or anything else that is no file."""
    for suffix in ("-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            found = os.lstat(name := path + suffix)
            if not stat.S_ISREG(found.st_mode):
                raise LogError(f"{name} is not a regular file, so {path} was not opened; move it away, and try again")
            yield name, found


def is_log(path: str | os.PathLike[str]) -> bool:
    """Return whether the file claims to be a log, of any version; it may still be damaged."""
    try:
        with held(os.fspath(path)):
            return True
    except LogVersionError:
        return True
    except (NotALog, OSError):
        return False


def uri(path: str, query: str) -> str:
    return f"{Path(path).absolute().as_uri()}?{query}"
