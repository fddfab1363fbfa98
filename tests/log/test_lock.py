"""Tests of the lock file: its owner, its content, and what it says of a lost tail."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import LogError, LogLocked
from comfy_fsm.log.lock import Lock, Mark, is_written, read_mark
from comfy_fsm.log.log import Log
from comfy_fsm.log.reader import read, verify
from tests.support.lines import fill
from tests.support.log_contract import some_lines, start
from tests.support.processes import WRITES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.log"


def lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def wal_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


NOT_OURS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
    "a link": lambda lock: lock.symlink_to("elsewhere"),
    "a link to a lock of ours": lambda lock: (lock.with_name("x").write_text("comfy-fsm 1\n"), lock.symlink_to("x")),
    "notes": lambda lock: lock.write_text("my notes"),
    "a pid file": lambda lock: lock.write_text("4711\n"),
    "with two names": lambda lock: (lock.touch(), os.link(lock, lock.with_name("other"))),
}


@pytest.mark.parametrize("what", NOT_OURS)
async def test_a_lock_file_that_is_not_ours_is_named_at_once_and_not_touched(path: Path, what: str) -> None:
    NOT_OURS[what](lock_of(path))
    before = lock_of(path).read_bytes() if lock_of(path).is_file() else None
    with pytest.raises(LogError, match=r"night\.log"):
        await Log.open(path)
    assert before == (lock_of(path).read_bytes() if lock_of(path).is_file() else None)
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", bytes(200)])
def test_a_lock_file_that_a_power_cut_left_empty_is_ours(path: Path, content: bytes) -> None:
    lock_of(path).write_bytes(content)
    fill(path, b"a")
    assert verify(path).rows == 1


def test_a_lock_that_is_taken_away_while_it_is_claimed_is_no_claim(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from comfy_fsm.log import lock as module

    whole = module._claim

    def claim(descriptor: int) -> None:
        whole(descriptor)
        lock_of(path).rename(path.with_name("gone"))
        lock_of(path).touch()

    monkeypatch.setattr(module, "_claim", claim)
    with pytest.raises(LogLocked, match="replaced in this moment"):
        Lock(str(path))


def test_who_only_looks_whether_a_log_is_written_keeps_no_writer_out(path: Path) -> None:
    fill(path, b"a")
    ending = threading.Event()

    def look() -> None:
        while not ending.is_set():
            is_written(str(path))

    prober = [threading.Thread(target=look) for _ in range(2)]
    for each in prober:
        each.start()
    try:
        for _ in range(20):
            Lock(str(path)).close()
    finally:
        ending.set()
        for each in prober:
            each.join()


marks = st.builds(
    Mark,
    st.integers(0, 2**63),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 2**63),
    st.binary(min_size=16, max_size=16),
)


@given(st.lists(marks, min_size=2, max_size=5), st.integers(0, 4000))
def test_the_newest_mark_is_read_and_damage_costs_one_at_most(
    tmp_path_factory: pytest.TempPathFactory, told: list[Mark], bit: int
) -> None:
    path = tmp_path_factory.mktemp("lock") / "a.log"
    lock = Lock(str(path))
    for mark in told:
        lock._write(mark)
    lock.close()
    assert read_mark(str(path)) == told[-1]
    content = bytearray(lock_of(path).read_bytes())
    at = 512 + bit % ((len(content) - 512) * 8) // 8
    content[at] ^= 1 << bit % 8
    lock_of(path).write_bytes(bytes(content))
    assert read_mark(str(path)) in told[-2:]


DIES = """
import asyncio, os, sys
from comfy_fsm.log.log import Log
async def main():
    log = await Log.open(sys.argv[1])
    for n in range(40):
        await log.append(b"line %d" % n)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of forty acknowledged rows whose writer was killed: all of them are in its `-wal`."""
    path = tmp_path_factory.mktemp("killed") / "night.log"
    with start(DIES, path) as child:
        assert child.wait() == -signal.SIGKILL
    assert verify(path) == (40, 0, None, None)
    for left in path.parent.glob("*-shm"):
        left.unlink()
    return path


def copied(killed: Path, path: Path) -> None:
    for file in killed.parent.iterdir():
        if not file.name.endswith("-shm"):
            shutil.copy(file, path.parent)


def damage(content: bytes, dice: random.Random) -> bytes:
    if dice.random() < 0.5:
        return content[: dice.randrange(len(content))]
    flipped = bytearray(content)
    flipped[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(flipped)


@pytest.mark.parametrize("seed", range(30))
def test_damage_to_the_wal_is_told_and_what_is_left_of_it_is_kept(killed: Path, path: Path, seed: int) -> None:
    dice = random.Random(seed)
    copied(killed, path)
    hurt = damage(wal_of(path).read_bytes(), dice)
    wal_of(path).write_bytes(hurt)
    found = verify(path)
    assert found.rows == 40 or found.damaged
    if found.rows < 40:
        fill(path, b"a new line")  # by the next writer, which would overwrite what could still be saved
        [kept] = path.parent.glob("*.kept-1")
        assert kept.read_bytes() == hurt
        records = list(read(path))
        assert records[-1].position == 41
        assert any(record.damage and "missing" in record.damage for record in records)


def test_by_a_link_to_it_all_of_a_log_is_read(killed: Path, path: Path) -> None:
    copied(killed, path)
    link = path.parent / "linked"
    link.symlink_to(path)
    assert verify(link) == verify(path) == (40, 0, None, None)
    assert read_mark(str(link)) == read_mark(str(path)) is not None
    assert is_written(str(link)) is False


def test_a_wal_that_was_taken_away_is_told(killed: Path, path: Path) -> None:
    copied(killed, path)
    wal_of(path).unlink()
    found = verify(path)
    assert (found.rows, found.first_damaged) == (0, 1)
    fill(path, b"a new line")
    assert [record.position for record in read(path)] == [1, 41]


def test_another_log_under_the_same_name_is_not_judged_by_what_was_said_of_the_first(path: Path) -> None:
    fill(path, *some_lines(50))
    other = fill(path.with_name("other"), b"x", b"y")
    path.unlink()
    shutil.copy(other, path)
    assert verify(path) == (2, 0, None, None)
    fill(path, b"z")
    assert verify(path) == (3, 0, None, None)


def test_a_log_begun_anew_under_the_same_name_is_not_judged_by_the_first(path: Path) -> None:
    fill(path, *some_lines(50))
    path.unlink()
    fill(path, b"a")
    assert verify(path) == (1, 0, None, None)


def test_a_log_that_was_emptied_is_begun_anew_and_what_is_lost_is_told(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path, *some_lines(50))
    os.truncate(path, 0)
    fill(path, b"a")
    assert verify(path) == (1, 0, None, None)
    assert "rows 1 to 50 were acknowledged and are lost" in caplog.text


def test_an_older_copy_put_in_the_place_of_a_log_lacks_rows_and_that_shows(path: Path) -> None:
    fill(path, *some_lines(5))
    old = path.read_bytes()
    fill(path, b"six")
    path.write_bytes(old)
    assert verify(path).first_damaged == 6


async def test_a_disk_that_takes_no_mark_is_warned_of_once_and_takes_the_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with await Log.open(path) as log:
        monkeypatch.setattr(Lock, "_write", lambda *_: (_ for _ in ()).throw(OSError("no room")))
        assert await log.append(b"a") == 1
        assert await log.append(b"b") == 2
    assert [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()] == [
        f"{path}.lock cannot be written (no room): damage at the end of the log would go unnoticed; "
        "make room or repair the disk"
    ]


REFUSED = """
import asyncio, os, sys
from comfy_fsm.errors import LogWriteFailed
from comfy_fsm.log import writer
from comfy_fsm.log.log import Log
if sys.argv[2] == "for good":  # the disk does not mend, so nothing can be overwritten
    def never(self):
        raise OSError("still broken")
    writer.Writer._settle = never
