"""Tests of the writer: its file is its own and stays in place, and it waits for another process that writes."""

import asyncio
import os
import shutil
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from comfy_fsm.errors import LogError, LogLocked, LogMoved, LogWriteFailed
from comfy_fsm.log import creation, writer
from comfy_fsm.log.log import Log
from comfy_fsm.log.reader import read, verify
from comfy_fsm.log.writer import Writer
from tests.support.lines import fill
from tests.support.log_contract import some_lines, start

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="flock is a thing apart there alone")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.log"


# One file


async def test_a_file_with_two_names_is_refused_by_both(path: Path) -> None:
    fill(path, b"a")
    os.link(path, path.with_name("other"))
    for name in ("night.log", "other"):
        with pytest.raises(LogError, match="2 names"):
            await Log.open(path.with_name(name))
    path.with_name("other").unlink()
    fill(path, b"b")


@LINUX
async def test_a_file_that_was_renamed_while_it_is_open_has_no_second_writer_under_its_new_name(path: Path) -> None:
    async with await Log.open(path) as log:
        await log.append(b"a")
        os.rename(path, f"{path}.1")
        with pytest.raises(LogLocked, match="under another name"):
            await Log.open(f"{path}.1")
    fill(Path(f"{path}.1"), b"b")


async def test_a_file_of_another_owner_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, b"a")
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(path).st_uid + 1)
    with pytest.raises(LogError, match="belongs to user"):
        await Log.open(path)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
async def test_a_second_name_of_what_lies_beside_is_refused_and_not_written_to(path: Path, suffix: str) -> None:
    fill(path, b"a")
    (other := path.with_name("other")).write_bytes(b"precious")
    os.link(other, f"{path}{suffix}")
    with pytest.raises(LogError, match=f"{suffix} cannot be opened for writing: it has 2 names"):
        await Log.open(path)
    assert other.read_bytes() == b"precious"


MOVES: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "renamed": lambda path: path.rename(path.with_name("rotated")),
    "replaced": lambda path: (shutil.copy(path, path.with_name("copy")), path.with_name("copy").replace(path)),
    "its -wal removed": lambda path: Path(f"{path}-wal").unlink(),
    "its -wal renamed": lambda path: Path(f"{path}-wal").rename(path.with_name("wal")),
    "all renamed": lambda path: [each.rename(f"{each}.1") for each in path.parent.iterdir()],
}


@pytest.mark.parametrize("how", MOVES)
async def test_a_log_that_is_gone_from_its_place_acknowledges_nothing_more_and_loses_nothing(
    path: Path, how: str
) -> None:
    before = some_lines(5)
    async with await Log.open(path) as log:
        await log.append(*before)
        MOVES[how](path)
        for _ in range(2):
            with pytest.raises(LogMoved, match="logrotate"):
                await log.append(b"into nothing")
        assert log.position == 5
    [left] = [each for each in (path, path.with_name("rotated"), Path(f"{path}.1")) if each.exists()] or [None]
    if how == "removed":
        assert left is None
    elif how != "replaced":  # by a copy, which had what it had
        assert [record.line for record in read(left) if record.line] == before


def to_folder(path: Path) -> Path:
    (path.parent / "moved").mkdir()
    for each in path.parent.glob("night.log*"):
        each.rename(path.parent / "moved" / each.name)
    return path.parent / "moved" / path.name


def to_other_names(path: Path) -> Path:
    for each in path.parent.glob("night.log*"):
        each.rename(f"{each}.1")
    return Path(f"{path}.1")


@pytest.mark.parametrize("move", [None, to_folder, to_other_names])
async def test_a_writer_whose_log_was_moved_takes_nothing_from_the_next_one_when_it_closes(
    path: Path, move: Callable[[Path], Path] | None
) -> None:
    crashed = path.parent / "crashed"
    crashed.mkdir()
    old = await Log.open(path)
    await old.append(*some_lines(3))
    moved = move(path) if move else [each.unlink() for each in path.parent.glob("night.log*")] and None
    async with await Log.open(path) as new:
        await new.append(b"a")
        there = {each: each.stat().st_ino for each in path.parent.glob("night.log*")}
        await old.close()
        assert {each: each.stat().st_ino for each in path.parent.glob("night.log*")} == there
        await new.append(b"b")
        for each in ("", "-wal", ".lock"):  # as kill -9 leaves it
            shutil.copy(f"{path}{each}", crashed)
    moved = moved
    assert [record.line for record in read(crashed / "night.log")] == [b"a", b"b"]
    assert verify(path) == (2, 0, None, None)
    if moved is not None:
        assert verify(moved) == (3, 0, None, None)


async def test_a_log_that_is_moved_while_a_commit_runs_refuses_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Writer.execute

    def execute(self: Writer, sql: str, *values: object) -> sqlite3.Cursor:
        if sql == "COMMIT" and path.exists():
            path.rename(path.with_name("rotated"))
        return whole(self, sql, *values)

    async with await Log.open(path) as log:
        await log.append(b"a")
        monkeypatch.setattr(Writer, "execute", execute)
        with pytest.raises(LogMoved):
            await log.append(b"b")
    assert [record.line for record in read(path.with_name("rotated"))] == [b"a"]


