"""The log: its contract in a file and in memory, then what only a file suffers: crashes, strangers, a full disk, damage."""

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.errors import LogClosed, LogDamaged, LogError, LogLocked, LogVersionError, LogWriteFailed, NotALog
from comfy_fsm.live import log as log_module
from comfy_fsm.live import rows
from comfy_fsm.live.log import Log, MemoryLog
from comfy_fsm.live.rows import is_log, read, verify
from comfy_fsm.live.writer import Writer
from tests.log_contract import LogContract, first, lines_of

ROOT = Path(__file__).resolve().parents[1]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the kernel of Linux")


class TestFile(LogContract):
    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Log]:
        with tempfile.TemporaryDirectory() as directory:
            async with await Log.open(Path(directory, "log.sqlite")) as log:
                yield log
                await log.close()
            assert not [record for record in read(log.path) if record.damage]


class TestMemory(LogContract):
    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[MemoryLog]:
        async with MemoryLog() as log:
            yield log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


def write(path: Path, *lines: bytes) -> None:
    async def story() -> None:
        async with await Log.open(path) as log:
            await log.append(*lines)

    asyncio.run(story())


def some_lines(count: int, size: int = 300) -> list[bytes]:
    return [(b'{"at":%d,"kind":"tick","data":{}}' % n).ljust(size) for n in range(1, count + 1)]


@contextmanager
def shell(path: Path) -> Iterator[sqlite3.Connection]:
    """A stranger's connection, as one who mends or breaks a closed log by hand has it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


class Gate:
    """Holds every transaction in the connection's thread until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    whole = Writer.executemany

    def held_up(self: Writer, sql: str, lines: Any) -> sqlite3.Cursor:
        gate.entered.set()
        assert gate.open.wait(10)
        return whole(self, sql, lines)

    monkeypatch.setattr(Writer, "executemany", held_up)
    yield gate
    gate.open.set()


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

WRITES_FOR_EVER = """
import asyncio, sys
from comfy_fsm.live.log import Log

async def talk(log, name):
    for n in range(10**9):
        lines = [b"%s-%d-%d" % (name, n, part) for part in range(n % 40 + 1)]
        print(await log.append(*lines), lines[-1].decode(), len(lines), flush=True)

async def main():
    async with await Log.open(sys.argv[1]) as log:
        await asyncio.gather(*(talk(log, name) for name in (b"a", b"b", b"c")))

asyncio.run(main())
"""


def start(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


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
    write(path, b"after the crash")
    assert verify(path) == (len(before) + 1, 0, None, None)


def test_a_commit_is_synced_and_that_is_read_back(path: Path) -> None:
    async def story() -> None:
        async with await Log.open(path) as log:
            answers = [await log._db.execute_fetchall(f"PRAGMA {name}") for name in ("synchronous", "journal_mode")]
            assert answers == [[(2,)], [("wal",)]]

    asyncio.run(story())


@pytest.mark.parametrize(("pragma", "answer"), [("PRAGMA synchronous", 1), ("PRAGMA journal_mode=WAL", "delete")])
def test_a_disk_that_takes_no_safe_commit_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str, answer: object
) -> None:
    whole = Writer.execute

    def execute(self: Writer, sql: str, *values: Any) -> sqlite3.Cursor:
        return whole(self, "SELECT ?", (answer,)) if sql == pragma else whole(self, sql, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "execute", execute)
        with pytest.raises(LogError, match="no commit would be safe"):
            asyncio.run(Log.open(path))
    write(path, b"the lock was let go")


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


def test_a_log_opened_again_goes_on_where_it_was(path: Path) -> None:
    async def story() -> None:
        for turn in range(1, 5):
            async with await Log.open(path) as log:
                assert log.position == turn - 1
                assert await log.append(b"%d" % turn) == turn
        assert lines_of(log) == [b"1", b"2", b"3", b"4"]

    asyncio.run(story())


