"""Tests of the log in a file: its contract, then what only a file suffers: crashes, other writers, full disks."""

import asyncio
import os
import signal
import sqlite3
import stat
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.errors import LogDamaged, LogError, LogLocked, LogWriteFailed
from comfy_fsm.log import append_queue
from comfy_fsm.log.log import Log
from comfy_fsm.log.reader import read, verify
from comfy_fsm.log.sqlite_file import is_log
from comfy_fsm.log.writer import Writer
from tests.support.gates import Gate
from tests.support.lines import fill
from tests.support.log_contract import WRITES_FOR_EVER, LogContract, first, lines_of, shell, some_lines, start

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the kernel of Linux")


class TestFile(LogContract):
    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Log]:
        with tempfile.TemporaryDirectory() as directory:
            async with await Log.open(Path(directory, "log.sqlite")) as log:
                yield log
                await log.close()
            assert not [record for record in read(log.path) if record.damage]


def break_once(monkeypatch: pytest.MonkeyPatch, statement: str, *, afterwards: bool = False) -> None:
    """Let the next such statement of the writer fail, before it does anything or after it did everything."""
    whole = Writer.execute
    broken = []

    def execute(self: Writer, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql == statement and not broken:
            broken.append(sql)
            if afterwards:
                whole(self, sql, *values)
            raise sqlite3.OperationalError("disk I/O error")
        return whole(self, sql, *values)

    monkeypatch.setattr(Writer, "execute", execute)


# Durability


@pytest.mark.parametrize("acknowledged", [1, 20, 300])
def test_after_kill_9_every_acknowledged_line_is_there_and_the_lock_is_free(path: Path, acknowledged: int) -> None:
    with start(WRITES_FOR_EVER, path) as child:
        assert child.stdout
        told = [child.stdout.readline() for _ in range(acknowledged)]
        child.send_signal(signal.SIGKILL)
        told += child.stdout.read().splitlines(keepends=True)
    before = {record.position: record for record in read(path)}  # as a reader finds it, before any writer mends it
    assert verify(path).damaged == 0
    for position, last, count in (line.split() for line in told if line.endswith("\n")):
        end = int(position)
        stem = last.rpartition("-")[0]
        written = [before[at].line for at in range(end - int(count) + 1, end + 1)]
        assert written == [f"{stem}-{part}".encode() for part in range(int(count))]
    fill(path, b"after the crash")
    assert verify(path) == (len(before) + 1, 0, None, None)


async def test_a_commit_is_synced_and_that_is_read_back(path: Path) -> None:
    async with await Log.open(path) as log:
        answers = [await log._db.execute_fetchall(f"PRAGMA {name}") for name in ("synchronous", "journal_mode")]
        assert answers == [[(2,)], [("wal",)]]


@pytest.mark.parametrize(("pragma", "answer"), [("PRAGMA synchronous", 1), ("PRAGMA journal_mode=WAL", "delete")])
async def test_a_disk_that_takes_no_safe_commit_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str, answer: object
) -> None:
    whole = Writer.execute

    def execute(self: Writer, sql: str, *values: Any) -> sqlite3.Cursor:
        return whole(self, "SELECT ?", (answer,)) if sql == pragma else whole(self, sql, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "execute", execute)
        with pytest.raises(LogError, match="no commit would be safe"):
            await Log.open(path)
    fill(path, b"the lock was let go")


def test_the_file_and_all_beside_it_are_for_its_owner_alone(path: Path) -> None:
    async def story() -> dict[str, int]:
        async with await Log.open(path) as log:
            await log.append(b"a")
            return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    before = os.umask(0)
    try:
        modes = asyncio.run(story())
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["log.sqlite", "log.sqlite-wal", "log.sqlite-shm", "log.sqlite.lock"], 0o600)


async def test_a_log_opened_again_goes_on_where_it_was(path: Path) -> None:
    for turn in range(1, 5):
        async with await Log.open(path) as log:
            assert log.position == turn - 1
            assert await log.append(b"%d" % turn) == turn
    assert lines_of(log) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("name", ["a b.sqlite", "50%25?mode=memory#x.sqlite", "ünï☃.sqlite", "a'b\".sqlite"])
def test_any_file_name_is_that_very_file(tmp_path: Path, name: str) -> None:
    fill(tmp_path / name, b"a")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, name + ".lock"])
    assert [record.line for record in read(tmp_path / name)] == [b"a"]


# One writer


async def test_a_second_writer_of_this_process_is_refused_by_any_name(path: Path) -> None:
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    async with await Log.open(path) as log:
        for name in (path, link):
            with pytest.raises(LogLocked, match=r"log\.sqlite is being written by this process"):
                await Log.open(name)
        assert await log.append(b"a") == 1
    fill(link, b"b")
    assert verify(path).rows == 2


async def test_a_second_writer_of_another_process_is_refused_and_told_which(path: Path) -> None:
    with start(WRITES_FOR_EVER, path) as child:
        assert child.stdout
        child.stdout.readline()
        with pytest.raises(LogLocked, match=f"by process {child.pid}, so nothing was written"):
            await Log.open(path)
        child.kill()
        child.stdout.read()
    fill(path, b"a")


async def test_a_lock_file_of_somebody_else_is_not_overwritten(path: Path) -> None:
    lock = path.with_name(path.name + ".lock")
    lock.write_text("my notes")
    with pytest.raises(LogError, match="not a lock of ours"):
        await Log.open(path)
    assert lock.read_text() == "my notes"


