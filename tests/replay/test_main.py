"""Tests of bad input: a clear message, the right exit status, bounded memory, and never a traceback."""

from __future__ import annotations

import gzip
import json
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from replay import replay as replayed
from tests.support.lines import fill

ROOT = Path(__file__).resolve().parents[2]
MADE = ROOT / "fixtures" / "made"
GOOD = (MADE / "end-by-execution_success-confirmed.jsonl").read_bytes()
MEMORY = 1_536 * 1024 * 1024  # of address space, libraries included; a reader that keeps what it reads breaks it
PASS, FAIL, INCOMPLETE, USAGE, NOT_A_TRACE, NO_INPUT = 0, 1, 3, 64, 65, 66


def run(*arguments: object, given: bytes | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "replay", *map(str, arguments)],
        input=given,
        capture_output=True,
        cwd=ROOT,
        timeout=120,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200", "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        check=False,
    )
    found = subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
    for stream in (found.stdout, found.stderr):
        assert "Traceback" not in stream, stream[-2000:]
        assert "MemoryError" not in stream
    return found


def refused(status: int, *arguments: object, given: bytes | None = None) -> str:
    """The message of a run that gave no report."""
    found = run(*arguments, given=given)
    assert found.returncode == status, found.stderr
    assert found.stderr.startswith("replay: "), found.stderr
    assert found.stdout == ""
    return found.stderr


def findings(*arguments: object, status: int, given: bytes | None = None) -> list[tuple[str, int]]:
    found = run("--format", "json", *arguments, given=given)
    assert found.returncode == status, found.stderr
    return [(finding["code"], finding["line"]) for finding in json.loads(found.stdout)["findings"]]


def lines_of(content: bytes) -> int:
    return content.count(b"\n")


