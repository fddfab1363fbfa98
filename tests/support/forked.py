"""Commands as processes that one process forks in which all is loaded: to load it takes longer than most commands do.

A worker of pytest begins `python -m tests.support.forked` when it wants a first command, and another one for each that
runs at the same time. It reads a request a line, forks, and tells the exit status. What a fork runs is what `python -m`
runs, in a folder and environment of its own. Where a command is signalled, or a terminal, or its start or end is the
matter, it is begun by `processes.begin`, as a shell begins it.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

import comfy_fsm
import replay

ROOT = Path(__file__).resolve().parents[2]
_APART = (".__main__", ".testing", ".postgres", ".extras", ".corpora")
"""Modules that begin when they are loaded, or need what begins threads."""


class Request(msgspec.Struct):
    """A command: its words, where and in which environment it runs, and the files of its standard streams."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    streams: tuple[str, str, str]


_idle: list[subprocess.Popen[bytes]] = []


def run(
    module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], guard: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without any input; TimeoutExpired if that takes so many seconds."""
    server = _idle.pop() if _idle else _begin()
    with tempfile.TemporaryDirectory() as scratch:
        out, err = Path(scratch, "out"), Path(scratch, "err")
        request = Request(module, [*arguments], str(folder), {**environment}, (os.devnull, str(out), str(err)))
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(msgspec.json.encode(request) + b"\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], guard)[0]:
            os.killpg(server.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired([module, *arguments], guard)
        status = int(server.stdout.readline())
        _idle.append(server)
        told = (stream.read_text(encoding="utf-8") for stream in (out, err))
        return subprocess.CompletedProcess([module, *arguments], status, *told)


def _begin() -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", __name__]
    server = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True, bufsize=0
    )
    atexit.register(_end, server)
    return server


def _end(server: subprocess.Popen[bytes]) -> None:
    for stream in (server.stdin, server.stdout):
        if stream is not None:
            stream.close()
    server.wait()


# the other side


def _serve() -> None:
    for package in (comfy_fsm, replay):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not any(part in module.name for part in _APART):
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            _become(msgspec.json.decode(line, type=Request))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(request: Request) -> NoReturn:
    """Be the process that was asked for, to its end, at which the kernel frees what it had."""
    for number, path in enumerate(request.streams):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", errors=errors)
        for number, (mode, errors) in enumerate((("r", "strict"), ("w", "strict"), ("w", "backslashreplace")))
    )
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    os.chdir(request.folder)
    sys.path[0] = request.folder
    sys.argv[1:] = request.arguments
    status = 1
    try:
        runpy.run_module(request.module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
