"""Recovery commands, run against two fake servers and a log in which the first of them lost a task.

A balancer had given the prompt to the second one, which has its record. The addresses are shown as 8188 and 8189.
"""

import asyncio
import contextlib
import io
import json
import tempfile
from pathlib import Path

from comfy_fsm import Log
from comfy_fsm.__main__ import main
from comfy_fsm.testing import FakeComfy

TRACE = Path(__file__).resolve().parents[1] / "fixtures" / "made" / "recover-adopted.jsonl"
SHOWN = "http://127.0.0.1:8188", "http://127.0.0.1:8189"


async def recover(*commands: str) -> None:
    lines = TRACE.read_text(encoding="utf-8").splitlines()
    lost, found = lines[1:18], json.loads(lines[31])["data"]["body"]  # until it was lost; what the other one has
    with tempfile.TemporaryDirectory() as folder:
        async with FakeComfy() as one, FakeComfy() as two:
            log, urls = f"{folder}/tasks.log", (one.url, two.url)
            async with await Log.open(log) as writer:
                await writer.append(*(line.replace(SHOWN[0], one.url).encode() for line in lost))
            two.records.update(found)
            for command in commands:
                printed = io.StringIO()
                words = [*command.split(), "--server", one.url, "--server", two.url, "--log", log]
                with contextlib.redirect_stdout(printed):
                    status = await asyncio.to_thread(main, words)
                told = printed.getvalue()
                for url, shown in zip(urls, SHOWN, strict=True):
                    told = told.replace(url, shown).replace(url[7:], shown[7:])
                print(f"$ python -m comfy_fsm {command}\n{told}(exit status {status})\n")


def tell(*commands: str) -> None:
    asyncio.run(recover(*commands))


if __name__ == "__main__":
    tell("recover --all")