@pytest.fixture
def trace(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(content: bytes) -> Path:
        path = tmp_path / "incident.jsonl"
        path.write_bytes(content)
        return path

    return make


# no trace at all


@pytest.mark.parametrize(
    "content",
    [b"hello\n", b"<html><body>502 Bad Gateway</body></html>\n", b"{}\n", b"[1,2,3]\n", b'{"at":1}\n',
     b"\x89PNG\r\n\x1a\n\0", b"\xff\xfe\x00\n", b"\0" * 4096, b"[" * 100_000, b"a\n" * 1000, b"{" * 100_000 + b"\n"],
    ids=["text", "html", "object", "list", "no-kind", "image", "utf-16", "zeros", "brackets", "lines", "braces"],
)  # fmt: skip
def test_what_is_no_trace_is_refused_with_file_line_and_reason(trace: Callable[[bytes], Path], content: bytes) -> None:
    path = trace(content)
    message = refused(NOT_A_TRACE, path)
    assert f"{path}:1: " in message
    assert len(message) < 2_000
    assert message.isascii()


def test_an_unknown_version_is_refused_with_both_versions(trace: Callable[[bytes], Path]) -> None:
    path = trace(b'# a remark\n{"at":1,"kind":"trace","data":{"version":7}}\n' + GOOD)
    message = refused(NOT_A_TRACE, path)
    assert f"{path}:2: " in message
    assert "7" in message.partition(":2: ")[2]


def test_a_file_that_is_not_there_is_said_not_to_be_there(tmp_path: Path) -> None:
    assert "gone.jsonl" in refused(NO_INPUT, tmp_path / "gone.jsonl")


def test_a_directory_is_no_input(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(NO_INPUT, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_no_input(trace: Callable[[bytes], Path]) -> None:
    path = trace(GOOD)
    path.chmod(0)
    assert str(path) in refused(NO_INPUT, path)


def test_a_database_of_somebody_else_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE log (position INTEGER PRIMARY KEY, line BLOB, checksum BLOB)")
    db.close()
    assert str(path) in refused(NOT_A_TRACE, path)


# wrong usage


@pytest.mark.parametrize(
    "arguments",
    [(), ("--formt", "json"), ("--format", "yaml"), ("--task",), ("--task", "nobody"), ("--window", "nobody")],
    ids=["nothing", "option", "format", "value", "task", "window"],
)
def test_wrong_usage_is_said_to_be_that(trace: Callable[[bytes], Path], arguments: tuple[str, ...]) -> None:
    refused(USAGE, *([trace(GOOD), *arguments] if arguments else []))


# a trace that is broken somewhere


def test_an_empty_file_passes_and_says_that_there_is_nothing_to_judge(trace: Callable[[bytes], Path]) -> None:
    found = run(trace(b""))
    assert found.returncode == PASS
    assert "nothing" in found.stdout.lower() or "no task" in found.stdout.lower(), found.stdout


@pytest.mark.parametrize(
    "broken",
    [b'{"at":17', b"<html>", b"[" * 100_000, b"\xff\xfe", b'{"at":1,"kind":"ws.message","data":' + b"[" * 100_000],
    ids=["cut", "html", "brackets", "utf-8", "frame"],
)
def test_a_broken_line_in_the_middle_is_found_and_the_rest_is_judged(
    trace: Callable[[bytes], Path], broken: bytes
) -> None:
    lines = GOOD.splitlines(keepends=True)
    path = trace(b"".join([*lines[:5], broken + b"\n", *lines[5:]]))
    assert ("undecodable", 6) in findings(path, status=PASS)
    found = run(path)
    assert found.returncode == PASS
    assert "undecodable" in found.stdout
    assert max(map(len, found.stdout.splitlines())) < 1_000


def test_a_last_line_that_is_cut_off_is_damage(trace: Callable[[bytes], Path]) -> None:
    assert findings(trace(GOOD[:-40]), status=FAIL)[-1] == ("damaged", lines_of(GOOD))


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_gzip_is_read_as_far_as_it_goes(trace: Callable[[bytes], Path], keep: float) -> None:
    noise = (b"%b# %b\n" % (line, os.urandom(50).hex().encode()) for line in GOOD.splitlines(keepends=True))
    packed = gzip.compress(b"".join(noise))
    assert "damaged" in dict(findings(trace(packed[: int(len(packed) * keep)]), status=FAIL))


def test_a_gzip_that_holds_nothing_but_its_head_is_no_trace_or_damaged(trace: Callable[[bytes], Path]) -> None:
    assert run(trace(gzip.compress(GOOD)[:12])).returncode in (FAIL, NOT_A_TRACE)


@pytest.mark.parametrize("head", [b"", GOOD], ids=["alone", "after-a-trace"])
def test_a_gzip_that_unpacks_for_ever_is_not_read_for_ever(trace: Callable[[bytes], Path], head: bytes) -> None:
    """Two GiB of zeros in two MB, in as many parts as need not be packed again."""
    part = gzip.compress(bytes(2**25))
    path = trace(gzip.compress(head) + part * 64)
    assert str(path) in refused(NOT_A_TRACE, path)


def test_a_line_of_two_hundred_megabytes_is_passed_over(trace: Callable[[bytes], Path]) -> None:
    path = trace(GOOD)
    with path.open("r+b") as file:
        file.seek(200_000_000, os.SEEK_END)  # a hole: read as zeros, never written
        file.write(b"\n" + GOOD.splitlines(keepends=True)[-1])
    assert ("undecodable", lines_of(GOOD) + 1) in findings(path, status=PASS)


def test_a_trace_from_standard_input_is_judged_like_a_file() -> None:
    assert findings("-", status=PASS, given=GOOD) == []
    assert ":1: " in refused(NOT_A_TRACE, "-", given=b"hello\n")


# a log


ENTRIES = [line for line in GOOD.splitlines() if not line.startswith(b"#")]


def test_a_log_is_judged_as_the_trace_of_its_lines(tmp_path: Path) -> None:
    fill(tmp_path / "log", *ENTRIES)
    assert findings(tmp_path / "log", status=PASS) == []


def test_a_log_with_a_flipped_bit_is_damaged_where_it_was_flipped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fill(path, *ENTRIES)
    content = bytearray(path.read_bytes())
    at = content.index(b'"execution_cached"')
    content[at + 3] ^= 4
    path.write_bytes(content)
    number = next(n for n, line in enumerate(ENTRIES, 1) if b'"execution_cached"' in line)
    found = findings(path, status=FAIL)
    assert [line for code, line in found if code == "damaged"] == [number], found


def test_a_log_that_a_live_process_writes_is_judged_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    program = (
        "import asyncio, sys\n"
        "from comfy_fsm.log.log import Log\n"
        "async def main():\n"
        "    async with await Log.open(sys.argv[1]) as log:\n"
        "        await log.append(*sys.stdin.buffer.read().splitlines())\n"
        "        print('written', flush=True)\n"
        '        while True: await log.append(b\'{"at":1795006001,"kind":"tick"}\')\n'
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        try:
            writer.stdin.write(b"\n".join(ENTRIES))
            writer.stdin.close()
            assert writer.stdout.readline() == b"written\n"
            assert findings(path, status=PASS) == []
            assert writer.poll() is None
        finally:
            writer.kill()


@pytest.mark.parametrize("unit", [1e3, 1e6, 1e9])
def test_times_in_a_smaller_unit_are_read_as_what_they_are(unit: float) -> None:
    path = Path(__file__).resolve().parents[2] / "fixtures" / "made" / "late-burst-before-absence.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines() if not line.startswith("#")]
    found = replayed([json.dumps(line | {"at": line["at"] * unit}) for line in lines])
    assert found.trace.last_at - found.trace.first_at == pytest.approx(3.0, abs=1e-3)
    assert [task.state for task in found.tasks] == ["completed"]
    assert [finding.code for finding in found.findings] == ["time-unit", "unverified"]
