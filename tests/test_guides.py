"""The bot and the web service of docs/how-to do what their pages say: killed in the middle of a run, they answer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from comfy_fsm.testing import ThreadedFake
from docs import blocks
from tests.support.installed import installed_wheel

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 60.0


@pytest.fixture
def comfy() -> Iterator[ThreadedFake]:
    with ThreadedFake(step_seconds=0.2) as comfy:
        yield comfy


def write_files(page: str, folder: Path) -> None:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    for name, body in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        (folder / name).write_text(body, encoding="utf-8")
    shutil.copy(ROOT / "examples" / "workflow.json", folder)


def environment(comfy: ThreadedFake) -> dict[str, str]:
    return os.environ | {"COMFYUI": comfy.url, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


BOT = """
import asyncio, os, signal, sys
from types import SimpleNamespace
import bot

class Message:
    def __init__(self, channel, message):
        self.where = f"{channel}/{message}"

    async def reply(self, text=None, files=()):
        print(self.where, text or [file.filename for file in files])
        replied.set()

async def main(kill):
    b = bot.Bot()
    b.get_partial_messageable = lambda channel: SimpleNamespace(
        get_partial_message=lambda message: Message(channel, message)
    )
    await b.setup_hook()
    if kill:
        author, channel = SimpleNamespace(bot=False), SimpleNamespace(id=1)
        await b.on_message(SimpleNamespace(id=2, content="!draw a fox", author=author, channel=channel))
        os.kill(os.getpid(), signal.SIGKILL)
    await replied.wait()
    await b.close()

replied = asyncio.Event()
asyncio.run(main(sys.argv[1] == "kill"))
"""


def test_the_discord_bot_answers_the_message_of_a_process_that_was_killed(tmp_path: Path, comfy: ThreadedFake) -> None:
    """With discord.py itself; only its network is not there."""
    write_files("discord.md", tmp_path)
    killed, answered = (
        subprocess.run(
            [sys.executable, "-c", BOT, word], cwd=tmp_path, env=environment(comfy), capture_output=True, text=True,
            timeout=PATIENCE,
        )
        for word in ("kill", "answer")
    )  # fmt: skip
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "")
    assert (answered.returncode, answered.stdout) == (0, "1/2 ['ComfyUI_00001_.png']\n"), answered.stderr
    assert list(comfy.runs.values()) == [1]


@contextmanager
def serving(folder: Path, comfy: ThreadedFake, port: int) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "uvicorn", "app:app", "--workers", "2", "--port", str(port)]
    with open(folder / "uvicorn.log", "ab") as said:
        served = subprocess.Popen(
            words, cwd=folder, env=environment(comfy), stdout=said, stderr=said, start_new_session=True
        )
        try:
            yield served
        finally:
            if served.poll() is None:
                os.killpg(served.pid, signal.SIGKILL)
            served.wait()


def until(asked: str, wanted: int, method: str = "GET") -> httpx.Response:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if (answer := httpx.request(method, asked, timeout=PATIENCE)).status_code == wanted:
                return answer
        except httpx.TransportError:
            pass  # not up yet
        time.sleep(0.1)
    raise AssertionError(f"{asked}: no {wanted}")


def test_the_web_service_keeps_every_picture_though_all_its_workers_are_killed(
    tmp_path: Path, comfy: ThreadedFake
) -> None:
    write_files("fastapi.md", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ["fox", "cat", "owl"]
    with serving(tmp_path, comfy, port) as served:
        for name in names:
            until(f"http://127.0.0.1:{port}/pictures/{name}?text=a+{name}", 202, "POST")
        os.killpg(served.pid, signal.SIGKILL)
        served.wait()
    with serving(tmp_path, comfy, port):
        for name in names:
            answer = until(f"http://127.0.0.1:{port}/pictures/{name}", 200).json()
            assert answer["state"] == "completed"
            (file,) = answer["files"]
            assert until(f"http://127.0.0.1:{port}/pictures/{name}/{file}", 200).content.startswith(b"\x89PNG")
    assert sorted(comfy.runs.values()) == [1, 1, 1]


ROLES = {
    "a bot with a restart": "docs/tutorial.md",
    "an incident": "docs/how-to/incident.md",
    "several servers": "docs/how-to/several-servers.md",
    "a night of several servers, with a kill": "docs/how-to/operate.md",
    "a recorder": "docs/how-to/record.md",
}  # the role of one who tests a client of theirs has a test of its own: tests/testing/test_how_to.py


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> blocks.Python:
    python = installed_wheel(tmp_path_factory)
    clean = {name: value for name, value in blocks.ENVIRONMENT.items() if name != "PYTHONPATH"}
    return blocks.Python(str(python), clean)


@pytest.mark.parametrize("role", ROLES)
def test_the_page_of_a_role_does_what_it_says_from_a_wheel(role: str, installed: blocks.Python, tmp_path: Path) -> None:
    page = ROOT / ROLES[role]
    for block, came in zip(blocks.find(page), blocks.run_page(page, tmp_path, installed), strict=True):
        assert came is not None
        assert came.stderr == b"", block
        if block.shown is not None:
            assert blocks.lines(came.stdout.decode()) == blocks.lines(block.shown)
