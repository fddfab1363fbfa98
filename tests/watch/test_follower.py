"""Tests of the follower: a log that grows, and one that is damaged, replaced or removed meanwhile."""

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.errors import LogDamaged, LogError
from comfy_fsm.watch.follower import PORTION, Follower
from comfy_fsm.watch.snapshot import Snapshot
from tests.campaigns.damage import hurt, killed
from tests.support.lines import START, fill, frame, line, seen

LONG = 60.0  # seconds that no round here needs


def ticks(count: int, first: int = 0) -> list[bytes]:
    return [line("tick", {}, START + n) for n in range(first, first + count)]


def opened(path: Path) -> Follower:
    follower = Follower(os.fspath(path))
    follower.open(LONG)
    return follower


def whole(path: Path) -> Snapshot:
    return opened(path).scene().view


def alter(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "watched.log"


STORY = [
    line("ws.open", {}),
    *(frame(kind, prompt_id="p", node="3", timestamp=1) for kind in ("execution_start", "executing", "progress")),
    frame("progress", prompt_id="p", node="3", value=5, max=10),
    line("ws.close", {"code": 1006}),
]


@given(st.lists(st.integers(0, 3), max_size=5))
@settings(max_examples=15)
def test_what_is_read_while_it_is_written_is_what_is_read_afterwards(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("log") / "x.log"
    fill(path, STORY[0])
    follower, left = opened(path), STORY[1:]
    for cut in [*cuts, len(STORY)]:
        now, left = left[:cut], left[cut:]
        fill(path, *now)
        assert follower.advance(LONG) == bool(now)
        follower.scene()
    assert follower.scene().view == whole(path) == seen(*STORY).at_rest()  # for `fill` is over


def test_a_long_log_is_read_in_rounds_and_no_row_twice(path: Path) -> None:
    fill(path, *ticks(4 * PORTION + 7))
    follower = Follower(os.fspath(path))
    rounds = 0
    follower.open(0.0)
    while follower.behind:
        rounds += 1
        assert follower.scene().view.observations == rounds * PORTION
        assert follower.advance(0.0)
    assert rounds == 4
    assert follower.scene().view == whole(path)
    assert not follower.advance(0.0), "nothing is new"


def test_following_writes_nothing_and_holds_no_writer_up(path: Path) -> None:
    fill(path, *STORY)
    before = path.read_bytes(), sorted(os.listdir(path.parent))
    follower = opened(path)
    assert (path.read_bytes(), sorted(os.listdir(path.parent))) == before
    fill(path, *ticks(1))
    assert follower.advance(LONG)


# damage


DAMAGE: dict[str, str] = {
    "a row is changed": "UPDATE log SET line = CAST('{}' AS BLOB) WHERE position = 3",
    "a row is gone": "DELETE FROM log WHERE position = 3",
    "the first row is gone": "DELETE FROM log WHERE position = 1",
    "the last rows are gone": "DELETE FROM log WHERE position > 5",
    "the rows in the middle are gone": "DELETE FROM log WHERE position IN (3, 4, 5)",
    "a row is text": "UPDATE log SET line = 'text' WHERE position = 4",
}


@pytest.mark.parametrize("sql", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_log_is_followed_and_its_damage_told_once(path: Path, sql: str) -> None:
    fill(path, *STORY, *ticks(4))
    alter(path, sql)
    follower = opened(path)
    first = follower.scene().view
    assert first.codes["damaged"] == 1
    for _ in range(3):
        assert not follower.advance(LONG)
    assert follower.scene().view == first
    fill(path, *ticks(3, 10))
    assert follower.advance(LONG)
    after = follower.scene().view
    assert after.observations == first.observations + 3
    assert [row.count for row in after.findings if row.code == "damaged"] == [
        row.count for row in first.findings if row.code == "damaged"
    ]
    assert follower.beginnings == 1


def test_a_log_that_is_damaged_as_a_whole_is_refused_at_the_start(path: Path) -> None:
    fill(path, *STORY)
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    with pytest.raises(LogDamaged, match=r"watched\.log is damaged as a whole"):
        opened(path)


# replaced, or gone


def replaced(path: Path, *lines: bytes) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    fill(path, *lines)


@pytest.mark.parametrize("rows", [1, 6, 30], ids=["shorter", "as long", "longer"])
def test_a_log_that_was_replaced_is_watched_from_its_beginning(path: Path, rows: int) -> None:
    fill(path, *STORY)
    follower = opened(path)
    replaced(path, *ticks(rows, 100))
    assert follower.advance(LONG)
    assert follower.scene().view == whole(path)
    assert follower.beginnings == 2
    assert follower.scene().view.states == {}


def test_a_copy_of_the_log_that_goes_on_is_the_same_log(path: Path) -> None:
    fill(path, *STORY)
    follower = opened(path)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    fill(path, *ticks(1))
    assert follower.advance(LONG)
    assert (follower.beginnings, follower.scene().view.observations) == (1, len(STORY) + 1)


GONE: dict[str, tuple[Callable[[Path], object], str]] = {
    "taken away": (Path.unlink, "No such file"),
    "emptied": (lambda path: path.write_bytes(b""), "empty"),
    "another file": (lambda path: path.write_bytes(b"what I did today\n" * 20), "no SQLite file"),
    "a newer log": (lambda path: alter(path, "PRAGMA user_version = 9"), "newer"),
}


@pytest.mark.parametrize(("harm", "why"), GONE.values(), ids=GONE)
def test_what_was_seen_stays_on_show_while_the_log_cannot_be_read(
    path: Path, harm: Callable[[Path], object], why: str
) -> None:
    fill(path, *STORY)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")  # so that a version is written where readers look for it
    follower = opened(path)
    before = follower.scene().view
    harm(path)
    assert follower.advance(LONG)
    assert follower.trouble is not None
    assert why in follower.trouble
    assert follower.scene().view == before
    assert not follower.advance(LONG), "trouble is told once"
    path.unlink(missing_ok=True)
    replaced(path, *ticks(2))
    assert follower.advance(LONG)
    assert (follower.trouble, follower.scene().view.observations) == (None, 2)


HARM: dict[str, Callable[[Path, Random], object]] = {
    "cut": lambda file, dice: os.truncate(file, dice.randrange(file.stat().st_size + 1)),
    "lengthened": lambda file, dice: os.truncate(file, 1 << dice.randrange(14, 40)),
    "flipped": lambda file, dice: file.write_bytes(hurt(file.read_bytes()[: 1 << 20] or b"x", dice)),
    "overwritten": lambda file, dice: file.write_bytes(dice.randbytes(dice.randrange(20_000))),
    "removed": lambda file, _: file.unlink(),
    "renamed": lambda file, _: file.rename(f"{file}.1"),
    "forbidden": lambda file, _: file.chmod(0),
    "a pipe": lambda file, _: (file.unlink(missing_ok=True), os.mkfifo(file)),
    "a folder": lambda file, _: (file.unlink(missing_ok=True), file.mkdir()),
    "a link to itself": lambda file, _: (file.unlink(missing_ok=True), file.symlink_to(file.name)),
    "without end": lambda file, _: (file.unlink(missing_ok=True), file.symlink_to("/dev/zero")),
}


def left_by_a_killed_writer(folder: Path, appends: int) -> dict[str, bytes]:
    folder.mkdir()
    return killed(folder, appends)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("seed", range(4))
def test_whatever_becomes_of_the_files_a_follower_goes_on_and_comes_back(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)
    files, other = (left_by_a_killed_writer(tmp_path / name, rows) for name, rows in (("one", 24), ("two", 9)))
    for n in range(25):
        (folder := tmp_path / str(n)).mkdir()
        path = folder / "a.log"
        for name, content in files.items():
            (folder / name).write_bytes(content)
        follower = opened(path)
        whole_rows = follower.scene().view.observations
        for _ in range(dice.randint(1, 4)):
            chosen = files if dice.random() < 0.5 else other
            with suppress(OSError):
                HARM[dice.choice(sorted(HARM))](folder / dice.choice(sorted(files)), dice)
            follower.advance(LONG)
            follower.scene()
            if dice.random() < 0.2:
                shutil.rmtree(folder)
                folder.mkdir()
                for name, content in chosen.items():
                    (folder / name).write_bytes(content)
        shutil.rmtree(folder)
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        follower.advance(LONG)
        assert (follower.trouble, follower.scene().view.observations) == (None, whole_rows)


def test_what_is_no_log_at_the_start_is_an_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(path)
    path.touch()
    with pytest.raises(LogError):
        opened(path)
