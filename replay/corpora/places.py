"""Places of traces: folders, globs, manifests, on any file system. The one module that knows fsspec."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from msgspec import Struct

from comfy_fsm.exits import Wrong

__all__ = ["Found", "Unit", "at_hand", "find"]

_MANIFEST = ".txt"
_KINDS = (".jsonl", ".ndjson", ".har", ".log")
_ENDS = tuple(kind + packed for kind in _KINDS for packed in ("", ".gz", ".zst"))
"""Names in a folder that are taken for traces, logs and captures; whatever is named one by one is taken as it is."""
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "date_time")


class Unit(Struct, frozen=True):
    """One trace: the name under which it is told, where a worker finds it, its size, and what changes when it does."""

    name: str
    url: str
    size: int = 0
    stamp: str = ""


class Found(Struct, frozen=True):
    """What the paths lead to, sorted by name, each trace once."""

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
    files, path = _opened(unit.url)
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "trace")
        files.get_file(path, copy)
        yield copy


def _manifest(path: str) -> Iterator[Unit | None]:
    """What each line names, relative to the manifest; a trace that is not there will be a row of its own."""
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
            yield Unit(given, given if "://" in given else os.path.abspath(given))


def _each(given: str) -> Iterator[Unit | None]:
    files, root = _opened(given)
    if files.isdir(root):
        # a folder that cannot be listed is an error: what is in it would be missing in silence
        strictly = {"on_error": "raise"} if isinstance(files, LocalFileSystem) else {}
        for path, info in sorted(files.find(root, detail=True, **strictly).items()):
            yield _unit(files, given, path, info, _below(given, root, path)) if path.endswith(_ENDS) else None
    elif files.exists(root):
        yield _unit(files, given, root, files.info(root), given)
    elif matches := _matches(files, given, root):
        for path, info in sorted(matches.items()):
            if info.get("type") != "directory":
                yield _unit(files, given, path, info, None)
    else:
        raise FileNotFoundError(errno.ENOENT, "there is no such trace or folder", given)


def _matches(files: Any, given: str, root: str) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = files.glob(root, detail=True) if any(sign in root for sign in "*?[") else {}
    except ValueError as error:  # a pattern that is none
        raise Wrong(f"{given}: {error}") from None
    return found


def _unit(files: Any, given: str, path: str, info: dict[str, Any], name: str | None) -> Unit:
    if isinstance(files, LocalFileSystem):
        url = path
        told = name or (path if os.path.isabs(given) or "://" in given else os.path.relpath(path))
    else:
        _, within, container = given.partition("::")
        url = f"{files.unstrip_protocol(path)}{within}{container if '://' in container else _absolute(container)}"
        told = name or f"{files.unstrip_protocol(path)}{within}{container}"
    stamp = next((str(info[key]) for key in _STAMPS if key in info), "")
    return Unit(told, url, int(info.get("size") or 0), stamp)


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _below(given: str, root: str, path: str) -> str:
    """Name of a file in a folder: the folder as it was given, and the way from there."""
    head, within, container = given.partition("::")
    slash = "" if head.endswith("/") else "/"
    return f"{head}{slash}{path[len(root) :].lstrip('/')}{within}{container}"


def _opened(path: str) -> tuple[Any, str]:
    try:
        files, root = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as error:  # no such protocol, or one whose library is not installed
        raise Wrong(f"{path}: {error}") from None
    return files, root
