"""Campaign with hostile servers: how long one step blocks the client's loop, and how much memory it takes.

python -m tests.campaigns.hostile [--seconds 4] [NAME…]

Each server runs beside a process of its own with one client in it. What is measured is CPU time, so a busy machine
changes little. Printed are the longest piece of work of the loop's thread, and the most that the whole process worked
between two beats of its loop, which are 5 ms apart: there it shows if another thread keeps the interpreter.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec
from comfy_fsm.live.client.client import Client
from comfy_fsm.log.log import Log

KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STATUS = b'{"type":"status","data":{"status":{"exec_info":{"queue_remaining":1}}}}'
MB = 1024 * 1024
_BEAT = 0.005


def frame(data: bytes, kind: int = 1) -> bytes:
    size = len(data)
    if size < 126:
        return bytes([0x80 | kind, size]) + data
    wide = bytes([126]) + size.to_bytes(2, "big") if size < 65536 else bytes([127]) + size.to_bytes(8, "big")
    return bytes([0x80 | kind]) + wide + data


def text(content: object) -> bytes:
    return json.dumps({"type": "x", "data": {"a": content}}).encode()


def states() -> bytes:
    nodes = {str(n): {"value": 1, "max": 2, "state": "running", "node_id": str(n)} for n in range(50_000)}
    return json.dumps({"type": "progress_state", "data": {"prompt_id": "p", "nodes": nodes}}).encode()


def queue(count: int = 60_000) -> bytes:
    graph = {"1": {"class_type": "A", "inputs": {"text": "x" * 400}}}
    pending = [[n, f"p{n}", graph, {}, ["1"]] for n in range(count)]
    return json.dumps({"queue_running": [], "queue_pending": pending}).encode()


def history(outputs: object = None, **more: object) -> bytes:
    """A record of the prompt that was posted last, whose id stands for PROMPT."""
    status = {"status_str": "success", "completed": True, "messages": []}
    record = {"prompt": [1, "PROMPT", {}, {}, []], "outputs": outputs or {}, "status": status, **more}
    return json.dumps({"PROMPT": record}).encode()


def files(count: int) -> object:
    return {"1": {"images": [{"filename": f"a{n}.png", "subfolder": "", "type": "output"} for n in range(count)]}}


def ends(count: int) -> bytes:
    """The frames by which as many tasks of an earlier process end."""
    told = ({"type": "execution_success", "data": {"prompt_id": f"t{n}"}} for n in range(count))
    return b"".join(frame(json.dumps(each).encode()) for each in told)


def earlier(url: str, count: int) -> list[bytes]:
    """The log of an earlier process, which submitted as many tasks."""
    lines, at = list[bytes](), time.time()
    for n in range(count):
        body = Raw(json.dumps({"prompt": {}, "client_id": "w", "prompt_id": f"t{n}"}).encode())
        accepted = Raw(json.dumps({"prompt_id": f"t{n}", "number": n, "node_errors": {}}).encode())
        posted = seen.RequestData(f"r{n}", "POST", "/prompt", body)
        lines.append(codec.encode(seen.Request(at=at, window="w", server=url, data=posted)))
        lines.append(
            codec.encode(seen.Response(at=at, window="w", server=url, data=seen.ResponseData(f"r{n}", 200, accepted)))
        )
    return lines


class Server(NamedTuple):
    """What is sent over each socket, again and again, and what is answered to `GET /queue` and `GET /history`; and how
    many tasks of an earlier process are open.
    """

    frames: Callable[[], bytes] = lambda: frame(STATUS)
    queue: Callable[[], bytes] = lambda: b'{"queue_running":[],"queue_pending":[]}'
    history: Callable[[], bytes] = lambda: b"{}"
    endless: bool = True
    tasks: int = 0


SERVERS = {
    "tiny frames": Server(lambda: frame(b'{"type":"x","data":{}}') * 5000),
    "empty texts": Server(lambda: frame(b"") * 20_000),
    "empty pings": Server(lambda: frame(b"", 9) * 20_000),
    "empty pongs": Server(lambda: frame(b"", 10) * 20_000),
    "counts of the queue": Server(lambda: frame(STATUS) * 2000),
    "frames of 16 MiB": Server(lambda: frame(text("x" * 16 * MB))),
    "frames of 60 MiB": Server(lambda: frame(text("x" * 60 * MB))),
    "states of many nodes": Server(lambda: frame(states())),
    "what looks like credentials": Server(lambda: frame(text(["https://u:p@h/?token=x " * 20] * 4000))),
    "binary frames of 30 MiB": Server(lambda: frame(b"\0\0\0\1\0\0\0\2" + bytes(30 * MB), 2)),
    "a queue of 60,000": Server(queue=queue, endless=False),
    "a queue of 100,000": Server(queue=lambda: queue(100_000), endless=False),
    "10,000 tasks that go on": Server(endless=False, tasks=10_000),
    "10,000 tasks that end at once": Server(lambda: ends(10_000), endless=False, tasks=10_000),
    "a history of 10,000 files": Server(history=lambda: history(files(10_000)), endless=False),
    "a history of 400,000 files": Server(history=lambda: history(files(400_000)), endless=False),
    "a history of many nodes": Server(
        history=lambda: history({str(n): {"text": ["a"]} for n in range(200_000)}), endless=False
    ),
    "a history of many prompts": Server(
        history=lambda: json.dumps({f"p{n}": {"outputs": {}} for n in range(400_000)}).encode(), endless=False
    ),
    "a history of many fields": Server(
        history=lambda: history(None, **{f"x{n}": [n] for n in range(50_000)}), endless=False
    ),
    "a history that is deep": Server(history=lambda: b'{"PROMPT":' + b"[" * 20_000_000, endless=False),
    "a history that is deep and short": Server(
        history=lambda: history(json.loads("[" * 900 + "]" * 900)), endless=False
    ),
    "a history of one long text": Server(history=lambda: history({"1": {"text": ["x" * 60 * MB]}}), endless=False),
    "a history of long texts": Server(
        history=lambda: history({str(n): {"text": ['"' * 3 * MB]} for n in range(9)}), endless=False
    ),
    "a history of odd types": Server(
        history=lambda: history([[1.5, None, True]] * 200_000, prompt={}, status=["success"] * 9), endless=False
    ),
    "a history of messages": Server(
        history=lambda: history(status={"messages": [["execution_cached", {"nodes": ["1"] * 9}]] * 60_000}),
        endless=False,
    ),
    "a history without end": Server(history=lambda: history("x" * 600 * MB), endless=False),
}


class Measured(NamedTuple):
    held: float
    """Seconds of CPU of the longest piece of work."""
    still: float
    """Seconds of CPU of all threads between two beats of the loop."""
    memory: int
    """MiB at the peak."""
    position: int


class Talk:
    """What a server says, made once; and which sockets it has."""

    def __init__(self, server: Server) -> None:
        self.endless, self.blob = server.endless, server.frames()
        self.queue, self.history = server.queue(), server.history()
        self.told = b"p"
        """The id of the prompt that was posted last."""
        self.sockets: list[asyncio.StreamWriter] = []

    def answer(self, path: str, body: bytes) -> bytes:
        if path.startswith("/prompt") and body:
            self.told = json.loads(body).get("prompt_id", "p").encode()
            ended = {"type": "execution_success", "data": {"prompt_id": self.told.decode()}}
            for socket in () if self.endless else self.sockets:
                socket.write(frame(json.dumps(ended).encode()))
            return json.dumps({"prompt_id": self.told.decode(), "node_errors": {}}).encode()
        if path.startswith("/history"):
            return self.history.replace(b"PROMPT", self.told)
        return self.queue if path.startswith("/queue") else b"{}"


async def talk(server: Talk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: a socket, or HTTP until it is closed."""
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head)}
            if b"sec-websocket-key" in fields:
                accept = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + KEY).digest())
                writer.write(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                             + accept + b"\r\n\r\n" + server.blob)  # fmt: skip
                server.sockets.append(writer)
                while server.endless:
                    await writer.drain()
                    writer.write(server.blob)
                await asyncio.Event().wait()
            body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
            answer = server.answer(head[0].split()[1].decode(), body)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
            await writer.drain()


