"""Creation of a log file: written beside its final place, synced, then moved there, so that a power cut leaves no
partial log.
"""

import logging
import os
import sqlite3
from contextlib import closing, suppress

from comfy_fsm.errors import LogError
from comfy_fsm.log.sqlite_file import APPLICATION_ID, SCHEMA, SCHEMA_VERSION, is_blank, uri

__all__ = ["check_length", "create", "keep_aside", "logger"]

logger = logging.getLogger(__name__)
_LONGEST = 512 - len(".new-journal")  # bytes of a path that SQLite still opens


def check_length(path: str) -> None:
    """Raise LogError if the path is too long for SQLite, before anything is created."""
    if (length := len(os.fsencode(path))) > _LONGEST:
        raise LogError(
            f"{path[:80]}… cannot be opened for writing: its path has {length} bytes, and SQLite takes {_LONGEST}; "
            "no log was opened; choose a shorter path"
        )


def create(path: str) -> None:
    """Create an empty log if there is no file, or only an empty one; the caller must hold the lock.

    Raises OSError or sqlite3.Error if the disk refuses.
    """
    new = path + ".new"
    try:
        _make(new)
        _set_aside(path)
        if not is_blank(path):  # what has come in the meantime is not ours to overwrite
            raise FileExistsError(f"{path} was made by another program in this moment")
        os.replace(new, path)
        _sync_directory(path)
    finally:
        _clear(new)


def _make(new: str) -> None:
    _clear(new)  # half of one, of a process that ended here
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600))
    with closing(sqlite3.connect(uri(new, "mode=rw"), uri=True, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous=FULL")
        # Before WAL, so that the file's own first bytes say whose it is.
        db.executescript(
            f"BEGIN EXCLUSIVE; {SCHEMA}; PRAGMA application_id={APPLICATION_ID};"
            f" PRAGMA user_version={SCHEMA_VERSION}; COMMIT; PRAGMA journal_mode=WAL"
        )
    made = os.open(new, os.O_RDWR)
    try:
        os.fsync(made)
    finally:
        os.close(made)


def _clear(new: str) -> None:
    for end in ("", "-journal", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(new + end)


def _set_aside(path: str) -> None:
    """Move away the `-wal` and `-shm` files of an earlier log of this name, which SQLite would read as part of the new
    one, or delete.
    """
    for end in ("-wal", "-journal"):
        with suppress(FileNotFoundError):
            if is_blank(path + end):
                os.unlink(path + end)
                continue
            kept = keep_aside(path + end)
            logger.warning(
                "%s was there without its log, which was moved or removed while it was written; it holds the last rows "
                "of that log, and is now %s; put it back beside that log, as its %s, before you read it",
                path + end, kept, end,
            )  # fmt: skip
    with suppress(FileNotFoundError):
        os.unlink(path + "-shm")  # an index of that, which SQLite makes anew


def keep_aside(path: str, *, copy: bool = False) -> str:
    """Move or copy a file to a free name beside it, and return that name."""
    number = 1
    while os.path.lexists(kept := f"{path}.kept-{number}"):
        number += 1
    if not copy:
        os.rename(path, kept)
        return kept
    with open(path, "rb") as source, open(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
        while block := source.read(1024 * 1024):
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    return kept


def _sync_directory(path: str) -> None:
    """Sync the folder, so that the name survives a power cut."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
