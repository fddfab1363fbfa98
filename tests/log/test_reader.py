"""Tests of the reader: what is no log, what a live one shows, what is damaged and what is left."""

import asyncio
import os
import random
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import pytest

from comfy_fsm.errors import LogError, LogVersionError, NotALog
from comfy_fsm.log import reader, sqlite_file
from comfy_fsm.log.log import Log
from comfy_fsm.log.reader import read, verify
from comfy_fsm.log.sqlite_file import is_log
from tests.support.lines import fill
from tests.support.log_contract import lines_of, shell, some_lines, start


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


# What is not a log


def foreign(path: Path) -> None:
    with shell(path) as db:
        db.executescript("PRAGMA application_id=7; CREATE TABLE log (position INTEGER PRIMARY KEY, line, checksum)")


def newer(path: Path) -> None:
    fill(path, b"a")
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


@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda name: os.symlink("/dev/zero", name)], ids=["pipe", "directory", "link"]
)
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_what_lies_beside_a_log_and_is_no_file_is_named_and_not_waited_for(
    path: Path, suffix: str, make: Callable[[str], None]
) -> None:
    fill(path, b"a")
    make(f"{path}{suffix}")
    for attempt in (lambda: asyncio.run(Log.open(path)), lambda: list(read(path)), lambda: verify(path)):
        with pytest.raises(LogError, match=f"log.sqlite{suffix} is not a regular file"):
            attempt()
    (os.rmdir if make is os.mkdir else os.unlink)(f"{path}{suffix}")
    assert verify(path).rows == 1


def test_an_empty_file_is_no_log_to_read_but_one_may_be_begun_in_it(path: Path) -> None:
    path.touch()
    assert not is_log(path)
    with pytest.raises(NotALog, match="empty"):
        read(path)
    fill(path, b"a")
    assert is_log(path)
    assert verify(path).rows == 1


def test_to_read_what_is_not_there_creates_nothing(path: Path) -> None:
    assert not is_log(path)
    for attempt in (read, verify):
        with pytest.raises(FileNotFoundError, match=r"log\.sqlite"):
            attempt(path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["nowhere/log.sqlite", "file/log.sqlite", "nul\0.sqlite"])
async def test_where_no_file_can_be_made_is_said_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((LogError, ValueError), match=r"cannot be opened|null"):
        await Log.open(tmp_path / name)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


AS_NOBODY = """
import asyncio, os, sys
from comfy_fsm.errors import LogError
from comfy_fsm.log import log, reader
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print(reader.verify(sys.argv[1]).rows, flush=True)
try:
    asyncio.run(log.Log.open(sys.argv[1]))
except LogError as error:
    print(error)
"""


@pytest.mark.parametrize("directory_mode", [0o555, 0o777])
def test_a_file_that_may_only_be_read_is_read_and_not_written(directory_mode: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "log.sqlite")
        fill(path, *some_lines(3))
        path.with_name("log.sqlite.lock").unlink()
        path.chmod(0o444)
        Path(directory).chmod(directory_mode)
        with start(AS_NOBODY, path) as child:
            told, _ = child.communicate()
        Path(directory).chmod(0o700)
    assert told.startswith("3\n")
    assert "cannot be opened for writing" in told


# Readers


async def test_readers_see_each_commit_while_a_writer_writes(path: Path) -> None:
    async with await Log.open(path) as log:
        for count in range(1, 30):
            await log.append(b"%d" % count)
            assert lines_of(log) == [b"%d" % n for n in range(1, count + 1)]


def test_to_read_a_closed_log_leaves_nothing_beside_it(path: Path) -> None:
    fill(path, *some_lines(100))
    before = sorted(path.parent.iterdir())
    assert len([*read(path)]) == 100
    assert sorted(path.parent.iterdir()) == before


def test_a_reader_that_stops_early_lets_the_file_go(path: Path) -> None:
    fill(path, *some_lines(100))
    with closing(read(path)) as reading:
        next(reading)
        assert sqlite_file._held
    assert not sqlite_file._held