@pytest.mark.parametrize("name", ["a b.sqlite", "50%25?mode=memory#x.sqlite", "ünï☃.sqlite", "a'b\".sqlite"])
def test_any_file_name_is_that_very_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"a")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, name + ".lock"])
    assert [record.line for record in read(tmp_path / name)] == [b"a"]


# One writer


def test_a_second_writer_of_this_process_is_refused_by_any_name(path: Path) -> None:
    link = path.with_name("link.sqlite")
    link.symlink_to(path)

    async def story() -> None:
        async with await Log.open(path) as log:
            for name in (path, link):
                with pytest.raises(LogLocked, match=r"log\.sqlite is being written by this process"):
                    await Log.open(name)
            assert await log.append(b"a") == 1

    asyncio.run(story())
    write(link, b"b")
    assert verify(path).rows == 2


def test_a_second_writer_of_another_process_is_refused_and_told_which(path: Path) -> None:
    with start(WRITES_FOR_EVER, path) as child:
        assert child.stdout
        child.stdout.readline()
        with pytest.raises(LogLocked, match=f"by process {child.pid}, so nothing was written"):
            asyncio.run(Log.open(path))
        child.kill()
        child.stdout.read()
    write(path, b"a")


def test_a_lock_file_of_somebody_else_is_not_overwritten(path: Path) -> None:
    lock = path.with_name(path.name + ".lock")
    lock.write_text("my notes")
    with pytest.raises(LogError, match="not a lock of ours"):
        asyncio.run(Log.open(path))
    assert lock.read_text() == "my notes"


@LINUX
def test_a_look_at_a_live_log_takes_no_lock_from_its_writer(path: Path) -> None:
    """To open and close the file would: then the next stranger to close it removes the `-wal` file, and all in it."""
    stranger = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM log'); db.close()"

    async def story() -> None:
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

    asyncio.run(story())


# Group commit


def test_appends_that_wait_together_share_a_commit(path: Path, gate: Gate) -> None:
    async def story() -> None:
        async with await Log.open(path) as log:
            one = asyncio.ensure_future(log.append(b"first"))
            await gate.reached()
            many = [asyncio.ensure_future(log.append(b"%d" % n)) for n in range(500)]
            await asyncio.sleep(0)
            assert log.position == 0  # what is not committed has not happened
            gate.open.set()
            assert [await one, *await asyncio.gather(*many)] == list(range(1, 502))
            assert log._chain.commits == 2

    asyncio.run(story())


def test_who_is_cancelled_while_waiting_takes_nothing_from_the_others(path: Path, gate: Gate) -> None:
    async def story() -> None:
        async with await Log.open(path) as log:
            in_flight = asyncio.ensure_future(log.append(b"a"))
            await gate.reached()
            waiting = [asyncio.ensure_future(log.append(line)) for line in (b"b", b"c", b"d")]
            await asyncio.sleep(0)
            for cancelled in (in_flight, waiting[1]):
                cancelled.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await cancelled
            gate.open.set()
            assert await waiting[0] == 2
            assert await waiting[2] == 4
            assert await log.append(b"e") == 5
            assert lines_of(log) == [b"a", b"b", b"c", b"d", b"e"]

    asyncio.run(story())


def test_beyond_the_limit_an_append_waits_for_room_in_the_order_of_coming(path: Path, gate: Gate) -> None:
    async def story() -> None:
        async with await Log.open(path, limit=2000) as log:
            larger_than_the_limit = asyncio.ensure_future(log.append(b"x" * 5000))
            await gate.reached()
            waiting = [asyncio.ensure_future(log.append(b"%d" % n * 1000)) for n in range(10)]
            small = asyncio.ensure_future(log.append(b"s"))
            withdrawn = asyncio.ensure_future(log.append(b"w"))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not log._waiting
            withdrawn.cancel()
            gate.open.set()
            assert await larger_than_the_limit == 1
            assert await asyncio.gather(*waiting, small) == list(range(2, 13))
            assert log.position == 12

    asyncio.run(story())


