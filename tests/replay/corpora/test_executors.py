"""A real Dask cluster of processes on loopback, as the how-to starts it, writes what processes of one machine write."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.corpora import ROOT, fill, written
from tests.support.processes import DONE, ENVIRONMENT, GUARD, UNREACHABLE

pytest.importorskip("distributed", reason="the extra 'corpus' is not installed: NO CLUSTER IS TESTED")
PAGE = (ROOT / "docs" / "how-to" / "corpus.md").read_text(encoding="utf-8")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "replay", *arguments],
        cwd=folder, env=ENVIRONMENT, capture_output=True, encoding="utf-8", timeout=3 * GUARD,
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@contextmanager
def started(folder: Path, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=folder, env=ENVIRONMENT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, encoding="utf-8",
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GUARD)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def commands(port: int) -> list[list[str]]:
    """The commands of the page, at a port that is free here."""
    [block] = re.findall(r"^```bash\n(dask scheduler.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [shlex.split(line.replace("8786", str(port))) for line in block.splitlines()]


in_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the workers in /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    fill(folder / "traces", 160)
    assert run(folder, "corpus", "run", "traces", "-o", "alone", "--jobs", "1").returncode == DONE
    return folder


@in_proc
def test_the_commands_of_the_page_write_what_one_process_writes_though_a_worker_is_killed(folder: Path) -> None:
    port = free_port()
    scheduler, workers, corpus = commands(port)
    assert (scheduler[0], workers[0], corpus[:3]) == ("dask", "dask", ["python", "-m", "replay"])
    quiet = ["--no-dashboard"]
    with ExitStack() as stack:
        stack.enter_context(started(folder, [*scheduler, *quiet]))
        nannies = stack.enter_context(started(folder, [*workers, *quiet]))
        command = [sys.executable, *corpus[1:], "--format", "json"]
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        killed = kill_a_worker(nannies.pid, folder / "night" / "traces")
        out, err = process.communicate(timeout=3 * GUARD)
    assert process.returncode == DONE, err
    assert json.loads(out)["traces"] == 160
    assert killed
    assert written(folder / "night") == written(folder / "alone")


def kill_a_worker(nannies: int, parts: Path) -> bool:
    """Kill one of the processes that judge, once a part is there."""
    until = time.monotonic() + GUARD
    while time.monotonic() < until:
        if parts.is_dir() and any(parts.glob("*.parquet")):
            of_threads = Path(f"/proc/{nannies}/task").glob("*/children")
            for each in [child for children in of_threads for child in children.read_text().split()]:
                if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes():
                    subprocess.run(["kill", "-9", each], check=False)
                    return True
        time.sleep(0.01)
    return False


def test_where_no_scheduler_answers_it_is_told_how_to_start_one(folder: Path) -> None:
    done = run(folder, "corpus", "run", "traces", "-o", "x", "--dask", f"tls-{free_port()}://127.0.0.1:1")
    assert done.returncode == UNREACHABLE
    assert "dask scheduler" in done.stderr