def test_a_writer_that_comes_while_a_closed_log_is_read_is_no_damage(path: Path) -> None:
    lines = some_lines(3000)
    fill(path, *lines)
    with shell(path) as db:
        db.execute("UPDATE log SET line = x'00' WHERE position = 2000")
    reading = read(path)
    got = [next(reading) for _ in range(10)]
    fill(path, *some_lines(3000))
    got += reading
    assert [(record.position, record.line) for record in got if not record.damage] == [
        (n, line) for n, line in enumerate(lines + some_lines(3000), 1) if n != 2000
    ]
    assert [record.position for record in got if record.damage] == [2000]


# Damage: it is named, and the rest is read


def damaged_by(path: Path, lines: list[bytes], *statements: str) -> dict[int, str]:
    """What reading says after somebody's SQL; all that it calls sound must be as it was written."""
    fill(path, *lines)
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
    fill(path, *LINES)
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
    told = damaged_by(
        path, LINES, "DELETE FROM log WHERE position = 2", "UPDATE log SET line = x'00' WHERE position = 3"
    )
    assert list(told) == [2, 3]


def test_removed_rows_are_one_gap(path: Path) -> None:
    told = damaged_by(path, LINES, "DELETE FROM log WHERE position IN (2, 3, 4)")
    assert told == {2: "rows 2 to 4 are missing", 5: "it cannot be proved, since the row before it is gone"}


def test_a_log_emptied_of_all_its_rows_is_damaged(path: Path) -> None:
    assert list(damaged_by(path, LINES, "DELETE FROM log")) == [1]


def test_rows_taken_off_the_end_show_for_ever(path: Path) -> None:
    damaged_by(path, LINES, "DELETE FROM log WHERE position > 4")
    fill(path, b"seventh")
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
    fill(path, b"seventh", b"eighth")
    records = list(read(path))
    assert [record.position for record in records if record.damage] == [6]
    assert [record.line for record in records[6:]] == [b"seventh", b"eighth"]


def test_a_row_longer_than_a_reader_holds_is_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, *LINES[:2], b"x" * 100_000, *LINES[3:])
    monkeypatch.setattr(reader, "MAX_LINE", 1000)
    records = list(read(path))
    assert [record.position for record in records] == [1, 2, 3, 4, 5, 6]
    assert [record.position for record in records if record.damage] == [3, 4]
    assert [record.line for record in records] == [*LINES[:2], None, *LINES[3:]]


@pytest.mark.parametrize("schema", ["CREATE VIEW log AS SELECT 1", "CREATE TABLE notes (text)", "SELECT 1"])
def test_a_file_that_only_says_it_is_a_log_has_no_rows(path: Path, schema: str) -> None:
    with shell(path) as db:
        db.executescript(f"PRAGMA application_id={sqlite_file.APPLICATION_ID}; PRAGMA user_version=1; {schema}")
    assert verify(path) == (0, 1, 0, "the table of rows is gone")


PAGE = 4096


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[bytes]]:
    """The bytes of a log of some hundred pages, and its lines, of which some are longer than a page."""
    path = tmp_path_factory.mktemp("pristine") / "log.sqlite"
    lines = [line * (30 if n % 97 == 0 else 1) for n, line in enumerate(some_lines(1500))]
    fill(path, *lines)
    return path.read_bytes(), lines


def judge(path: Path, content: bytes, lines: list[bytes]) -> tuple[int, int]:
    """Read a file in any state: how many lines are called sound, all as they were written, and how much damage told."""
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


def test_no_file_shows_more_damage_than_it_has_room_for(path: Path) -> None:
    """Two bytes that the fuzzer changed send SQLite round its pages: 20 kB were read as 735,000 rows of odd types."""
    fill(path, *[b"line %d" % n for n in range(8)], b"x" * 9000)
    content = bytearray(path.read_bytes())
    content[4117], content[7970] = 112, 33
    path.write_bytes(content)
    records = list(islice(read(path), len(content)))
    assert len(records) < len(content) // 24 + 20
    assert "reading stopped" in (records[-1].damage or "")


def test_a_wal_that_is_taken_away_while_it_is_measured_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    fill(path, b"a", b"b")
    monkeypatch.setattr(os.path, "getsize", gone)
    assert [record.line for record in read(path)] == [b"a", b"b"]


def test_a_damaged_log_opened_for_writing_is_an_error_of_ours(path: Path, pristine: tuple[bytes, list[bytes]]) -> None:
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