def test_a_line_longer_than_a_reader_would_hold_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_LINE", 100)

    async def story() -> None:
        async with await Log.open(path) as log:
            with pytest.raises(LogError, match="101 bytes"):
                await log.append(b"a", b"x" * 101)
            assert await log.append(b"x" * 100) == 1

    asyncio.run(story())


# Closing


def test_close_writes_all_that_was_accepted(path: Path, gate: Gate) -> None:
    async def story() -> None:
        log = await Log.open(path)
        accepted = [asyncio.ensure_future(log.append(b"a"))]
        await gate.reached()
        accepted += [asyncio.ensure_future(log.append(b"b")), asyncio.ensure_future(log.append(b"c"))]
        await asyncio.sleep(0)
        closing_twice = [asyncio.ensure_future(log.close()), asyncio.ensure_future(log.close())]
        await asyncio.sleep(0)
        with pytest.raises(LogClosed):
            await log.append(b"too late")
        gate.open.set()
        await asyncio.gather(*closing_twice)
        assert [append.result() for append in accepted] == [1, 2, 3]

    asyncio.run(story())
    assert [record.line for record in read(path)] == [b"a", b"b", b"c"]


def test_close_refuses_those_who_still_wait_for_room(path: Path, gate: Gate) -> None:
    async def story() -> None:
        log = await Log.open(path, limit=100)
        accepted = asyncio.ensure_future(log.append(b"a"))
        await gate.reached()
        outside = [asyncio.ensure_future(log.append(b"b")) for _ in range(3)]
        await asyncio.sleep(0)
        done = asyncio.ensure_future(log.close())
        for waiting in outside:
            with pytest.raises(LogClosed):
                await waiting
        gate.open.set()
        await done
        assert await accepted == 1

    asyncio.run(story())


def test_a_close_that_is_cancelled_closes_all_the_same(path: Path, gate: Gate) -> None:
    async def story() -> None:
        log = await Log.open(path)
        accepted = asyncio.ensure_future(log.append(b"a"))
        await gate.reached()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(log.close(), 0.01)
        gate.open.set()
        assert await accepted == 1
        await log.close()
        async with await Log.open(path) as again:
            assert again.position == 1

    asyncio.run(story())


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
    write(path, b"c")


def test_a_log_may_be_closed_after_its_loop_ended(path: Path) -> None:
    async def story() -> Log:
        return await Log.open(path)

    asyncio.run(asyncio.run(story()).close())
    write(path, b"a")


def test_a_cancelled_opening_holds_no_lock(path: Path) -> None:
    async def story() -> None:
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

    asyncio.run(story())
    assert verify(path) == (6, 0, None, None)


def test_close_does_not_wait_for_readers(path: Path) -> None:
    async def story() -> None:
        async with await Log.open(path) as log:
            await log.append(*some_lines(1000))
            reading = log.read()
            next(reading)
            await log.append(b"more")
        assert len([*reading]) == 999

    asyncio.run(story())
    assert verify(path).rows == 1001


# A disk that refuses


def test_a_full_disk_fails_who_waited_and_the_log_recovers_with_the_disk(path: Path) -> None:
    async def story() -> None:
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

    asyncio.run(story())


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "COMMIT"])
def test_a_transaction_that_fails_leaves_the_chain_where_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    async def story() -> None:
        async with await Log.open(path) as log:
            await log.append(b"a")
            break_once(monkeypatch, statement)
            with pytest.raises(LogWriteFailed, match="disk I/O error"):
                await log.append(b"lost")
            assert log.position == 1
            assert await log.append(b"b") == 2
        assert lines_of(log) == [b"a", b"b"]

    asyncio.run(story())


