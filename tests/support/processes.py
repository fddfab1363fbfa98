"""Helpers for tests of commands: real processes, their output, and their environment."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from comfy_fsm.testing import FakeComfy, ThreadedFake
from tests.support import forked
from tests.support.lines import fill

ROOT = Path(__file__).resolve().parents[2]
DONE, NOT_DONE, USAGE, BAD_DATA, NO_INPUT, UNREACHABLE = 0, 1, 64, 65, 66, 69
GUARD = 60.0  # seconds after which something hangs; nothing is measured by it
LOG = "comfy-fsm.log"
NOWHERE = "http://127.0.0.1:9"  # discard: nobody has listened there for decades
ESCAPES = "\x1b[31mred\x1b]0;title\x07 \x9b1m \u202e"
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES")
} | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


def begin(*arguments: object, cwd: Path, module: str = "comfy_fsm", **settings: Any) -> subprocess.Popen[str]:
    env = ENVIRONMENT | settings.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE, encoding="utf-8", cwd=cwd, env=env, **({"stderr": subprocess.PIPE} | settings),
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=GUARD)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return _printable(subprocess.CompletedProcess(process.args, process.returncode, out, err))


def _printable(found: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    for stream in (found.stdout, found.stderr):
        assert "Traceback" not in stream, stream[-2000:]
        assert not [letter for letter in stream if letter != "\n" and not letter.isprintable()], ascii(stream)
    return found


def command(
    *arguments: object, cwd: Path, module: str = "comfy_fsm", env: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Where nothing says how Python itself begins, it is forked by one that has begun."""
    if hasattr(os, "fork") and not any(name.startswith("PYTHON") for name in env):
        return _printable(forked.run(module, [*map(str, arguments)], cwd, ENVIRONMENT | env, GUARD))
    return finish(begin(*arguments, cwd=cwd, module=module, env=env))


def said(found: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line of a command that did nothing."""
    assert (found.returncode, found.stdout) == (status, ""), found.stderr
    return line_of(found.stderr)


def line_of(text: str) -> str:
    assert text.startswith("comfy_fsm: "), text
    assert text.endswith("\n"), text
    assert text.count("\n") == 1, text
    return text


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def write(folder: Path, name: str, workflow: object) -> Path:
    (folder / name).write_text(json.dumps(workflow), encoding="utf-8")
    return folder / name


@contextmanager
def untouched(path: Path) -> Iterator[None]:
    """Whatever is tried meanwhile: this file is as it was, or still none."""
    before = path.is_file() and path.read_bytes()
    yield
    assert (path.is_file() and path.read_bytes()) == before


def until(found: Callable[[], object]) -> None:
    end = time.monotonic() + GUARD
    while not found():
        assert time.monotonic() < end, "it never came to be so"
        time.sleep(0.02)


# what a command may be given


def of_the_future(path: Path) -> None:
    with closing(sqlite3.connect(fill(path))) as db:
        db.executescript("PRAGMA user_version=2; PRAGMA journal_mode=DELETE")


NO_LOGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "newer": (of_the_future, "newer"),
    "text": (lambda path: path.write_text("what I did today\n" * 20), "no "),
    "folder": (Path.mkdir, ""),
}


@contextmanager
def in_a_thread(**settings: Any) -> Iterator[FakeComfy]:
    """A server in a loop of its own, all of it within reach."""
    with ThreadedFake(**settings) as fake:
        yield fake._comfy


WRITES = """
import asyncio, sys
from comfy_fsm.log.log import Log

async def work():
    async with await Log.open(sys.argv[1]) as log:
        await log.append(*(line.encode() for line in sys.argv[2:]))
        print("written", flush=True)
        await asyncio.sleep(3600)

asyncio.run(work())
"""


def with_bars(*words: str, cwd: Path) -> tuple[int, str, bytes]:
    """The exit status of a command, its standard output, and what it draws on the terminal that is its standard
    error.
    """
    terminal, end = os.openpty()
    with open(end, "wb") as stderr:
        process = begin(*words, cwd=cwd, stderr=stderr, env={"TERM": "xterm"})
    with open(terminal, "rb", buffering=0) as reader:
        drawn = b""
        with suppress(OSError):  # how a terminal ends
            while part := reader.read(4096):
                drawn += part
    out, _ = process.communicate(timeout=GUARD)
    return process.returncode, out, drawn
