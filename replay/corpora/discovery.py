"""Places of traces: folders, globs, manifests, on any file system. The one module that knows fsspec."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from comfy_fsm.errors import TraceError
from comfy_fsm.exits import Unavailable, Wrong

__all__ = ["Found", "Unit", "at_hand", "find", "shown"]

_MANIFEST = ".txt"
_KINDS = (".jsonl", ".ndjson", ".har", ".log")
_ENDS = tuple(kind + packed for kind in _KINDS for packed in ("", ".gz", ".zst"))
"""Names in a folder that are taken for traces, logs and captures; whatever is named one by one is taken as it is."""
_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"(https?://[^\s?]*)\?([^\s#]+)")
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "date_time")


class Unit(Struct, frozen=True):
    """Trace of a corpus: its name, where a worker finds it, its size, and what changes when it does."""

    name: str
    url: str
    size: int = 0
    stamp: str = ""


class Found(Struct, frozen=True):
    """Traces that the paths lead to, sorted by name, each trace once."""

    units: list[Unit]
    passed_over: int
    """Files in folders whose names are not those of traces."""


def find(paths: Iterable[str]) -> Found:
    """Find the traces that these paths name; raises OSError if one leads nowhere."""
    found: dict[str, Unit] = {}
    passed_over = 0
    for path in paths:
        for unit in _manifest(path) if path.endswith(_MANIFEST) else _each(path):
            if unit is None:
                passed_over += 1
            else:
                found.setdefault(unit.url, unit)
    return Found(sorted(found.values(), key=lambda unit: (unit.name, unit.url)), passed_over)


@contextmanager
def at_hand(unit: Unit) -> Iterator[str]:
    """Return the path of the trace on this machine; one from elsewhere is copied for as long as it is needed."""
    if "://" not in unit.url:
        yield unit.url
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "trace")
        try:
            files, path = _opened(unit.url)
            files.get_file(path, copy)
        except Exception as error:  # each file system has errors of its own
            raise TraceError(f"{unit.name}: cannot be fetched: {_reason(error)}") from None
        yield copy


def _manifest(path: str) -> Iterator[Unit | None]:
    """Yield what each line names, relative to the manifest; a trace that is not there will be a row of its own."""
    files, root = _opened(path)
    with files.open(root, "rb") as manifest:
        lines = manifest.read().decode("utf-8", "surrogateescape").splitlines()
    for line in map(str.strip, lines):
        if not line or line.startswith("#"):
            continue
        given = line if "://" in line or os.path.isabs(line) else os.path.join(os.path.dirname(path), line)
        try:
            yield from _each(given)
        except FileNotFoundError:
            yield Unit(shown(given), given if "://" in given else os.path.abspath(given))


def _each(given: str) -> Iterator[Unit | None]:
    files, root = _opened(given)
    try:
        info = files.info(root)  # one question for each trace that is named: a bucket takes its time
    except (FileNotFoundError, NotADirectoryError):
        yield from _of_glob(files, given, root)
        return
    except OSError as error:
        raise OSError(error.errno, error.strerror or _reason(error), shown(given)) from None
    except Exception as error:  # each file system has errors of its own
        raise Unavailable(f"{shown(given)}: no answer: {_reason(error)}; is it up, and is its address right?") from None
    # a web server tells its folders from its files by their last sign alone
    if info.get("type") != "directory" and not (given.endswith("/") and files.isdir(root)):
        yield _unit(files, given, root, info, given)
    elif _is_local(files):
        for path, found in _below_here(root):
            yield None if found is None else _unit(files, given, path, found, _below(given, root, path))
    else:
        for path, found in sorted(files.find(root, detail=True).items()):
            yield _unit(files, given, path, found, _below(given, root, path)) if path.endswith(_ENDS) else None


def _below_here(root: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield the files in a folder of this machine, each with what is known of it; None for what is no trace."""

    def refused(error: OSError) -> None:
        raise error  # what is in a folder that cannot be listed would be missing in silence

    for folder, folders, names in os.walk(root, onerror=refused):
        folders.sort()
        yield from ((folder, None) for name in folders if os.path.islink(os.path.join(folder, name)))
        for name in sorted(names):
            path = os.path.join(folder, name)
            yield path, _known(path) if name.endswith(_ENDS) else None


def _known(path: str) -> dict[str, Any] | None:
    """Return size and time of a file; None for what is none: to open a pipe waits for ever."""
    try:
        known = os.stat(path)
    except OSError:
        return {}  # it will be a row that says why
    return {"size": known.st_size, "mtime": known.st_mtime} if stat.S_ISREG(known.st_mode) else None


def _of_glob(files: Any, given: str, root: str) -> Iterator[Unit | None]:
    matches = _matches(files, given, root)
    if not matches:
        raise FileNotFoundError(errno.ENOENT, "there is no such trace or folder", shown(given))
    for path, info in sorted(matches.items()):
        if info.get("type") != "directory":
            yield _unit(files, given, path, info, None)


def _matches(files: Any, given: str, root: str) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = files.glob(root, detail=True) if any(sign in root for sign in "*?[") else {}
    except ValueError as error:  # a pattern that is none
        raise Wrong(f"{given}: {error}") from None
    return found


def _unit(files: Any, given: str, path: str, info: dict[str, Any], name: str | None) -> Unit:
    if _is_local(files):
        url = path
        told = name or (path if os.path.isabs(given) or "://" in given else os.path.relpath(path))
    else:
        _, within, container = given.partition("::")
        url = f"{files.unstrip_protocol(path)}{within}{container if '://' in container else _absolute(container)}"
        told = shown(name or f"{files.unstrip_protocol(path)}{within}{container}")
    stamp = next((str(info[key]) for key in _STAMPS if key in info), "")
    return Unit(told, url, int(info.get("size") or 0), stamp)


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _below(given: str, root: str, path: str) -> str:
    """Name of a file in a folder: the folder as it was given, and the way from there."""
    head, within, container = given.partition("::")
    slash = "" if head.endswith("/") else "/"
    return f"{head}{slash}{path[len(root) :].lstrip('/')}{within}{container}"


def shown(address: str) -> str:
    """Return an address as it may be told: without a login, and without what follows its question mark."""

    def without_query(match: re.Match[str]) -> str:
        before, query = match.groups()
        return f"{before}?{hashlib.sha256(query.encode()).hexdigest()[:8]}"  # names of two traces stay two

    return _QUERY.sub(without_query, _LOGIN.sub("…@", address))


def _reason(error: Exception) -> str:
    """Return what an error of a file system says, without a secret of the address."""
    if isinstance(error, FileNotFoundError):
        return "there is none"
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return shown(said.strip()) or type(error).__name__


def _is_local(files: Any) -> bool:
    return "file" in ((files.protocol,) if isinstance(files.protocol, str) else files.protocol)


def _opened(path: str) -> tuple[Any, str]:
    import fsspec  # it takes a tenth of the time in which a worker starts, and traces of this machine need none of it

    try:
        files, root = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as error:  # no such protocol, or one whose library is not installed
        raise Wrong(f"{shown(path)}: {error}") from None
    return files, root
