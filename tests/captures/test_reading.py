"""Tests of the one way into a capture: a HAR and frames are read, and a trace is left to its own reader."""

import gzip
import json
from contextlib import closing
from pathlib import Path

import pytest

from comfy_fsm.captures.reading import read_capture
from comfy_fsm.errors import NotATrace
from comfy_fsm.log.trace import open_packed

FRAME = {"type": "executing", "data": {"node": "1", "prompt_id": "p", "timestamp": 1_790_000_000_000}}
CAPTURES = {
    "a line each": b"\n".join(json.dumps(FRAME).encode() for _ in range(2)),
    "a list": json.dumps([FRAME, FRAME]).encode(),
}  # fmt: skip


def read(path: Path) -> object:
    with closing(open_packed(str(path))) as packed:
        return read_capture(packed, str(path))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
@pytest.mark.parametrize("name", CAPTURES)
def test_a_capture_is_read_whatever_it_is_and_packed_or_not(name: str, pack: object, tmp_path: Path) -> None:
    (tmp_path / "capture").write_bytes(pack(CAPTURES[name]))
    capture = read(tmp_path / "capture")
    assert capture is not None
    assert capture.form == "frames"
    assert capture.damage is None


def test_a_har_goes_to_its_own_reader(tmp_path: Path) -> None:
    (tmp_path / "capture").write_text('{"log": {"version": "1.2", "entries": []}}', encoding="utf-8")
    with pytest.raises(NotATrace, match="a HAR with no exchange"):
        read(tmp_path / "capture")


@pytest.mark.parametrize("content", [b"", b'{"at":1,"kind":"tick"}\n', b"anything else"])
def test_what_is_no_capture_is_left_to_others(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read(tmp_path / "file") is None
