"""Tests of opening log files: one module opens them, nothing else while they are written, and each is recognised."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.__main__ import app
from comfy_fsm.log import reader, sqlite_file
from comfy_fsm.log.log import Log
from comfy_fsm.log.sqlite_file import is_blank, is_log, is_sqlite
from replay import replay
from tests.support.lines import fill, frame, line

opened: list[str] = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)


def run(*words: str) -> None:
    with suppress(SystemExit):
        app(words)


READERS: dict[str, Callable[[str], Any]] = {
    "is_log": is_log,
    "is_sqlite": is_sqlite,
    "is_blank": is_blank,
    "read": lambda path: list(reader.read(path)),
    "verify": reader.verify,
    "replay": replay,
    "replay of two": lambda path: replay(path, path),
    "watch": lambda path: run("watch", path, "--once"),
    **{name: lambda path, name=name: run(name, path) for name in ("diagnose", "metrics", "export")},
}


@pytest.mark.parametrize("name", READERS)
async def test_who_looks_at_a_log_in_the_process_that_writes_it_opens_it_through_sqlite_alone(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "night.log"
    async with await Log.open(path) as log:
        await log.append(line("tick", {}), frame("status", status={"exec_info": {"queue_remaining": 0}}))
        opened.clear()
        READERS[name](str(path))
        assert not [each for each in opened if each in (str(path), f"{path}-shm")]
        await log.append(line("tick", {}))
    assert reader.verify(path) == (3, 0, None, None)


def test_a_descriptor_of_an_open_log_is_closed_after_the_last_who_has_it_open(tmp_path: Path) -> None:
    path = fill(tmp_path / "night.log", b"a")
    descriptor = os.open(path, os.O_RDONLY)
    with sqlite_file.held(str(path)), sqlite_file.held(str(path)):
        sqlite_file.close_later(descriptor)
        os.fstat(descriptor)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)
    assert not sqlite_file._held
    assert not sqlite_file._unclosed


@pytest.mark.parametrize(("content", "blank"), [(None, True), (b"", True), (bytes(9000), True), (b"\0x", False)])
def test_a_log_may_be_begun_where_nothing_ever_was(tmp_path: Path, content: bytes | None, blank: bool) -> None:
    path = tmp_path / "night.log"
    if content is not None:
        path.write_bytes(content)
    assert is_blank(str(path)) == blank
    assert not is_log(path)
