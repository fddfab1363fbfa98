"""Lock file `PATH.lock` beside a log: who writes the log, and how far it was acknowledged.

    comfy-fsm 4711                   the process that claimed it last
    slot, slot                       how far the log was acknowledged, twice in turns: a torn write costs one of them

SQLite takes a damaged `-wal` file to end where the damage is, without an error. What was acknowledged is therefore
recorded here as well, so that a lost tail is noticed. The file is written after each commit and synced at most once a
second: a killed process loses nothing of it, a power cut at most the last second.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import time
from contextlib import suppress
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from comfy_fsm.errors import LogError, LogLocked

__all__ = ["Lock", "Mark", "belongs_to_us", "is_written", "read_mark"]

_logger = logging.getLogger(__name__)
_HEAD = re.compile(rb"comfy-fsm (\d+) *\n")
_HEAD_SIZE = 64
_SLOT = Struct(">QQ16s16sQ16s")
_SLOT_SIZE, _SLOTS = 128, (512, 1024)  # a sector each
_SYNC_SECONDS = 1.0
_NOTHING = bytes(16)
_PAUSES = (0.01, 0.05)

if sys.platform == "win32":  # never tried there by us: the same promise by the means of that system
    import msvcrt

    def _claim(lock: int) -> None:
        os.lseek(lock, 1 << 20, os.SEEK_SET)  # beyond what is in it, which could not be read if it were claimed
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)

    def _write_at(file: int, data: bytes, at: int) -> None:
        os.lseek(file, at, os.SEEK_SET)
        os.write(file, data)
else:
    import fcntl

    _write_at = os.pwrite

    def _claim(lock: int) -> None:
        for pause in _PAUSES:  # whoever asks `is_written` holds it for an instant
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(pause)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Mark(NamedTuple):
    """Record of how far a log was acknowledged, and which later commit was refused, if any."""

    position: int = 0
    checksum: bytes = _NOTHING
    first: bytes = _NOTHING
    """The checksum of the log's first row: another log under the same name is not judged by this."""
    refused: int = 0
    """The position that the first line of a refused commit would have had; 0 for none."""
    refused_checksum: bytes = _NOTHING

    def is_about(self, first: object) -> bool:
        """Return whether the mark belongs to the log whose first row has this checksum, or to one that lost all its
        rows.
        """
        return self.position > 0 and (first is None or first == self.first)


def read_mark(path: str) -> Mark | None:
    """Read the mark in the lock file of this log; None if there is none, or it cannot be read."""
    try:
        lock = _open_to_read(path)
    except OSError:
        return None
    try:
        return _newest(lock)[1]
    except OSError:
        return None
    finally:
        os.close(lock)


def is_written(path: str) -> bool | None:
    """Return whether a process holds the lock of this log now; None if that cannot be known: for a copy, or on
    Windows.
    """
    if sys.platform == "win32":
        return None
    try:
        lock = _open_to_read(path)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode) or not _HEAD.match(os.read(lock, _HEAD_SIZE)):
            return None
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go with the descriptor
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(lock)
    return False


