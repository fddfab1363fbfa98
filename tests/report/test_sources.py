"""Tests of the sources of a report: of several, each entry comes in the order of time and is found again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_fsm.errors import NotALog
from comfy_fsm.report.sources import Location, Origins, Sources, lines
from tests.support.lines import fill, line


@given(st.lists(st.lists(st.integers(0, 50).map(float), max_size=8).map(sorted), min_size=2, max_size=4))
def test_several_are_merged_by_time_and_each_entry_is_found_again(times: list[list[float]]) -> None:
    sources = Sources([[line("tick", {}, at=at) for at in each] for each in times])
    blocks = list(sources.blocks())
    told = [observation.at for block in blocks for observation in block.observations]
    assert told == sorted(at for each in times for at in each)
    for position, at in zip([p for block in blocks for p in block.positions], told, strict=True):
        place = sources.origins.locate(position)
        assert times[sources.names.index(place.file)][place.line - 1] == at


def test_of_one_source_a_position_is_its_own_line() -> None:
    assert Origins(["a.jsonl"]).locate(7) == Location(7, "a.jsonl")
    assert Origins(["a.jsonl", "b.jsonl"]).locate(7) == Location(0, "a.jsonl")


def test_a_trace_and_a_log_give_the_same_lines(tmp_path: Path) -> None:
    told = [line("tick", {}, at=float(number)) for number in range(4)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(told) + b"\n")
    fill(tmp_path / "a.log", *told)
    for source in ("a.jsonl", "a.log"):
        assert list(lines(tmp_path / source, 2)) == list(enumerate(told, 1))[1:]


def test_a_database_of_somebody_else_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"SQLite format 3\0" + bytes(4080))
    with pytest.raises(NotALog, match="no log of this project"):
        list(Sources([tmp_path / "x.db"]).blocks())
