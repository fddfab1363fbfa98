"""Benchmark of `record`: what the proxy adds to an answer and to a frame, and whether it holds 2,000 frames a second.

    python -m benchmarks.live.proxy [--seconds 10] [--sockets 50] [--rate 2000]

A server, the proxy, and the clients are processes of their own. Each exchange and each frame is sent both ways in turn,
straight and through the proxy, so that both see the same machine; the differences of the medians are what it adds.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

HOST = "127.0.0.1"
QUEUE = b'{"queue_running": [], "queue_pending": []}'


def _frame(number: int) -> str:
    data = {"value": number % 100, "max": 100, "prompt_id": "p", "node": "3", "sent": time.perf_counter_ns()}
    return json.dumps({"type": "progress", "data": data})


def _server(ports: Any, rate: float, seconds: float, sockets: int) -> None:
    """Answers every request at once, and sends frames to every socket at its share of the rate."""

    async def feed(connection: Any) -> None:
        await connection.send('{"type":"status","data":{"status":{"exec_info":{"queue_remaining":0}},"sid":"w"}}')
        pause, count = sockets / rate, int(rate * seconds / sockets)
        begun = time.monotonic()
        for number in range(count):
            await connection.send(_frame(number))
            await asyncio.sleep(max(0.0, begun + (number + 1) * pause - time.monotonic()))
        await connection.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(QUEUE)
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(head + QUEUE)
        writer.close()

    async def main() -> None:
        async with serve(feed, HOST, 0, compression=None) as frames:
            ports[0] = frames.sockets[0].getsockname()[1]
            answers = await asyncio.start_server(answer, HOST, 0)
            ports[1] = answers.sockets[0].getsockname()[1]
            await asyncio.Event().wait()

    asyncio.run(main())


def _ask(connection: socket.socket) -> tuple[float, int]:
    """Return the seconds of one exchange, and the bytes of its answer."""
    begun = time.perf_counter()
    connection.sendall(b"GET /queue HTTP/1.1\r\nHost: x\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
    got = b""
    while not got.endswith(QUEUE):
        got += connection.recv(65536)
    return time.perf_counter() - begun, len(got)


def exchanges(straight: int, through: int, count: int) -> None:
    both = [socket.create_connection((HOST, port)) for port in (straight, through)]
    for connection in both:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found: list[list[tuple[float, int]]] = [[], []]
    for _ in range(count):
        for connection, times in zip(both, found, strict=True):
            times.append(_ask(connection))
    plain, passed = (sorted(seconds for seconds, _ in times) for times in found)
    sizes = [times[0][1] for times in found]
    _tell(f"{count:,} answers of GET /queue", plain, passed)
    print(f"bytes of an answer: {sizes[0]} straight, {sizes[1]} through the proxy")


async def _listen(port: int, delays: list[float]) -> None:
    async with connect(f"ws://{HOST}:{port}/ws?clientId=w{id(delays)}", compression=None) as connection:
        async for message in connection:
            now, told = time.perf_counter_ns(), json.loads(message)
            if told["type"] == "progress":
                delays.append((now - told["data"]["sent"]) / 1e9)


def frames(port: int, sockets: int, found: Any) -> None:
    async def main() -> None:
        delays: list[list[float]] = [[] for _ in range(sockets)]
        await asyncio.gather(*(_listen(port, each) for each in delays))
        found.put(sorted(delay for each in delays for delay in each))

    asyncio.run(main())


def _heard(port: int, sockets: int) -> list[float]:
    found: Any = multiprocessing.Queue()
    listening = multiprocessing.Process(target=frames, args=(port, sockets, found))
    listening.start()
    delays: list[float] = found.get()
    listening.join()
    return delays


def _tell(what: str, plain: list[float], passed: list[float]) -> None:
    def shown(values: list[float]) -> str:
        return f"median {statistics.median(values) * 1e3:.2f} ms, p99 {values[len(values) * 99 // 100] * 1e3:.2f} ms"

    added = (statistics.median(passed) - statistics.median(plain)) * 1e3
    print(f"{what}: straight {shown(plain)}; through the proxy {shown(passed)}; added at the median {added:.2f} ms")


def _cpu(process: int) -> float:
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the recording proxy adds.")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--sockets", type=int, default=50)
    parser.add_argument("--rate", type=float, default=2_000.0, help="frames a second, over all sockets")
    parser.add_argument("--exchanges", type=int, default=2_000)
    given = parser.parse_args()
    ports: Any = multiprocessing.Array("i", 2)
    arguments = (ports, given.rate, given.seconds, given.sockets)
    server = multiprocessing.Process(target=_server, args=arguments, daemon=True)
    server.start()
    while not ports[1]:
        time.sleep(0.01)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        urls = [f"--server=http://{HOST}:{port}" for port in ports]
        command = [sys.executable, "-m", "comfy_fsm", "record", *urls, "--listen=0", f"--log={folder}/proxy.log"]
        proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert proxy.stdout is not None
        through = [int(proxy.stdout.readline().split()[0].rpartition(":")[2]) for _ in ports]
        exchanges(ports[1], through[1], given.exchanges)
        plain = _heard(ports[0], given.sockets)
        before = _cpu(proxy.pid)
        passed = _heard(through[0], given.sockets)
        spent = _cpu(proxy.pid) - before
        wanted = int(given.rate * given.seconds / given.sockets) * given.sockets
        _tell(f"{given.sockets} sockets, {given.rate:,.0f} frames a second", plain, passed)
        print(f"frames that arrived: {len(plain):,} straight, {len(passed):,} through the proxy, of {wanted:,} sent")
        share = spent / given.seconds
        print(f"CPU of the proxy: {spent / len(passed) * 1e6:.0f} µs a frame, {share:.0%} of a processor")
        proxy.terminate()
        proxy.wait()
    server.terminate()


if __name__ == "__main__":
    main()
