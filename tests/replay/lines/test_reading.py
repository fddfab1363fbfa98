"""Lines as they are read: each with its number and what it says, whatever the source."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from comfy_fsm import Log
from comfy_fsm.errors import NotATrace, TraceError
from replay.lines import reading
from replay.lines.reading import read, retold
from tests.support.fixtures import RECORDINGS, entries_of, name_of
from tests.support.hars import har_of

TICK = b'{"at":1.0,"kind":"tick","data":{}}'


@pytest.mark.parametrize("path", RECORDINGS[::8], ids=name_of)
def test_each_line_has_the_number_and_the_observation_that_a_replay_gives_it(path: Path) -> None:
    lines = read(str(path)).lines
    assert [(line.number, line.observation) for line in lines] == [
        (entry.position, entry.observation) for entry in entries_of(path)
    ]


def test_blank_lines_and_comments_count_as_lines_and_are_none(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b"# first\n\n" + TICK + b"\n\n" + TICK + b"\n")
    assert [line.number for line in read(str(tmp_path / "t.jsonl")).lines] == [3, 5]


def test_a_log_is_read_by_its_positions_and_a_har_as_the_trace_that_it_becomes(tmp_path: Path) -> None:
    raw = gzip.decompress(RECORDINGS[0].read_bytes()).splitlines()

    async def fill() -> None:
        async with await Log.open(tmp_path / "bot.log") as log:
            await log.append(*raw)

    asyncio.run(fill())
    found = read(str(tmp_path / "bot.log"))
    assert [line.text for line in found.lines] == raw
    assert found.notes == ()
    (tmp_path / "tab.har").write_text(json.dumps(har_of([json.loads(line) for line in raw])), encoding="utf-8")
    assert read(str(tmp_path / "tab.har")).notes


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes_and_it_is_said(tmp_path: Path) -> None:
    whole = RECORDINGS[0].read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    found = read(str(tmp_path / "cut.jsonl.gz"))
    assert found.lines
    assert any("breaks here" in note for note in found.notes)


def test_what_is_no_trace_is_refused_and_so_is_what_does_not_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd").write_bytes(b"odd\n" * 30)
    with pytest.raises(NotATrace, match="not a trace"):
        read(str(tmp_path / "odd"))
    (tmp_path / "many").write_bytes((TICK + b"\n") * 30)
    monkeypatch.setattr(reading, "MAX_HELD", 200)
    with pytest.raises(TraceError, match="not held in memory"):
        read(str(tmp_path / "many"))


def test_a_line_is_retold_with_another_text_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(TICK + b"\n")
    (line,) = read(str(tmp_path / "t.jsonl")).lines
    again = retold(line, TICK.replace(b"1.0", b"2.0"))
    assert again is not None
    assert (again.number, again.observation.at) == (1, 2.0)
    assert retold(line, b"{") is None