def test_a_commit_that_failed_only_in_word_breaks_no_chain(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with await Log.open(path) as log:
            break_once(monkeypatch, "COMMIT", afterwards=True)
            with pytest.raises(LogWriteFailed):
                await log.append(b"in doubt")
            assert await log.append(b"b") == 2
        assert lines_of(log) == [b"in doubt", b"b"]

    asyncio.run(story())


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


# What is not a log


def foreign(path: Path) -> None:
    with shell(path) as db:
        db.executescript("PRAGMA application_id=7; CREATE TABLE log (position INTEGER PRIMARY KEY, line, checksum)")


def newer(path: Path) -> None:
    write(path, b"a")
    path.with_name(path.name + ".lock").unlink()
    with shell(path) as db:
        db.executescript("PRAGMA user_version=2; PRAGMA journal_mode=DELETE")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: path.write_bytes(b'{"kind":"trace"}\n'), NotALog),
        (lambda path: path.write_bytes(b"SQLite format 3\0"), NotALog),
        (lambda path: path.write_bytes(os.urandom(5000)), NotALog),
        (lambda path: path.mkdir(), NotALog),
        (lambda path: os.mkfifo(path), NotALog),
        (foreign, NotALog),
        (newer, LogVersionError),
    ],
    ids=["text", "stump", "noise", "directory", "pipe", "foreign", "newer"],
)
def test_what_is_not_our_log_is_named_and_not_touched(
    path: Path, make: Callable[[Path], object], error: type[Exception]
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for attempt in (lambda: asyncio.run(Log.open(path)), lambda: read(path), lambda: verify(path)):
        with pytest.raises(error, match=r"log\.sqlite"):
            attempt()
    assert is_log(path) == (error is LogVersionError)
    assert before == (path.read_bytes() if path.is_file() else None)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_empty_file_is_no_log_to_read_but_one_may_be_begun_in_it(path: Path) -> None:
    path.touch()
    assert not is_log(path)
    with pytest.raises(NotALog, match="empty"):
        read(path)
    write(path, b"a")
    assert is_log(path)
    assert verify(path).rows == 1


def test_to_read_what_is_not_there_creates_nothing(path: Path) -> None:
    assert not is_log(path)
    for attempt in (read, verify):
        with pytest.raises(FileNotFoundError, match=r"log\.sqlite"):
            attempt(path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["nowhere/log.sqlite", "file/log.sqlite", "nul\0.sqlite"])
def test_where_no_file_can_be_made_is_said_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((LogError, ValueError), match=r"cannot be opened|null"):
        asyncio.run(Log.open(tmp_path / name))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


AS_NOBODY = """
import asyncio, os, sys
from comfy_fsm.errors import LogError
from comfy_fsm.live import log, rows
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(rows.verify(sys.argv[1]).rows, flush=True)
try:
    asyncio.run(log.Log.open(sys.argv[1]))
except LogError as error:
    print(error)
"""


@pytest.mark.parametrize("directory_mode", [0o555, 0o777])
def test_a_file_that_may_only_be_read_is_read_and_not_written(directory_mode: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "log.sqlite")
        write(path, *some_lines(3))
        path.with_name("log.sqlite.lock").unlink()
        path.chmod(0o444)
        Path(directory).chmod(directory_mode)
        with start(AS_NOBODY, path) as child:
            told, _ = child.communicate()
        Path(directory).chmod(0o700)
    assert told.startswith("3\n")
    assert "cannot be opened for writing" in told


# Readers


def test_readers_see_each_commit_while_a_writer_writes(path: Path) -> None:
    async def story() -> None:
        async with await Log.open(path) as log:
            for count in range(1, 30):
                await log.append(b"%d" % count)
                assert lines_of(log) == [b"%d" % n for n in range(1, count + 1)]

    asyncio.run(story())


def test_followers_keep_up_with_writers(path: Path) -> None:
    expected = [b"%d" % n for n in range(2000)]

    async def story() -> None:
        async with await Log.open(path) as log:
            followers = [asyncio.ensure_future(first(2000, log.follow())) for _ in range(3)]
            for at in range(0, 2000, 7):
                await log.append(*expected[at : at + 7])
            for follower in followers:
                assert await follower == list(enumerate(expected, 1))

    asyncio.run(story())


def test_a_follower_stops_at_damage_and_names_it(path: Path) -> None:
    write(path, *some_lines(5))
    with shell(path) as db:
        db.execute("UPDATE log SET line = x'00' WHERE position = 4")

    async def story() -> None:
        async with await Log.open(path) as log:
            follower = log.follow()
            await first(3, follower)
            with pytest.raises(LogDamaged, match="position 4") as caught:
                await anext(follower)
            assert caught.value.position == 4

    asyncio.run(story())


def test_to_read_a_closed_log_leaves_nothing_beside_it(path: Path) -> None:
    write(path, *some_lines(100))
    before = sorted(path.parent.iterdir())
    assert len([*read(path)]) == 100
    assert sorted(path.parent.iterdir()) == before


def test_a_reader_that_stops_early_lets_the_file_go(path: Path) -> None:
    write(path, *some_lines(100))
    with closing(read(path)) as reading:
        next(reading)
        assert rows._held
    assert not rows._held


def test_a_writer_that_comes_while_a_closed_log_is_read_is_no_damage(path: Path) -> None:
    lines = some_lines(3000)
    write(path, *lines)
    with shell(path) as db:
        db.execute("UPDATE log SET line = x'00' WHERE position = 2000")
    reading = read(path)
    got = [next(reading) for _ in range(10)]
    write(path, *some_lines(3000))
    got += reading
    assert [(record.position, record.line) for record in got if not record.damage] == [
        (n, line) for n, line in enumerate(lines + some_lines(3000), 1) if n != 2000
    ]
    assert [record.position for record in got if record.damage] == [2000]


# Damage: it is named, and the rest is read


def damaged_by(path: Path, lines: list[bytes], *statements: str) -> dict[int, str]:
    """What reading says after somebody's SQL; all that it calls sound must be as it was written."""
    write(path, *lines)
    with shell(path) as db:
        for statement in statements:
            db.execute(statement)
    records = list(read(path))
    for record in records:
        assert record.damage or record.line == lines[record.position - 1]
    told = {record.position: record.damage for record in records if record.damage}
    report = verify(path)
    assert report.first_damaged == min(told, default=None)
    assert report.damaged == len(told)
    assert report.reason == (told[min(told)] if told else None)
    return told


LINES = [b"first", b"second", b"third", b"fourth", b"fifth", b"sixth"]


def test_every_flipped_bit_of_every_row_is_found_there_and_nowhere_else(path: Path) -> None:
    write(path, *LINES)
    with shell(path) as db:
        whole = db.execute("SELECT position, line, checksum FROM log").fetchall()
        for position, line, checksum in whole:
            for column, content in (("line", line), ("checksum", checksum)):
                for bit in range(len(content) * 8):
                    flipped = bytearray(content)
                    flipped[bit // 8] ^= 1 << bit % 8
                    change = f"UPDATE log SET {column} = ? WHERE position = ?"
                    db.execute(change, (bytes(flipped), position))
                    records = list(read(path))
                    assert [record.position for record in records if record.damage] == [position], (column, bit)
                    assert [record.line for record in records if not record.damage] == [
                        other for other in LINES if other != line
                    ]
                    db.execute(change, (content, position))
    assert verify(path) == (6, 0, None, None)


@pytest.mark.parametrize("gone", [1, 3, 6])
def test_a_removed_row_is_a_gap_even_at_either_end(path: Path, gone: int) -> None:
    told = damaged_by(path, LINES, f"DELETE FROM log WHERE position = {gone}")
    assert told[gone].startswith(f"row {gone} is missing")
    assert list(told) == ([gone, gone + 1] if gone < 6 else [gone])


def test_what_no_row_before_it_vouches_for_is_not_called_sound(path: Path) -> None:
    told = damaged_by(path, LINES, "DELETE FROM log WHERE position = 2", "UPDATE log SET line = 'x' WHERE position = 3")
    assert list(told) == [2, 3]


def test_removed_rows_are_one_gap(path: Path) -> None:
    told = damaged_by(path, LINES, "DELETE FROM log WHERE position IN (2, 3, 4)")
    assert told == {2: "rows 2 to 4 are missing", 5: "it cannot be proved, since the row before it is gone"}


def test_a_log_emptied_of_all_its_rows_is_damaged(path: Path) -> None:
    assert list(damaged_by(path, LINES, "DELETE FROM log")) == [1]


def test_rows_taken_off_the_end_show_for_ever(path: Path) -> None:
    damaged_by(path, LINES, "DELETE FROM log WHERE position > 4")
    write(path, b"seventh")
    records = list(read(path))
    assert [record.position for record in records] == [1, 2, 3, 4, 5, 7]
    assert records[4].damage == "rows 5 to 6 are missing"
    assert records[5] == (7, b"seventh", None)


def test_swapped_rows_are_found(path: Path) -> None:
    swap = "UPDATE log SET position = {} WHERE position = {}"
    told = damaged_by(path, LINES, swap.format(99, 2), swap.format(2, 3), swap.format(3, 99))
    assert {2, 3} <= set(told) <= {2, 3, 4}


def test_swapped_lines_are_found(path: Path) -> None:
    swap = "UPDATE log SET line = CASE position WHEN 2 THEN x'{}' ELSE x'{}' END WHERE position IN (2, 3)"
    assert list(damaged_by(path, LINES, swap.format(LINES[2].hex(), LINES[1].hex()))) == [2, 3]


def test_a_row_moved_to_another_position_is_found(path: Path) -> None:
    assert min(damaged_by(path, LINES, "UPDATE log SET position = 50 WHERE position = 3")) == 3


@pytest.mark.parametrize("value", ["'third'", "7", "zeroblob(5)", "x''"])
@pytest.mark.parametrize("column", ["line", "checksum"])
def test_a_value_of_another_kind_is_found(path: Path, column: str, value: str) -> None:
    assert 3 in damaged_by(path, LINES, f"UPDATE log SET {column} = {value} WHERE position = 3")


def test_reading_after_a_position_judges_what_it_reads(path: Path) -> None:
    damaged_by(path, LINES, "UPDATE log SET line = x'00' WHERE position = 5")
    assert [record.position for record in read(path, after=2) if record.damage] == [5]
    assert [record.position for record in read(path, after=4) if record.damage] == [5]
    assert list(read(path, after=5)) == [(6, b"sixth", None)]
    assert not list(read(path, after=6))
    assert not list(read(path, after=10**12))
    assert len(list(read(path, after=-3))) == 6


def test_a_damaged_log_can_be_written_on(path: Path) -> None:
    damaged_by(path, LINES, "UPDATE log SET checksum = 'text' WHERE position = 6")
    write(path, b"seventh", b"eighth")
    records = list(read(path))
    assert [record.position for record in records if record.damage] == [6]
    assert [record.line for record in records[6:]] == [b"seventh", b"eighth"]


def test_a_row_longer_than_a_reader_holds_is_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, *LINES[:2], b"x" * 100_000, *LINES[3:])
    monkeypatch.setattr(rows, "MAX_LINE", 1000)
    records = list(read(path))
    assert [record.position for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record.position for record in records if record.damage] == [3]


@pytest.mark.parametrize("schema", ["CREATE VIEW log AS SELECT 1", "CREATE TABLE notes (text)", "SELECT 1"])
def test_a_file_that_only_says_it_is_a_log_has_no_rows(path: Path, schema: str) -> None:
    with shell(path) as db:
        db.executescript(f"PRAGMA application_id={rows.APPLICATION_ID}; PRAGMA user_version=1; {schema}")
    assert verify(path) == (0, 1, 0, "the table of rows is gone")


PAGE = 4096


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[bytes]]:
    """The bytes of a log of some hundred pages, and its lines, of which some are longer than a page."""
    path = tmp_path_factory.mktemp("pristine") / "log.sqlite"
    lines = [line * (30 if n % 97 == 0 else 1) for n, line in enumerate(some_lines(1500))]
    write(path, *lines)
    return path.read_bytes(), lines


