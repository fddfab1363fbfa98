"""Log lines made by hand, what they show, and a log that contains them."""

import asyncio
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comfy_fsm.core.wire import codec
from comfy_fsm.log.log import Log
from comfy_fsm.watch.projection import Projection
from comfy_fsm.watch.snapshot import Snapshot

START = 1_700_000_000.0
WINDOW, SERVER = "w", "http://one:8188"
FRAMES = {"window": WINDOW, "server": SERVER}


def line(kind: str, data: object, at: float = START, **envelope: object) -> bytes:
    return json.dumps({"at": at, "kind": kind, "data": data} | FRAMES | envelope).encode()


def frame(kind: str, at: float = START, window: str = WINDOW, **data: object) -> bytes:
    return line("ws.message", {"type": kind, "data": data}, at, window=window)


def seen(*lines: bytes) -> Snapshot:
    made = Projection()
    for position, each in enumerate(lines, 1):
        made.take(position, codec.read(each, START), each)
    return made.view()


def fill(path: Path, *lines: bytes) -> Path:
    """A log with these lines, after those that it holds."""

    async def written() -> None:
        async with await Log.open(path) as log:
            await log.append(*lines)

    with ThreadPoolExecutor(1) as thread:  # whoever calls this may have a loop of its own
        thread.submit(asyncio.run, written()).result()
    return path


def lines_of(path: Path) -> list[bytes]:
    return [each for each in gzip.decompress(path.read_bytes()).splitlines() if each.strip()]