def _open_to_read(path: str) -> int:
    """Open the lock file of this log for reading; it lies beside the file itself, not beside a link to it."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    return os.open(os.path.realpath(path) + ".lock", flags)


def _newest(lock: int) -> tuple[int, Mark | None]:
    found: list[tuple[int, Mark]] = []
    os.lseek(lock, 0, os.SEEK_SET)
    content = os.read(lock, _SLOTS[-1] + _SLOT_SIZE) if stat.S_ISREG(os.fstat(lock).st_mode) else b""
    if _HEAD.match(content):
        for at in _SLOTS:
            body, proof = content[at : at + _SLOT.size], content[at + _SLOT.size : at + _SLOT.size + 16]
            if len(proof) == 16 and proof == _proof(body):
                turn, *values = _SLOT.unpack(body)
                found.append((turn, Mark(*values)))
    return max(found, default=(0, None), key=lambda each: each[0])


def _proof(body: bytes) -> bytes:
    return blake2b(body, digest_size=16, person=b"comfy-fsm mark").digest()


class Lock:
    """Lock on a log, held until `close`; it ends with its process.

    The file is never removed: it holds the mark, and another writer could lock it between a check and the removal.
    """

    def __init__(self, path: str) -> None:
        """Acquire the lock; raises LogLocked if another writer has it, LogError or OSError if it cannot be acquired."""
        self.name = path + ".lock"
        self._lock = _open(self.name, path)
        self._turn, mark = _newest(self._lock)
        self.mark = mark or Mark()
        self._synced_at = 0.0
        self._complained = False
        try:
            self._write_both()
        except BaseException:
            self.close()
            raise

    def reset(self) -> None:
        """Clear the mark of an earlier log, before a new one is created; raises OSError."""
        self.mark = Mark()
        self._write_both()

    def _write_both(self) -> None:
        for _ in _SLOTS:  # so that the disk has room for them
            self._write(self.mark)
        self._sync()

    def acknowledge(self, position: int, checksum: bytes, first: bytes) -> None:
        """Record how far the log goes; if this fails, what is committed stays committed."""
        self._note(Mark(position, checksum, first))

    def refuse(self, position: int, checksum: bytes) -> None:
        """Record that the commit starting with this row was refused, in case it is found in the file later."""
        self._note(self.mark._replace(refused=position, refused_checksum=checksum), urgent=True)

    def forgive(self) -> None:
        """Clear the refused commit, once it is certain that it is not in the file."""
        if self.mark.refused:
            self._note(self.mark._replace(refused=0, refused_checksum=_NOTHING))

    def _note(self, mark: Mark, *, urgent: bool = False) -> None:
        try:
            self._write(mark)
            if urgent or time.monotonic() - self._synced_at >= _SYNC_SECONDS:
                self._sync()
        except OSError as error:
            if not self._complained:
                self._complained = True
                _logger.warning(
                    "%s cannot be written (%s): damage at the end of the log would go unnoticed; "
                    "make room or repair the disk", self.name, error,
                )  # fmt: skip

    def _write(self, mark: Mark) -> None:
        self._turn += 1
        self.mark = mark
        body = _SLOT.pack(self._turn, *mark)
        _write_at(self._lock, body + _proof(body), _SLOTS[self._turn % 2])

    def _sync(self) -> None:
        getattr(os, "fdatasync", os.fsync)(self._lock)
        self._synced_at = time.monotonic()

    def close(self) -> None:
        if self._lock >= 0:
            with suppress(OSError):
                self._sync()
            os.close(self._lock)
            self._lock = -1


def _open(name: str, path: str) -> int:
    """Open and lock the lock file, and write our process id into it."""
    # Neither followed where it is a link, nor waited for where it is a pipe.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if os.path.islink(name):
        raise LogError(f"{name} is a symbolic link and not a lock of ours, so {path} was not opened; move it away")
    lock = os.open(name, flags, 0o600)
    holder: bytes | None = None
    try:
        holder = _holder(lock, name, path)
        _claim_soon(lock)
        now, there = os.fstat(lock), os.stat(name)
        if (now.st_dev, now.st_ino) != (there.st_dev, there.st_ino):  # taken away between our opening and our claim
            raise LogLocked(f"{name} was replaced in this moment, so {path} was not opened; try again")
        os.lseek(lock, 0, os.SEEK_SET)
        os.write(lock, (b"comfy-fsm %d" % os.getpid()).ljust(_HEAD_SIZE - 1) + b"\n")
    except BaseException as error:
        os.close(lock)
        if not isinstance(error, BlockingIOError | PermissionError):
            raise
        who = "this process" if holder == b"%d" % os.getpid() else f"process {(holder or b'unknown').decode()}"
        raise LogLocked(
            f"{path} is being written by {who}, so nothing was written; close that log, or write to another file"
        ) from error
    return lock


def _claim_soon(lock: int) -> None:
    """Acquire the lock, waiting briefly for a process that only checks whether it is held (`is_written`)."""
    for pause in (0.001, 0.005, 0.02, 0.05):
        try:
            return _claim(lock)
        except BlockingIOError:
            time.sleep(pause)
    _claim(lock)


def _holder(lock: int, name: str, path: str) -> bytes | None:
    """Return the process that last held the lock; raises LogError if the file is not ours to write."""
    found = os.fstat(lock)
    if stat.S_ISREG(found.st_mode):
        content = os.read(lock, _HEAD_SIZE)
        ours = _HEAD.match(content)
        if found.st_nlink == 1 and belongs_to_us(found) and (ours or not content.strip(b"\0")):
            return ours[1] if ours else None
    raise LogError(f"{name} is not a lock of ours, so {path} was not opened; move that file away")


def belongs_to_us(found: os.stat_result) -> bool:
    """Return whether we own the file: its owner can read everything that is ever written to it."""
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
