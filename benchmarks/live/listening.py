"""Benchmark of listening: CPU per frame against a bare loop, and the delay from frame to callback.

    python -m benchmarks.live.listening [--frames 100000] [--pairs 5]

A server process sends progress frames over four sockets as fast as asked. The bare loop receives with `websockets`,
decodes with msgspec and drops; ours appends to a log with FULL, folds, and calls back. Both take turns in
one run, and the ratio is the median of the pairs.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

from comfy_fsm import Policy
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.updates import prompt_of, update_of
from comfy_fsm.live.engine.ingest import Ingest, Noted
from comfy_fsm.live.engine.listener import Listener
from comfy_fsm.live.redaction.messages import Redactor
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.log.log import Log

WINDOWS = 4
RATE = 20_000  # frames a second, in total


def _frame(prompt_id: str, value: int) -> str:
    data = {"value": value % 1_000, "max": 1_000, "prompt_id": prompt_id, "node": "3", "sent": time.time()}
    return json.dumps({"type": "progress", "data": data})


def _server(port: Any) -> None:
    """In a process of its own: over each socket as many frames as its window says, at its share of the rate, then a
    last word.
    """

    async def feed(socket: Any) -> None:
        prompt_id = socket.request.path.rpartition("=")[2]
        frames = int(prompt_id.rpartition("-")[2])
        await socket.send(json.dumps({"type": "execution_start", "data": {"prompt_id": prompt_id, "timestamp": 1}}))
        began, step = time.monotonic(), 50
        for first in range(0, frames, step):
            for number in range(first, first + step):
                await socket.send(_frame(prompt_id, number))
            ahead = began + first / (RATE / WINDOWS) - time.monotonic()
            await asyncio.sleep(max(ahead, 0))
        await socket.send(json.dumps({"type": "execution_success", "data": {"prompt_id": prompt_id}}))
        await socket.wait_closed()

    async def main() -> None:
        async with serve(feed, "127.0.0.1", 0, compression=None) as server:
            port.value = server.sockets[0].getsockname()[1]
            await asyncio.get_running_loop().create_future()

    asyncio.run(main())


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _bare(port: int, frames: int) -> float:
    decode = msgspec.json.Decoder().decode

    async def listen(window: str) -> None:
        async with connect(f"ws://127.0.0.1:{port}/ws?clientId={window}", compression=None, max_size=None) as socket:
            for _ in range(frames + 2):
                decode(await socket.recv())

    before = _cpu()
    await asyncio.gather(*(listen(f"bare-{number}-{frames}") for number in range(WINDOWS)))
    return _cpu() - before


async def _ours(port: int, frames: int, folder: str) -> tuple[float, list[float]]:
    ended: set[str] = set()
    over, latencies = asyncio.Event(), []

    def hear(_: int, noted: Noted) -> None:
        prompt_id = prompt_of(noted.observation)
        if prompt_id is None:
            return
        update = update_of(prompt_id, noted.observation, noted.line)
        if update is not None and update.name == "execution_success":
            ended.add(prompt_id)
            if len(ended) == WINDOWS:
                over.set()
        elif update is not None:
            latencies.append(time.time() - noted.observation.at)

    board, redactor = Board(Policy()), Redactor()
    async with await Log.open(Path(folder) / "live.log") as log:
        ingest = Ingest(log, board, redactor, hear, lambda: board.drain() and None)
        server = Comfy(f"http://127.0.0.1:{port}")
        listeners = [
            Listener(server, f"ours-{number}-{frames}", ingest, redactor, time.time) for number in range(WINDOWS)
        ]
        before = _cpu()
        for listener in listeners:
            listener.open()
        await over.wait()
        spent = _cpu() - before
        await asyncio.gather(*(listener.close() for listener in listeners))
        await ingest.close()
        await server.close()
    return spent, latencies


def _pair(port: int, frames: int) -> tuple[float, float, list[float]]:
    bare = asyncio.run(_bare(port, frames))
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
        return bare, *asyncio.run(_ours(port, frames, folder))


class Listening(NamedTuple):
    """CPU of a frame in µs, the ratio with its range, and the seconds from a frame to its callback."""

    bare: float
    ours: float
    ratio: float
    lowest: float
    highest: float
    median: float
    p99: float


def measure(frames: int, pairs: int) -> Listening:
    """Listen to so many frames in turns with the bare loop; `server` is a process of its own."""
    port = multiprocessing.Value("i", 0)
    server = multiprocessing.Process(target=_server, args=(port,), daemon=True)
    server.start()
    while not port.value:
        time.sleep(0.01)
    each = frames // WINDOWS
    costs, latencies = list[tuple[float, float]](), list[float]()
    _pair(port.value, 1_000)  # what is imported and compiled once
    for _ in range(pairs):
        bare, ours, delays = _pair(port.value, each)
        costs.append((bare / (each * WINDOWS) * 1e6, ours / (each * WINDOWS) * 1e6))
        latencies += delays
    server.terminate()
    latencies.sort()
    bares, ourses = zip(*costs, strict=True)
    ratios = sorted(ours / bare for bare, ours in costs)
    middle, late = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
    bare, ours, ratio = map(statistics.median, (bares, ourses, ratios))
    return Listening(bare, ours, ratio, ratios[0], ratios[-1], middle, late)


def main() -> None:
    parser = argparse.ArgumentParser(description="What it costs to listen live.")
    parser.add_argument("--frames", type=int, default=100_000, help="frames of one run, in total")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each, in turns")
    options = parser.parse_args()
    found = measure(options.frames, options.pairs)
    print(f"{options.frames:,} frames over {WINDOWS} sockets, {RATE:,} a second, {options.pairs} pairs in turns")
    print(f"bare loop  {found.bare:6.1f} µs of CPU a frame")
    print(f"ours       {found.ours:6.1f} µs of CPU a frame, {found.ratio:.2f} ×", end="")
    print(f" ({found.lowest:.2f} to {found.highest:.2f})")
    print(f"frame to callback: median {found.median * 1e3:.1f} ms, p99 {found.p99 * 1e3:.1f} ms")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
