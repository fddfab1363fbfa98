"""Tests of the chain of checksums: what was written verifies, and each change of it is told at its place."""

from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.log.chain import GENESIS, LogRow, Verifier, digest, span, summed

LINES = st.lists(st.binary(max_size=12), min_size=1, max_size=12)
Row = tuple[object, object, object]


def sealed(lines: list[bytes]) -> list[Row]:
    rows, before = list[Row](), GENESIS
    for position, line in enumerate(lines, 1):
        before = digest(before, position, line)
        rows.append((position, line, before))
    return rows


def read(rows: list[Row]) -> list[LogRow]:
    verifier, found = Verifier(0), list[LogRow]()
    verifier.begin(GENESIS)
    for position, line, checksum in rows:
        if verifier.fits(position, line, checksum):
            found.append(LogRow(position, line, None))
        else:
            found += verifier.judge(position, line, checksum)
    return found


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


@given(LINES)
def test_a_sum_counts_the_places_and_describes_the_first(lines: list[bytes]) -> None:
    rows = [LogRow(1, None, "gone"), *read(sealed(lines)), LogRow(99, b"", "changed")]
    assert summed(rows) == (len(lines) + 1, 2, 1, "gone")
