"""Commands on a log in a database: the address wherever a log is named, all logs as one, and no password anywhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_fsm.cli.run import resuming
from comfy_fsm.testing import ThreadedFake
from tests.support import postgres
from tests.support.processes import BAD_DATA, DONE, UNREACHABLE, begin, command, finish

postgres.must_be_had()

WORKFLOW = Path(__file__).resolve().parents[2] / "examples" / "workflow.json"


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database with the logs of two bots, and the password in it."""
    server = postgres.server()
    server.fresh()
    folder = tmp_path_factory.mktemp("runs")
    with ThreadedFake() as comfy:
        running = [
            begin(
                "run", WORKFLOW, "--server", comfy.url, "--log", server.address(f"bot-{number}"),
                "--output", f"{number}", cwd=folder,
            )
            for number in (1, 2)
        ]  # fmt: skip
        for process in running:
            done = finish(process)
            assert (done.returncode, done.stderr) == (DONE, "")
    return server.address(None)


def one(farm: str) -> str:
    return f"{farm}?log=bot-1"


def told(*words: str, folder: Path, module: str = "comfy_fsm", status: int = DONE) -> str:
    """What a command says; the password is in nothing of it."""
    done = command(*words, cwd=folder, module=module)
    assert done.returncode == status, done.stderr
    assert "canary" not in done.stdout + done.stderr
    return done.stdout or done.stderr


def test_every_command_that_reads_takes_the_address_of_a_log_and_of_all(farm: str, tmp_path: Path) -> None:
    assert "2 completed" in told("watch", farm, "--once", folder=tmp_path)
    assert "1 completed" in told("watch", one(farm), "--once", folder=tmp_path)
    assert "2 completed" in told("diagnose", farm, folder=tmp_path)
    assert 'state="completed"' in told("metrics", farm, folder=tmp_path)
    lines = [json.loads(line) for line in told("export", farm, folder=tmp_path).splitlines()]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert len({line["window"] for line in lines if line.get("window")}) == 2
    report = json.loads(told(farm, "--format", "json", folder=tmp_path, module="replay"))
    assert report["trace"]["files"] == ["comfy?log=bot-1", "comfy?log=bot-2"]
    assert "comfy?log=bot-2" in told(farm, "--no-color", folder=tmp_path, module="replay")
    assert "bot-1: " in told(one(farm), "--no-color", folder=tmp_path, module="replay")
    assert "2 tasks, no process writes it" in " ".join(told("doctor", "--log", farm, folder=tmp_path).split())
    shown = told("show", one(farm), "1", folder=tmp_path, module="replay")
    assert '"kind":"trace"' in shown


def test_a_command_that_writes_wants_one_log(farm: str, tmp_path: Path) -> None:
    assert "add ?log=NAME" in told("resume", "--known", "--log", farm, folder=tmp_path, status=BAD_DATA)
    assert "no log of this name" in told("diagnose", f"{farm}?log=nobody", folder=tmp_path, status=BAD_DATA)
    away = postgres.server().address("bot-1", port=9)
    assert "cannot be reached" in told("diagnose", away, folder=tmp_path, status=UNREACHABLE)


def test_tail_follows_what_another_process_writes(farm: str, tmp_path: Path) -> None:
    tailing = begin("tail", f"{farm}", cwd=tmp_path)
    try:
        assert tailing.stdout
        first = [json.loads(tailing.stdout.readline())["at"] for _ in range(20)]
        assert first == sorted(first)
        with ThreadedFake() as comfy:
            log = f"{farm}?log=bot-3"
            told("run", str(WORKFLOW), "--server", comfy.url, "--log", log, folder=tmp_path)
            while comfy.url not in tailing.stdout.readline():
                pass
    finally:
        tailing.kill()
        tailing.communicate()


def test_the_log_itself_has_no_password_in_it(farm: str) -> None:
    server = postgres.server()
    dump = server.run(
        "pg_dump", "--data-only", "--inserts", "-d", "comfy", "-h", "127.0.0.1", "-p", server.port, "-U", "owner",
        env={"PGPASSWORD": postgres.PASSWORD},
    )  # fmt: skip
    assert "canary" not in dump
    assert b"canary".hex() not in dump


def test_the_command_that_resumes_is_shown_without_the_password() -> None:
    words = ["comfy_fsm", "run", "a.json", "--log", "postgresql://u:hush@db/comfy?log=a&password=hush"]
    assert "hush" not in resuming(words)


def test_without_psycopg_a_command_says_what_to_install(farm: str, tmp_path: Path) -> None:
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError('psycopg')")
    done: subprocess.CompletedProcess[str] = command("diagnose", farm, cwd=tmp_path)
    assert done.returncode == UNREACHABLE
    assert "pip install 'comfy-fsm[postgres]'" in done.stderr