def judge(path: Path, content: bytes, lines: list[bytes]) -> tuple[int, int]:
    """Read a file in any state: how many lines are called sound, all as they were written, and how much damage is told."""
    path.write_bytes(content)
    try:
        records = list(islice(read(path), 10_000))
    except LogError:
        return 0, 1
    assert len(records) < 10_000, "it may never end"
    sound = [record for record in records if record.damage is None]
    for record in sound:
        assert record.line == lines[record.position - 1]
    assert len({record.position for record in sound}) == len(sound)
    return len(sound), len(records) - len(sound)


def test_a_flipped_bit_anywhere_in_the_file_is_told_or_harmless(
    path: Path, pristine: tuple[bytes, list[bytes]]
) -> None:
    content, lines = pristine
    dice = random.Random(7)
    header_schema_and_inner_page = [*range(0, 110, 3), *range(PAGE - 250, PAGE, 2), *range(2 * PAGE, 2 * PAGE + 300, 7)]
    for at in header_schema_and_inner_page + [dice.randrange(len(content)) for _ in range(150)]:
        flipped = bytearray(content)
        flipped[at] ^= 1 << dice.randrange(8)
        sound, damages = judge(path, bytes(flipped), lines)
        assert sound == len(lines) or damages, at


def test_a_column_whose_name_was_damaged_does_not_make_endless_damage(
    path: Path, pristine: tuple[bytes, list[bytes]]
) -> None:
    content, lines = pristine
    at = content.index(b" checksum BLOB")
    assert judge(path, content[:at] + b"\xa0" + content[at + 1 :], lines) == (0, 1)


