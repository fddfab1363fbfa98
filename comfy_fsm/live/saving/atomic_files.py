"""Folders that are held open, files that have no name before their last byte is there, and which names are taken.

A folder that is held open cannot be exchanged for a link that leads elsewhere, whoever may write to it meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Self

from comfy_fsm.live.saving.safe_names import numbered, same

__all__ = ["Folder", "Names", "Unfinished", "descend"]

_MODE = 0o600  # for its owner alone, as the log is: what is in a picture is nobody else's business
_FOLDER_MODE = 0o700
_HELD = os.open in os.supports_dir_fd and os.listdir in os.supports_fd  # not on Windows
_DESCRIPTORS = "/proc/self/fd"  # on Linux
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class Folder:
    """Folder that files are put into, held open until it is closed."""

    def __init__(self, path: Path, *, parent: Self | None = None) -> None:
        self.path = path
        self.fd: int | None = None
        name, beside = (path, None) if parent is None or parent.fd is None else (path.name, parent.fd)
        if _HELD:
            self.fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=beside)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def name(self, name: str) -> str:
        """Return what the system is asked for, with `fd` beside it."""
        return name if self.fd is not None else str(self.path / name)

    @property
    def real(self) -> str:
        """Return where it is, by whichever links it was reached."""
        if self.fd is not None and os.path.exists(_DESCRIPTORS):
            return os.readlink(f"{_DESCRIPTORS}/{self.fd}")
        return os.path.realpath(self.path)

    def flush(self) -> None:
        """Flush the folder: a name is on the disk when its folder is; not every system can be asked for that."""
        if self.fd is not None:
            with suppress(OSError):
                os.fsync(self.fd)


def descend(root: Path, folders: Iterable[str], made: list[Path]) -> Folder:
    """Folder by folder, made where there is none. One that would lead out by a link, or is a file, is passed by."""
    root.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)  # the caller's own words, not a server's
    here = Folder(root)
    real = here.real
    for name in folders:
        with here:
            below = (_below(here, numbered(name, n), real, made) for n in count(1))
            here = next(folder for folder in below if folder is not None)
    return here


def _below(parent: Folder, name: str, root: str, made: list[Path]) -> Folder | None:
    path = parent.path / name
    with suppress(FileExistsError):
        os.mkdir(parent.name(name), _FOLDER_MODE, dir_fd=parent.fd)
        made.append(path)
        parent.flush()
    try:
        folder = Folder(path, parent=parent)
        there = folder.real
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ENOENT, errno.ELOOP):
            return None
        raise
    if os.path.isdir(there) and there != root and os.path.commonpath((there, root)) == root:
        return folder
    folder.close()
    return None


class Unfinished:
    """File in the making. Where the system can, it has no name, so that nothing is left of it if we are killed."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._name = ""
        self.file = os.fdopen(self._unnamed(), "w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self._name:
            with suppress(FileNotFoundError):
                os.unlink(self._folder.name(self._name), dir_fd=self._folder.fd)

    def flush(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def publish(self, places: Iterable[Path]) -> Path:
        """Give it the first name that is free; what has the name already, be it a dangling link, keeps it."""
        place = None
        for place in places:
            with suppress(FileExistsError):
                self._link(place.name)
                self._folder.flush()
                return place
        raise FileExistsError(errno.EEXIST, "taken by now, so nothing was written; choose another name", str(place))

    def _unnamed(self) -> int:
        if hasattr(os, "O_TMPFILE") and self._folder.fd is not None and os.path.exists(_DESCRIPTORS):
            with suppress(OSError):  # not every file system has it
                return os.open(".", os.O_TMPFILE | os.O_RDWR, _MODE, dir_fd=self._folder.fd)
        return self._named()

    def _named(self) -> int:
        self._name = f".{secrets.token_hex(8)}.part"
        return self._create(self._name)

    def _create(self, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_BINARY", 0)
        return os.open(self._folder.name(name), flags, _MODE, dir_fd=self._folder.fd)

    def _link(self, name: str) -> None:
        source = self._folder.name(self._name) if self._name else f"{_DESCRIPTORS}/{self.file.fileno()}"
        fd = self._folder.fd
        try:
            if fd is None:
                os.link(source, self._folder.name(name))
            else:
                os.link(source, name, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=not self._name)
        except FileExistsError:
            raise
        except OSError:  # no hard links here: the name is taken first, and then what it stands for
            os.close(self._create(name))
            if not self._name:
                self._copy()
            os.replace(self._folder.name(self._name), self._folder.name(name), src_dir_fd=fd, dst_dir_fd=fd)

    def _copy(self) -> None:
        """Copy it into a file that has a name."""
        whole = self.file
        self.file = os.fdopen(self._named(), "w+b")
        with whole:
            whole.seek(0)
            shutil.copyfileobj(whole, self.file)
        self.flush()


class Names:
    """Names that are taken in each folder: those that were there, and those that were given since.

    Shared by those who save into one folder, so that it is listed once.
    """

    def __init__(self) -> None:
        self._there: dict[Path, frozenset[str]] = {}
        self._given: dict[Path, set[str]] = {}
        self._numbers: dict[tuple[Path, str], int] = {}
        self._earlier: dict[tuple[Path, str], dict[int, dict[Path, bytes | None]]] = {}
        self._finding = threading.Lock()

    def free(self, folder: Folder, name: str) -> Iterator[Path]:
        """Return the places for a file of this name, best first; a name in another case is taken, too."""
        there, given, key = self._listed(folder), self._given[folder.path], (folder.path, same(name))
        for number in count(self._numbers.get(key, 1)):
            self._numbers[key] = number  # the lower ones are taken: ten thousand of one name are no square of that
            place = numbered(name, number)
            if (unique := same(place)) not in there and unique not in given:
                given.add(unique)
                yield folder.path / place

    def earlier(self, folder: Folder, name: str, file: Unfinished) -> Path | None:
        """Return the same file as an earlier process saved it, which was killed before it could say so; each is found
        once.

        Reads files, so it is called in a thread.
        """
        with self._finding:
            return self._found(folder, name, file)

    def _found(self, folder: Folder, name: str, file: Unfinished) -> Path | None:
        content = os.fstat(file.file.fileno())
        if (key := (folder.path, same(name))) not in self._earlier:
            self._earlier[key] = self._numbered(folder, name)
        alike = self._earlier[key].get(content.st_size)
        if not alike:
            return None
        file.file.seek(0)
        wanted = hashlib.file_digest(file.file, "blake2b").digest()
        for path, digest in alike.items():
            if digest is None:
                alike[path] = digest = _digest(folder, path.name)
            if digest == wanted:
                del alike[path]
                return path
        return None

    def _listed(self, folder: Folder) -> frozenset[str]:
        if folder.path not in self._there:
            self._there[folder.path] = frozenset(map(same, os.listdir(folder.path if folder.fd is None else folder.fd)))
            self._given[folder.path] = set()
        return self._there[folder.path]

    def _numbered(self, folder: Folder, name: str) -> dict[int, dict[Path, bytes | None]]:
        """Return the files that were there under this name, or beside it under a number, by their size."""
        there, found = self._listed(folder), dict[int, dict[Path, bytes | None]]()
        for number in count(1):
            if same(place := numbered(name, number)) not in there:
                return found
            with suppress(OSError):
                status = os.stat(folder.name(place), dir_fd=folder.fd, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.setdefault(status.st_size, {})[folder.path / place] = None
        raise AssertionError


def _digest(folder: Folder, name: str) -> bytes:
    """Return the digest of a file; of no file any more, an empty one."""
    with suppress(OSError):
        flags = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(folder.name(name), flags, dir_fd=folder.fd), "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    return b""