@LINUX
async def test_a_look_at_a_live_log_takes_no_lock_from_its_writer(path: Path) -> None:
    """To open and close the file would: then the next stranger to close it removes the `-wal` file, and all in it."""
    stranger = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM log'); db.close()"
    async with await Log.open(path) as log:
        await log.append(*some_lines(10))
        assert is_log(path)
        assert verify(path).rows == 10
        with pytest.raises(LogLocked):
            await Log.open(path)
        with start(stranger, path) as child:
            child.communicate()
        assert path.with_name(path.name + "-wal").exists()
        await log.append(b"more")
    assert verify(path) == (11, 0, None, None)


async def test_a_line_longer_than_a_reader_would_hold_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_queue, "MAX_LINE", 100)
    async with await Log.open(path) as log:
        with pytest.raises(LogError, match="101 bytes"):
            await log.append(b"a", b"x" * 101)
        assert await log.append(b"x" * 100) == 1


@pytest.mark.parametrize("busy", [True, False])
def test_a_loop_that_ends_without_close_loses_nothing_and_leaves_no_thread(path: Path, gate: Gate, busy: bool) -> None:
    threads = set(threading.enumerate())

    async def story() -> None:
        log = await Log.open(path)
        if not busy:
            gate.open.set()
            await log.append(b"a", b"b")
            return
        running = [asyncio.ensure_future(log.append(b"a"))]
        await gate.reached()
        running.append(asyncio.ensure_future(log.append(b"b")))
        await asyncio.sleep(0)
        threading.Timer(0.05, gate.open.set).start()

    asyncio.run(story())
    assert [record.line for record in read(path)] == [b"a", b"b"]
    for left in set(threading.enumerate()) - threads:
        left.join(10)
        assert not left.is_alive()
    fill(path, b"c")


def test_a_log_may_be_closed_after_its_loop_ended(path: Path) -> None:
    async def story() -> Log:
        return await Log.open(path)

    asyncio.run(asyncio.run(story()).close())
    fill(path, b"a")


async def test_a_cancelled_opening_holds_no_lock(path: Path) -> None:
    for steps in range(6):
        opening = asyncio.ensure_future(Log.open(path))
        for _ in range(steps):
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        for _ in range(1000):
            try:
                log = await Log.open(path)
                break
            except LogLocked:  # its thread is still at it
                await asyncio.sleep(0.01)
        await log.append(b"a")
        await log.close()
    assert verify(path) == (6, 0, None, None)


async def test_close_does_not_wait_for_readers(path: Path) -> None:
    async with await Log.open(path) as log:
        await log.append(*some_lines(1000))
        reading = log.read()
        next(reading)
        await log.append(b"more")
    assert len([*reading]) == 999
    assert verify(path).rows == 1001


# A disk that refuses


async def test_a_full_disk_fails_who_waited_and_the_log_recovers_with_the_disk(path: Path) -> None:
    async with await Log.open(path) as log:
        await log.append(b"before")
        await log._db.execute("PRAGMA max_page_count=10")
        large = await asyncio.gather(log.append(b"a", b"x" * 50_000), log.append(b"b"), return_exceptions=True)
        for refusal in large:
            assert isinstance(refusal, LogWriteFailed)
            assert str(path) in str(refusal)
            assert "full" in str(refusal)
        assert await log.append(b"small") == 2
        await log._db.execute("PRAGMA max_page_count=100000")
        assert await log.append(b"y" * 50_000) == 3
        assert lines_of(log) == [b"before", b"small", b"y" * 50_000]


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
async def test_a_transaction_that_fails_leaves_the_chain_where_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    async with await Log.open(path) as log:
        await log.append(b"a")
        break_once(monkeypatch, statement)
        with pytest.raises(LogWriteFailed, match="disk I/O error"):
            await log.append(b"lost")
        assert log.position == 1
        assert await log.append(b"b") == 2
    assert lines_of(log) == [b"a", b"b"]


async def test_what_was_refused_is_not_there_though_its_commit_failed_only_in_word(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Log.open(path) as log:
        break_once(monkeypatch, "COMMIT", afterwards=True)
        with pytest.raises(LogWriteFailed):
            await log.append(b"refused")
        assert lines_of(log) == []
        assert await log.append(b"b") == 1
    assert lines_of(log) == [b"b"]


steps = st.sampled_from(["append", "fail", "reopen"])


@settings(max_examples=40)
@given(st.lists(st.tuples(steps, st.lists(st.binary(max_size=9), min_size=1, max_size=30)), max_size=12))
def test_a_log_holds_what_was_acknowledged_and_nothing_else(plan: list[tuple[str, list[bytes]]]) -> None:
    async def story(path: Path) -> None:
        acknowledged: list[bytes] = []
        log = await Log.open(path)
        for step, lines in plan:
            with pytest.MonkeyPatch.context() as patch:
                if step == "reopen":
                    await log.close()
                    log = await Log.open(path)
                elif step == "fail":
                    break_once(patch, "COMMIT")
                    with pytest.raises(LogWriteFailed):
                        await log.append(*lines)
                else:
                    acknowledged += lines
                    assert await log.append(*lines) == len(acknowledged)
            assert lines_of(log) == acknowledged
        await log.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(story(Path(directory, "log.sqlite")))


async def test_a_follower_stops_at_damage_and_names_it(path: Path) -> None:
    fill(path, *some_lines(5))
    with shell(path) as db:
        db.execute("UPDATE log SET line = x'00' WHERE position = 4")
    async with await Log.open(path) as log:
        follower = log.follow()
        await first(3, follower)
        with pytest.raises(LogDamaged, match="position 4") as caught:
            await anext(follower)
        assert caught.value.position == 4