async def test_a_log_that_is_put_back_is_written_again(path: Path) -> None:
    async with await Log.open(path) as log:
        await log.append(b"a")
        os.rename(path, f"{path}.1")
        with pytest.raises(LogMoved):
            await log.append(b"refused")
        os.rename(f"{path}.1", path)
        assert await log.append(b"b") == 2
    assert [record.line for record in read(path)] == [b"a", b"b"]
    assert verify(path).damaged == 0


# A stranger

HOLDS = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("holds", flush=True)
sys.stdin.read()
"""


async def test_a_stranger_who_writes_is_waited_for_and_told_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "BUSY", 0.01)
    warned = threading.Event()
    monkeypatch.setattr(writer.logger, "warning", lambda text, *_: warned.set())
    async with await Log.open(path) as log:
        with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(log.append(b"a"))
            await asyncio.to_thread(warned.wait, 10)
            assert not waiting.done()
            stranger.execute("ROLLBACK")
            assert await waiting == 1


@pytest.mark.parametrize("closed", [False, True])
async def test_a_stranger_who_never_ends_is_not_waited_for_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    monkeypatch.setattr(writer, "BUSY", 0.01)
    monkeypatch.setattr(writer, "BUSY_TURNS", 10**9 if closed else 3)
    log = await Log.open(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(log.append(b"a"))
        await asyncio.sleep(0)
        if closed:
            await log.close()
        with pytest.raises(LogWriteFailed, match="locked"):
            await waiting
    await log.close()


async def test_the_wal_shrinks_again_after_a_long_reader(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "WAL_LIMIT", 100_000)
    sizes = []
    async with await Log.open(path) as log:
        await log.append(b"a")
        reading = log.read()
        next(reading)
        for _ in range(3):
            await log.append(b"x" * 3_000_000)
        sizes.append(os.stat(f"{path}-wal").st_size)
        reading.close()
        for _ in range(3):
            await log.append(b"x" * 3_000)
        sizes.append(os.stat(f"{path}-wal").st_size)
    grown, shrunk = sizes
    assert grown > 9_000_000
    assert shrunk <= 200_000


# The file of a new log


async def test_a_path_longer_than_sqlite_takes_is_said_before_anything_is_made(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d" * 100] * 6)
    deep.mkdir(parents=True)
    with pytest.raises(LogError, match="choose a shorter path"):
        await Log.open(deep / "night.log")
    assert not list(deep.iterdir())


@pytest.mark.parametrize("content", [b"", bytes(8192)])
def test_a_file_that_holds_nothing_becomes_a_log_for_its_owner_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)
    Path(f"{path}-journal").write_bytes(bytes(len(content)))
    Path(f"{path}.new").write_bytes(b"half of one")
    fill(path, b"a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(each.name for each in path.parent.iterdir()) == ["night.log", "night.log.lock"]


DIES_MAKING = """
import asyncio, os, sys
from comfy_fsm.log.log import Log
left = int(sys.argv[2])
def hook(event, args):
    global left
    if event in ("open", "os.rename", "os.remove", "sqlite3.connect"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
async def main():
    sys.addaudithook(hook)
    await (await Log.open(sys.argv[1])).close()
asyncio.run(main())
"""


def test_a_process_that_dies_at_any_step_of_the_making_leaves_what_the_next_can_use(tmp_path: Path) -> None:
    for step in range(100):
        path = tmp_path / str(step) / "night.log"
        path.parent.mkdir()
        with start(DIES_MAKING, path, step) as child:
            ended = child.wait()
        fill(path, b"a")
        assert verify(path) == (1, 0, None, None)
        assert sorted(each.name for each in path.parent.iterdir()) == ["night.log", "night.log.lock"]
        if ended == 0:
            break
    assert step > 5


def test_a_wal_without_its_log_is_kept_and_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path(f"{path}-wal").write_bytes(b"the last rows")
    fill(path, b"a")
    assert Path(f"{path}-wal.kept-1").read_bytes() == b"the last rows"
    assert "night.log-wal.kept-1" in caplog.text
    assert verify(path) == (1, 0, None, None)


async def test_what_another_program_makes_in_the_same_moment_is_not_overwritten(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = creation._make

    def make(new: str) -> None:
        whole(new)
        path.write_text("theirs")

    monkeypatch.setattr(creation, "_make", make)
    with pytest.raises(LogError, match="another program"):
        await Log.open(path)
    assert path.read_text() == "theirs"
    assert not Path(f"{path}.new").exists()


async def test_an_error_of_the_disk_at_the_first_read_is_an_error_of_ours(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, b"a")
    threads = set(threading.enumerate())

    def execute(*_: object) -> sqlite3.Cursor:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "execute", execute)
        with pytest.raises(LogError, match="disk I/O error"):
            await Log.open(path)
    for left in set(threading.enumerate()) - threads:
        left.join(10)
        assert not left.is_alive()
    fill(path, b"b")