def test_a_page_overwritten_costs_its_own_rows_and_no_more(path: Path, pristine: tuple[bytes, list[bytes]]) -> None:
    content, lines = pristine
    dice = random.Random(7)
    leaves = [at for at in range(PAGE, len(content), PAGE) if content[at] == 13]
    assert len(leaves) > 100
    for page in dice.sample(leaves[5:], 20):
        for rubbish in (bytes(PAGE), dice.randbytes(PAGE), b"\r" + bytes(PAGE - 1)):
            sound, damages = judge(path, content[:page] + rubbish + content[page + PAGE :], lines)
            assert damages
            assert sound >= len(lines) - 50


def test_a_file_cut_short_anywhere_is_told(path: Path, pristine: tuple[bytes, list[bytes]]) -> None:
    content, lines = pristine
    dice = random.Random(7)
    for cut in [1, 15, 16, 99, 100, 4095, 4096, 4097, *(dice.randrange(len(content)) for _ in range(30))]:
        _, damages = judge(path, content[:cut], lines)
        assert damages, cut


def test_a_page_that_leads_in_circles_does_not_keep_a_reader_for_ever(
    path: Path, pristine: tuple[bytes, list[bytes]]
) -> None:
    content, lines = pristine
    made = bytearray(content)
    root = next(at for at in range(PAGE, len(content), PAGE) if content[at] == 5)  # an inner page of a table
    cells = [
        root + int.from_bytes(content[root + 12 + 2 * n : root + 14 + 2 * n], "big")
        for n in range(int.from_bytes(content[root + 3 : root + 5], "big"))
    ]
    for cell in cells:
        made[cell : cell + 4] = content[cells[3] : cells[3] + 4]
    path.write_bytes(bytes(made))
    records = list(read(path))
    assert len(records) < 4000
    assert any("reading stopped" in (record.damage or "") for record in records)
    assert all(record.line == lines[record.position - 1] for record in records if record.damage is None)


def test_a_damaged_log_opened_for_writing_is_an_error_of_ours(
    path: Path, pristine: tuple[bytes, list[bytes]]
) -> None:
    content, _ = pristine
    dice = random.Random(7)

    async def attempt() -> None:
        with suppress(LogError):
            async with await Log.open(path) as log:
                await log.append(b"x" * 300)

    for at in [*range(0, 200, 5), *(dice.randrange(len(content)) for _ in range(20))]:
        flipped = bytearray(content)
        flipped[at] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(flipped))
        asyncio.run(attempt())
        for left in path.parent.glob("log.sqlite-*"):
            left.unlink()
