"""`python -m comfy_fsm.testing`: a fake ComfyUI as a process of its own. Its first line says where it is."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from comfy_fsm.testing import PROFILES, FakeComfy
from comfy_fsm.testing.execution import BrokenFake
from comfy_fsm.testing.profiles import NEWEST


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m comfy_fsm.testing", description="A fake ComfyUI for tests.")
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0 is any that is free")
    parser.add_argument("--version", default=NEWEST, help=f"which ComfyUI it is: {', '.join(PROFILES)}, or another")
    parser.add_argument("--step-seconds", type=float, default=0.0, help="how long a node takes")
    parser.add_argument("--token", help="who does not send `Authorization: Bearer TOKEN` is refused")
    return parser.parse_args(words)


async def _serve(given: argparse.Namespace) -> None:
    ended = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, ended.set)
    fake = FakeComfy(given.version, step_seconds=given.step_seconds, port=given.port, control=True)
    fake.faults.token = given.token
    async with fake:
        print(fake.url, flush=True)
        await ended.wait()


def main(words: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; its knobs are turned by `POST /fake/faults`. 70 is a fault of the fake itself."""
    try:
        asyncio.run(_serve(_arguments(words)))
    except BrokenFake as error:
        print(error, file=sys.stderr)
        return 70
    except (OSError, ValueError) as error:
        print(f"no fake was started: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
