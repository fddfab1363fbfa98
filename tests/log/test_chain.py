"""Tests of the chain of checksums: what was written verifies, and each change of it is told at its place."""

from collections.abc import Iterator
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.log.chain import GENESIS, LogRow, StoredRow, Stretch, Verifier, digest, seal, span, summed

LINES = st.lists(st.binary(max_size=12), min_size=1, max_size=12)


def sealed(lines: list[bytes]) -> list[StoredRow]:
    rows, before = list[StoredRow](), GENESIS
    for position, line in enumerate(lines, 1):
        before = digest(before, position, line)
        rows.append((position, line, before))
    return rows


def read(rows: list[StoredRow]) -> list[LogRow]:
    verifier = Verifier(0)
    verifier.begin(GENESIS)
    return [*verifier.verified(iter(rows))]


@given(LINES)
def test_what_was_written_verifies(lines: list[bytes]) -> None:
    assert read(sealed(lines)) == [LogRow(position, line, None) for position, line in enumerate(lines, 1)]


@given(LINES, st.data())
def test_a_line_that_was_changed_is_told_at_its_place_alone(lines: list[bytes], data: st.DataObject) -> None:
    rows = sealed(lines)
    at = data.draw(st.integers(0, len(rows) - 1))
    rows[at] = (rows[at][0], lines[at] + b"!", rows[at][2])
    assert [row.position for row in read(rows) if row.damage is not None] == [at + 1]


@given(LINES, st.data())
def test_a_row_that_was_taken_out_of_the_middle_is_missed(lines: list[bytes], data: st.DataObject) -> None:
    rows = sealed([*lines, b"the last"])
    del rows[at := data.draw(st.integers(0, len(rows) - 2))]
    damaged = [row.damage or "" for row in read(rows) if row.damage is not None]
    assert f"{span(at + 1, at + 1)} missing" in damaged


@given(st.lists(st.binary(max_size=12), min_size=2, max_size=12, unique=True), st.data())
def test_rows_that_changed_places_are_told(lines: list[bytes], data: st.DataObject) -> None:
    rows = sealed(lines)
    at = data.draw(st.integers(0, len(rows) - 2))
    rows[at], rows[at + 1] = rows[at + 1], rows[at]
    assert any(row.damage is not None for row in read(rows))


@given(LINES, st.sampled_from([None, 1.5, "text", b""]), st.integers(0, 2), st.data())
def test_a_column_of_any_type_is_judged_and_what_follows_is_read(
    lines: list[bytes], value: object, column: int, data: st.DataObject
) -> None:
    rows = sealed([*lines, b"the last"])
    at = data.draw(st.integers(0, len(rows) - 2))
    changed = list(rows[at])
    changed[column] = value
    rows[at] = tuple(changed)
    found = read(rows)
    assert found[-1].line == b"the last"


@given(LINES, st.data())
def test_a_position_that_is_no_integer_is_told_though_it_equals_one(lines: list[bytes], data: st.DataObject) -> None:
    rows = sealed(lines)
    at = data.draw(st.integers(0, len(rows) - 1))
    rows[at] = (float(at + 1), *rows[at][1:])
    assert [row.position for row in read(rows) if row.damage is not None] == [at + 1]


@given(LINES, st.integers(1, 12))
def test_a_row_that_cannot_be_read_takes_nothing_from_those_before_it(lines: list[bytes], readable: int) -> None:
    def until_the_page_is_torn() -> Iterator[StoredRow]:
        yield from sealed(lines)[:readable]
        raise OSError("torn")

    verifier, taken = Verifier(0), list[bytes]()
    verifier.begin(GENESIS)
    with pytest.raises(OSError, match="torn"):
        verifier.take(until_the_page_is_torn(), taken)
    assert taken == lines[:readable]
    assert verifier.next == len(taken) + 1


@given(st.binary(max_size=40), LINES)
def test_what_was_written_on_a_checksum_of_any_length_verifies(before: bytes, lines: list[bytes]) -> None:
    verifier = Verifier(7)
    verifier.begin(before)
    rows = zip(range(8, 8 + len(lines)), lines, seal(before, 8, lines), strict=True)
    assert [*verifier.verified(rows)] == [LogRow(position, line, None) for position, line in enumerate(lines, 8)]
    assert seal(before, 8, lines[:1]) == [blake2b(before + bytes(7) + b"\x08" + lines[0], digest_size=16).digest()]


def test_however_long_the_log_few_lines_are_held_at_a_time() -> None:
    rows = iter(sealed([b"x" * 1000] * 1000))
    verifier = Verifier(0)
    verifier.begin(GENESIS)
    while verifier.next <= 1000:
        assert verifier.take(rows, taken := []) is None
        assert 10 < len(taken) < 100


@given(LINES)
def test_a_sum_counts_the_places_and_describes_the_first(lines: list[bytes]) -> None:
    gone, changed = LogRow(1, None, "gone"), LogRow(99, b"", "changed")
    for sound in read(sealed(lines)), [Stretch(1, lines)]:
        assert summed([gone, *sound, changed]) == (len(lines) + 1, 2, 1, "gone")
