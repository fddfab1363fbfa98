"""Tests of compressed traces: what is small on disk stays small in memory."""

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from comfy_fsm.errors import TraceError
from comfy_fsm.log import trace
from replay import replay

COUNT = 60_000
BOMBS: dict[str, Callable[[int], bytes]] = {
    "tasks": lambda n: b'{"at":1,"kind":"command","data":{"name":"follow","prompt_id":"%x"}}\n' % n,
    "jobs": lambda n: b'{"at":1,"kind":"command","data":{"name":"enqueue","prompt_id":"%x"}}\n' % n,
    "windows": lambda n: b'{"at":1,"kind":"ws.open","window":"%x","server":"s","data":{}}\n' % n,
    "servers": lambda n: b'{"at":1,"kind":"ws.open","window":"w","server":"http://s%x","data":{}}\n' % n,
    "prompts": lambda n: (
        b'{"at":1,"kind":"ws.message","window":"w","server":"s",'
        b'"data":{"type":"execution_start","data":{"prompt_id":"%x"}}}\n' % n
    ),
    "types": lambda n: b'{"at":1,"kind":"ws.message","window":"w","server":"s","data":{"type":"%x","data":{}}}\n' % n,
    "odd lines": lambda n: b'{"at":1,"kind":"odd%x","data":{}}\n' % n,
}  # fmt: skip
LONG: dict[str, bytes] = {
    "a long text": b'{"at":1,"kind":"odd","data":"' + b"a" * 12_000_000 + b'"}\n',
    "a deep list": b'{"at":1,"kind":"odd","data":' + b"[" * 6_000_000 + b"]" * 6_000_000 + b"}\n",
}  # fmt: skip
PACKED = {"zst": zstandard.ZstdCompressor(level=9).compress, "gz": gzip.compress}


def peak(path: Path) -> tuple[int, int]:
    """Exit status and megabytes at most of a replay."""
    code = (
        "import re, runpy\n"
        "try: runpy.run_module('replay', run_name='__main__')\n"
        "finally: print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) // 1024)"
    )
    words = [sys.executable, "-c", code, str(path), "--format", "json", "--output", os.devnull]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    return ran.returncode, int(ran.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
@pytest.mark.parametrize("name", BOMBS)
def test_what_is_small_on_the_disk_is_small_in_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(PACKED["zst"](b"".join(map(BOMBS[name], range(COUNT)))))
    assert path.stat().st_size < 100_000
    _, megabytes = peak(path)
    assert megabytes < 200


@pytest.mark.parametrize("form", PACKED)
@pytest.mark.parametrize("name", LONG)
def test_a_long_line_that_was_packed_into_little_is_passed_over_and_told(tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / f"bomb.jsonl.{form}"
    path.write_bytes(PACKED[form](b'{"at":1,"kind":"tick","data":{}}\n' + LONG[name]))
    assert max(trace.LINE_FREE, path.stat().st_size * trace.MAX_RATIO) < len(LONG[name])
    found = replay(path)
    assert [finding.code for finding in found.findings] == ["undecodable"]
    assert "longer than" in found.findings[0].text


def test_a_bomb_is_named_and_what_to_do_is_said(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.zst"
    path.write_bytes(PACKED["zst"](b"".join(map(BOMBS["tasks"], range(COUNT)))))
    with pytest.raises(TraceError, match=r"bomb\.jsonl\.zst: names more than \d+ tasks.*unpack it first"):
        replay(path)


def test_as_many_tasks_as_a_recording_can_have_are_read(tmp_path: Path) -> None:
    path = tmp_path / "many.jsonl.zst"
    lines = b"".join(BOMBS["tasks"](int.from_bytes(os.urandom(16), "big")) for _ in range(12_000))
    path.write_bytes(PACKED["zst"](lines))
    assert len(replay(path).tasks) == 12_000
