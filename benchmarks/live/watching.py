"""Benchmark of `watch` and `serve`: their lag behind a log that grows fast, and its cost.

    python -m benchmarks.live.watching [--loaded 1000000] [--rate 5000] [--seconds 60]

A process appends so many observations a second of a multiplied recording to a real log that already holds `loaded` of
them. `watch` follows it in a pseudo terminal of 132 × 40, `serve` with one reader of its feed, both as a user starts
them. Each tells in its own way how much it has seen: so the lag holds their pace of drawing, too.
"""

import argparse
import asyncio
import fcntl
import itertools
import multiprocessing
import os
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.traces.generate import chunks, stencil
from comfy_fsm.log.log import Log

PACE = 0.05  # seconds between two appends
ROOT = Path(__file__).resolve().parents[2]


def lines() -> Iterator[bytes]:
    source = stencil()
    for chunk in chunks(source, 10**9):
        for line in chunk.split("\n"):
            if line:
                yield line.encode("utf-8", "surrogateescape")


async def _write(path: Path, loaded: int, rate: int, seconds: float, position: Any, go: Any) -> None:
    source = lines()
    async with await Log.open(path) as log:
        while log.position < loaded:
            await log.append(*itertools.islice(source, min(2_000, loaded - log.position)))
        position.value = log.position
        await asyncio.to_thread(go.wait)
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            due = loaded + int(passed * rate) - log.position
            if due > 0:
                position.value = await log.append(*itertools.islice(source, due))
            await asyncio.sleep(PACE)


def _writer(*given: Any) -> None:
    asyncio.run(_write(*given))


class Watched:
    """A process that follows, and the last position that it showed."""

    def __init__(self, name: str, process: subprocess.Popen[Any]) -> None:
        self.name, self.process, self.shown = name, process, 0
        self.lags: list[int] = []
        self.cpu = 0.0

    def used(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> float:
        """The most memory it ever had, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "comfy_fsm", *arguments]


def on_terminal(path: Path) -> Watched:
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))
    process = subprocess.Popen(
        command("watch", str(path)), stdin=theirs, stdout=theirs, cwd=ROOT, env=os.environ | {"TERM": "xterm-256color"}
    )
    found = Watched("watch", process)

    def read() -> None:
        while select.select([ours], [], [], 60)[0]:
            drawn = re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", os.read(ours, 65_536))
            for told in re.findall(rb"([\d,]+) observations", drawn):
                found.shown = int(told.replace(b",", b""))

    threading.Thread(target=read, daemon=True).start()
    return found


def as_page(path: Path) -> Watched:
    process = subprocess.Popen(command("serve", str(path), "--port", "0"), stdout=subprocess.PIPE, cwd=ROOT, text=True)
    found = Watched("serve", process)
    assert process.stdout is not None
    url = process.stdout.readline().strip()

    def read() -> None:
        with urllib.request.urlopen(url + "feed") as feed:
            for line in feed:
                if told := re.search(rb'"observations":(\d+)', line):
                    found.shown = int(told[1])

    threading.Thread(target=read, daemon=True).start()
    return found


def measure(path: Path, loaded: int, rate: int, seconds: float) -> None:
    position, go = multiprocessing.Value("q", 0), multiprocessing.Event()
    writer = multiprocessing.Process(target=_writer, args=(path, loaded, rate, seconds, position, go), daemon=True)
    writer.start()
    while position.value < loaded or not position.value:
        time.sleep(0.05)
        if not loaded and path.exists():
            break
    followers = []
    for start in (on_terminal, as_page):  # one after the other: each loads alone
        begun = time.monotonic()
        follower = start(path)
        while follower.shown < loaded:
            time.sleep(0.02)
        followers.append(follower)
        print(f"{follower.name}: {loaded:,} observations shown after {time.monotonic() - begun:.1f} s, ", end="")
        print(f"{follower.used():.1f} s of CPU, peak {follower.peak():.0f} MB", flush=True)
    before = {follower.name: follower.used() for follower in followers}
    go.set()
    begun = time.monotonic()
    while writer.is_alive():
        time.sleep(0.25)
        for follower in followers:
            follower.lags.append(position.value - follower.shown)
    passed = time.monotonic() - begun
    written = position.value - loaded
    print(f"written: {written:,} in {passed:.0f} s, {written / passed:,.0f} a second")
    for follower in followers:
        seen, lags = follower.shown - loaded, sorted(follower.lags)
        share = (follower.used() - before[follower.name]) / passed
        thirds = [statistics.median(follower.lags[n * len(lags) // 3 : (n + 1) * len(lags) // 3]) for n in range(3)]
        print(f"{follower.name}: {seen / written:.1%} of it shown as it ended; behind: ", end="")
        print(f"median {statistics.median(lags):,.0f} observations ({', '.join(f'{n:,.0f}' for n in thirds)} ", end="")
        print(f"by thirds of the time), most {lags[-1]:,}; ", end="")
        print(f"{share:.0%} of a CPU, peak {follower.peak():.0f} MB")
    for follower in followers:
        follower.process.send_signal(signal.SIGTERM)
        follower.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--loaded", type=int, default=1_000_000, help="observations that the log holds at the start")
    parser.add_argument("--rate", type=int, default=5_000, help="observations a second from then on")
    parser.add_argument("--seconds", type=float, default=60.0, help="for so long")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder) / "fast.log", given.loaded, given.rate, given.seconds)


if __name__ == "__main__":
    main()