whole = writer.Writer.execute
async def main():
    log = await Log.open(sys.argv[1])
    await log.append(b"kept")
    def commit(self, sql, *values):
        answer = whole(self, sql, *values)
        if sql == "COMMIT":
            writer.Writer.execute = whole
            raise OSError("fsync failed, and the pages are in the file")
        return answer
    writer.Writer.execute = commit
    try:
        await log.append(b"refused", b"refused too")
    except LogWriteFailed as error:
        print(error, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@pytest.mark.parametrize("disk", ["once", "for good"])
def test_what_was_refused_is_not_in_the_log_even_if_the_disk_has_it(
    path: Path, disk: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = subprocess.run([sys.executable, "-c", REFUSED, path, disk], capture_output=True, text=True, check=False)
    assert "these lines are not in the log" in told.stdout, told.stderr
    found = list(read(path))
    assert [record.line for record in found if record.line is not None] == [b"kept"]
    assert [record.damage for record in found[1:]] == (
        [] if disk == "once" else ["its commit was refused: whoever appended it was told that it is not in the log"] * 2
    )
    fill(path, b"next")
    assert ("taken out" in caplog.text) == (disk == "for good")
    assert [record.line for record in read(path)] == [b"kept", b"next"]
    assert verify(path) == (2, 0, None, None)


# whether somebody writes


async def test_a_log_is_written_until_its_writer_closes_it_or_dies(path: Path) -> None:
    assert is_written(str(path)) is None
    fill(path)
    assert is_written(str(path)) is False
    async with await Log.open(path):
        assert is_written(str(path)) is True
    assert is_written(str(path)) is False
    process = subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    assert is_written(str(path)) is True
    process.kill()
    process.wait()
    process.stdout.close()
    assert is_written(str(path)) is False


@pytest.mark.parametrize("what", NOT_OURS)
def test_of_a_lock_file_that_is_not_ours_it_is_not_told_whether_somebody_writes(path: Path, what: str) -> None:
    NOT_OURS[what](lock_of(path))
    assert is_written(str(path)) in (None, False)


def test_whoever_asks_whether_a_log_is_written_keeps_no_writer_out(path: Path) -> None:
    fill(path)
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            is_written(str(path))

    exchange = threading.Thread(target=ask)
    exchange.start()
    try:
        for _ in range(20):
            fill(path)
    finally:
        done.set()
        exchange.join()
