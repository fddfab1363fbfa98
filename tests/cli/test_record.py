"""The command `record`: real processes in front of a fake ComfyUI."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from comfy_fsm.testing import ThreadedFake
from tests.support.processes import (
    BAD_DATA,
    LOG,
    NOT_DONE,
    NOWHERE,
    UNREACHABLE,
    USAGE,
    begin,
    command,
    finish,
    line_of,
    said,
)

MEGABYTES = 200


@contextmanager
def recording(cwd: Path, *options: str, servers: int = 1) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    with begin("record", *options, cwd=cwd) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(servers)]
            yield process, [line.split()[0] for line in lines]
        finally:
            process.kill()


def ended(process: subprocess.Popen[str], number: int = signal.SIGINT) -> subprocess.CompletedProcess[str]:
    process.send_signal(number)
    return finish(process)


def test_it_says_where_it_listens_and_at_the_end_what_it_wrote(tmp_path: Path) -> None:
    with (
        ThreadedFake() as one,
        ThreadedFake() as two,
        recording(tmp_path, "--server", one.url, "--server", two.url, "--listen", "0", servers=2) as (process, urls),
    ):
        for url in urls:
            assert httpx.get(f"{url}/queue").json() == {"queue_running": [], "queue_pending": []}
        found = ended(process, signal.SIGTERM)
    assert found.returncode == 128 + signal.SIGTERM
    where = os.path.realpath(tmp_path / LOG)
    told = f"comfy_fsm: 4 observations of 0 tasks recorded; to judge them: comfy-replay {where}\n"
    assert line_of(found.stderr) == told
    told = command("export", LOG, cwd=tmp_path).stdout
    assert re.findall(r'"kind":"http.response".*"server":"(.*?)"', told) == [one.url, two.url]


def test_watch_metrics_and_replay_show_what_other_clients_do_while_it_records(tmp_path: Path) -> None:
    with (
        ThreadedFake() as fake,
        recording(tmp_path, "--server", fake.url, "--listen", "0", "--metrics-port", "0", servers=2) as (_, urls),
    ):
        url, metrics = urls
        workflow = {"prompt": {"1": {"class_type": "FakeText", "inputs": {"text": "x"}}}, "client_id": "theirs"}
        prompt_id = httpx.post(f"{url}/prompt", json=workflow).json()["prompt_id"]
        while not httpx.get(f"{url}/history/{prompt_id}").json():
            pass
        assert "completed" in command(LOG, cwd=tmp_path, module="replay").stdout
        assert "theirs" in command("watch", LOG, "--once", cwd=tmp_path).stdout
        assert re.search(r'completed".* 1\.0$', httpx.get(metrics).text, re.MULTILINE)
        assert "completed" in command("metrics", LOG, cwd=tmp_path).stdout


def test_a_killed_recorder_loses_nothing_that_its_log_acknowledged(tmp_path: Path) -> None:
    with ThreadedFake() as fake:
        for _ in range(2):
            with recording(tmp_path, "--server", fake.url, "--listen", "0") as (process, [url]):
                httpx.get(f"{url}/queue")
                while command("export", LOG, cwd=tmp_path).stdout.count('"http.response"') < 1:
                    pass
                process.kill()
                process.wait()
    assert command(LOG, cwd=tmp_path, module="replay").returncode == 0


@pytest.mark.parametrize("choice", ["pass", "stop"])
def test_a_log_that_is_taken_away_is_told_loudly_and_the_clients_pass_or_stop(choice: str, tmp_path: Path) -> None:
    options = ("--listen", "0", *(() if choice == "pass" else ("--on-log-failure", "stop")))
    with ThreadedFake() as fake, recording(tmp_path, "--server", fake.url, *options) as (process, [url]):
        (tmp_path / LOG).rename(tmp_path / "elsewhere")
        assert httpx.get(f"{url}/queue").status_code == 200
        assert process.stderr is not None
        if choice == "pass":
            warning = process.stderr.readline()
            assert "NOTHING IS RECORDED from now on" in warning
            assert httpx.get(f"{url}/queue").status_code == 200
            found = ended(process)
            assert found.returncode == NOT_DONE
            assert "could not be written" in found.stderr
        else:
            found = finish(process)
            assert found.returncode == BAD_DATA
            assert "was removed or renamed" in found.stderr or LOG in found.stderr


def test_it_holds_no_body_in_memory(tmp_path: Path) -> None:
    """A pipe of a server: whatever is sent is counted, and as much comes back."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    size = MEGABYTES * 2**20

    def serve() -> None:
        connection, _ = listening.accept()
        with listening, connection:
            left, head = size, b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            left -= len(head.partition(b"\r\n\r\n")[2])
            while left:
                left -= len(connection.recv(1 << 20))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(MEGABYTES):
                connection.sendall(bytes(2**20))

    thread = threading.Thread(target=serve)
    thread.start()
    server = f"http://127.0.0.1:{port}"
    with recording(tmp_path, "--server", server, "--listen", "0") as (process, [url]):
        got = 0
        content: Any = (bytes(2**20) for _ in range(MEGABYTES))
        headers = {"Content-Length": str(size)}
        with httpx.stream("POST", f"{url}/upload/image", content=content, headers=headers, timeout=60) as answer:
            for chunk in answer.iter_raw():
                got += len(chunk)
        thread.join()
        status = Path(f"/proc/{process.pid}/status")
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
        assert got == size
        assert peak is None or int(peak[1]) < MEGABYTES * 1024, "more than half of what passed at once"


def test_an_open_address_is_told_and_refusals_name_the_cure(tmp_path: Path) -> None:
    with recording(tmp_path, "--server", NOWHERE, "--listen", "0.0.0.0:0") as (process, _):
        assert "there is no password" in ended(process).stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = command("record", "--server", NOWHERE, "--listen", port, cwd=tmp_path)
        assert f"cannot listen at 127.0.0.1 port {port}" in said(found, UNREACHABLE)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ((), "record needs --server"),
        (("--server", "ftp://x"), "is no address of a server"),
        (("--server", NOWHERE, "--listen", "here"), "is no address to listen at"),
        (("--server", NOWHERE, "--listen", "70000"), "there is no port 70000"),
        (("--server", NOWHERE, "--listen", "0", "--listen", "0"), "2 --listen for 1 --server"),
    ],
)
def test_wrong_usage_is_told_in_a_line(options: tuple[str, ...], word: str, tmp_path: Path) -> None:
    assert word in said(command("record", *options, cwd=tmp_path), USAGE)
    assert not (tmp_path / LOG).exists()


def test_two_recorders_of_one_log_are_told_so(tmp_path: Path) -> None:
    with recording(tmp_path, "--server", NOWHERE, "--listen", "0"):
        found = command("record", "--server", NOWHERE, "--listen", "0", cwd=tmp_path)
        assert "is being written by process" in line_of(found.stderr)
        assert found.returncode == BAD_DATA