def serve(name: str, told: Any) -> None:
    async def story() -> None:
        made = Talk(SERVERS[name])
        server = await asyncio.start_server(lambda *ends: talk(made, *ends), "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(story())


async def write(path: Path, lines: list[bytes]) -> None:
    async with await Log.open(path) as log:
        for start in range(0, len(lines), 1_000):
            await log.append(*lines[start : start + 1_000])


def use(url: str, tasks: int, seconds: float, told: Any) -> None:
    """A client that submits and waits, in a loop that times each piece of work."""
    held, still, run = [0.0], [0.0], asyncio.events.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        held[0] = max(held[0], time.thread_time() - began)

    async def beat() -> None:
        while True:
            before = time.process_time()
            await asyncio.sleep(_BEAT)
            still[0] = max(still[0], time.process_time() - before)

    async def story(path: Path) -> int:
        beating = asyncio.create_task(beat())
        client = Client(url, log=path)
        await asyncio.sleep(0)
        held[0] = still[0] = 0.0
        async with client:
            window = client.window()

            async def wait() -> object:
                return await (await window.submit({"1": {"class_type": "SaveImage", "inputs": {}}}))

            waiting = asyncio.create_task(wait())
            await asyncio.sleep(seconds)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            position = client.board.position
        beating.cancel()
        return position

    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(write(Path(scratch, "a.log"), earlier(url, tasks)))
        asyncio.events.Handle._run = timed
        position = asyncio.run(story(Path(scratch, "a.log")))
    told.send(Measured(held[0], still[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, position))


def campaign(name: str, seconds: float) -> Measured:
    context = multiprocessing.get_context("spawn")
    hear, tell = context.Pipe()
    serving = context.Process(target=serve, args=(name, tell))
    serving.start()
    try:
        using = context.Process(
            target=use, args=(f"http://127.0.0.1:{hear.recv()}", SERVERS[name].tasks, seconds, tell)
        )
        using.start()
        measured = hear.recv()
        using.join()
        assert isinstance(measured, Measured)
        return measured
    finally:
        serving.kill()
        serving.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(SERVERS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args()
    for name in chosen.name or SERVERS:
        measured = campaign(name, chosen.seconds)
        times = f"{measured.held * 1000:>6.0f} ms{measured.still * 1000:>6.0f} ms"
        print(f"{name:<34}{times}{measured.memory:>7} MiB{measured.position:>9} entries")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
