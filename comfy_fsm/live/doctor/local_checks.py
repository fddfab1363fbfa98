"""Checks of this machine and of a log: versions, SQLite, file system, space, clock. The log is only read."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from comfy_fsm.core.fold.board import Board
from comfy_fsm.display import plural
from comfy_fsm.errors import LogError, LogUnreachable, NotALog
from comfy_fsm.live.doctor import database_checks
from comfy_fsm.live.doctor.check import Check
from comfy_fsm.live.engine.ingest import refold
from comfy_fsm.log.chain import LogRow
from comfy_fsm.log.opening import is_log, is_written, read, shown
from comfy_fsm.log.postgres.address import is_address

__all__ = ["checks", "file_system_of", "libraries"]

_NETWORK = frozenset({
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "vboxsf", "prl_fs", "drvfs",
    "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.vmhgfs-fuse",
})  # fmt: skip
_VOLATILE = {"tmpfs": "a restart of this machine", "ramfs": "a restart of this machine", "overlay": "its container"}
_SPACE = 256 * 1024 * 1024
"""Bytes of free space below which a busy night may fill the disk."""
_WAL_MENDED = (3, 51, 3)
_YEARS = (1_735_689_600.0, 4_102_444_800.0)
"""From 2025 to 2100: a clock outside was never set."""
_AHEAD = 2.0
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*\])? *>=? *([\d.]+)(?:.*extra == ['\"]([\w-]+)['\"])?")


def checks(log: str, version: str) -> Iterator[Check]:
    """Look at everything here, in the order in which it matters."""
    yield Check(
        "comfy-fsm", "ok", f"{version} on {platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}",
    )  # fmt: skip
    yield from libraries()
    yield _sqlite()
    yield _clock()
    if is_address(log):
        yield from database_checks.checks(log)
    else:
        yield from _folder(os.path.dirname(os.path.realpath(log)))
    yield from _log(log)


def libraries(package: str = "comfy-fsm") -> Iterator[Check]:
    """Compare what is installed with what is required; what only an extra needs may be missing."""
    try:
        required = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("libraries", "warning", "comfy-fsm is not installed, but runs from its source", "pip install .")
        return
    missing: dict[str, list[str]] = {}
    for row in required:
        found = _REQUIREMENT.match(row)
        if found is None or found[3] in ("test", "docs", "fuzz"):
            continue
        name, lowest, extra = found.groups()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.setdefault(extra or "", []).append(name)
            continue
        if _numbers(version) < _numbers(lowest):
            yield Check("libraries", "problem", f"{name} {version} is older than {lowest}", f"pip install -U {name}")
    for name in missing.pop("", []):
        yield Check("libraries", "problem", f"{name} is not installed", "pip install --force-reinstall comfy-fsm")
    extras = ", ".join(missing)
    told = f"as required; not installed: the extras {extras}" if extras else "as required, with all extras"
    yield Check(
        "libraries", "ok", told, f"if you need one: pip install 'comfy-fsm[{next(iter(missing))}]'" if missing else ""
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:4])


def _sqlite() -> Check:
    version = sqlite3.sqlite_version
    if not sqlite3.threadsafety:
        return Check("SQLite", "problem", f"{version} is built without threads", "use another build of Python")
    if sqlite3.sqlite_version_info < _WAL_MENDED:
        return Check(
            "SQLite", "ok", f"{version}, which can lose commits if two connections write one file (mended in 3.51.3); "
            "the lock of a log lets one process write, so it cannot happen here",
        )  # fmt: skip
    return Check("SQLite", "ok", version)


def _clock() -> Check:
    now = time.time()
    if not _YEARS[0] <= now <= _YEARS[1]:
        told = f"it is set to the year {time.gmtime(now).tm_year}"
        return Check("clock", "problem", told, "set the clock, by NTP perhaps: times in logs and certificates need it")
    return Check("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def _folder(folder: str) -> Iterator[Check]:
    if not os.path.isdir(folder):
        yield Check("folder", "problem", f"{folder} does not exist", "make it, or name another log by --log")
        return
    kind = file_system_of(folder)
    if kind in _NETWORK:
        yield Check(
            "folder", "problem", f"{folder} is on a network file system ({kind}), where SQLite can damage a log",
            "put the log on a disk of this machine, by --log",
        )  # fmt: skip
    elif kind in _VOLATILE:
        told = f"{folder} is on {kind}: a log there does not outlive {_VOLATILE[kind]}"
        yield Check("folder", "warning", told, "put the log on a disk or a volume, by --log")
    else:
        yield Check("folder", "ok", f"{folder} ({kind or 'file system not known'})")
    free = shutil.disk_usage(folder).free
    if free < _SPACE:
        told = f"{free // 1_000_000:,} MB are free in {folder}; a full disk ends the client"
        yield Check(
            "space", "problem" if free < _SPACE // 16 else "warning", told, "make room, or put the log elsewhere"
        )
    if why := _unwritable(folder):
        yield Check("folder", "problem", f"no log can be written in {folder}: {why}", "name another log by --log")


def _unwritable(folder: str) -> str:
    """Return why a database in WAL mode cannot be written here; it is tried, and taken away again."""
    try:
        with tempfile.TemporaryDirectory(prefix=".comfy-fsm-doctor-", dir=folder) as trial:
            with closing(sqlite3.connect(Path(trial) / "trial.log")) as db:
                mode = db.execute("PRAGMA journal_mode=WAL").fetchone()[0]
                db.execute("CREATE TABLE trial (a)")
                db.commit()
            return "" if mode == "wal" else "its file system takes no write-ahead log"
    except (OSError, sqlite3.Error) as error:
        return str(error)


def file_system_of(path: str, table: str = "/proc/self/mountinfo") -> str:
    """Return the type of the file system that a path is on; empty where the system does not tell."""
    try:
        rows = Path(table).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for row in rows:
        left, _, right = row.partition(" - ")
        place = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), left.split(" ")[4]) if right else ""
        inside = place and (path == place or path.startswith(place.rstrip("/") + "/"))
        if inside and len(place) >= len(best):
            best, kind = place, right.split(" ")[0]
    return kind


def _noting(rows: Iterable[LogRow], damaged: list[int]) -> Iterator[LogRow]:
    for row in rows:
        if row.damage is not None:
            damaged.append(row.position)
        yield row


class _Folded(NamedTuple):
    """Content of a log."""

    board: Board
    rows: int
    damaged: int
    written: bool | None


def _fold(log: str, name: str) -> _Folded | Check | None:
    """Read a log, or say why it cannot be read; None where that is said of its database."""
    absent = Check("log", "ok", f"{name} is not there yet; `run` makes it")
    if not is_address(log) and not os.path.exists(log):
        return absent
    try:
        if not is_log(log):
            return Check("log", "problem", f"{name} is no log of comfy-fsm", "name another file by --log")
        board, damaged = Board(), list[int]()
        rows = refold(_noting(read(log), damaged), board, name)
        return _Folded(board, rows, len(damaged), is_written(log))
    except LogUnreachable:
        return None
    except (LogError, OSError) as error:
        if is_address(log):
            return absent if isinstance(error, NotALog) else Check("log", "problem", str(error), "see to the database")
        return Check("log", "problem", str(error), "keep a copy of the log and its -wal, and name another by --log")


def _log(log: str) -> Iterator[Check]:
    name = shown(log)
    found = _fold(log, name)
    if not isinstance(found, _Folded):
        yield from filter(None, [found])
        return
    board, rows, damaged, written = found
    if damaged:
        yield Check(
            "log",
            "problem",
            f"{damaged:,} places of {name} are damaged",
            f"see them: python -m comfy_fsm diagnose {shlex.quote(name)}",
        )
    if board.now > time.time() + _AHEAD:
        told = f"its last entry is {board.now - time.time():,.0f} s in the future: the clock was set back"
        yield Check("log", "problem", told, "set the clock; until then silence is measured wrongly")
    state = {
        True: "a process writes it",
        False: "no process writes it",
        None: "whether a process writes it is not known",
    }
    left = sum(not task.settled for task in board.tasks) + len(board.backlog.waiting)
    told = f"{name}: {rows:,} entries, {plural(len(board.tasks), 'task')}, {state[written]}"
    if left and written is False:
        cure = f"python -m comfy_fsm resume --known --log {shlex.quote(name)}"
        yield Check("log", "warning", f"{told}; {left:,} of its tasks and waiting jobs are open", cure)
    else:
        yield Check("log", "ok", told)
