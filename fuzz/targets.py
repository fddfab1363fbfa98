"""Fuzz targets: each feeds a reader of foreign bytes, which may raise a documented error and nothing else."""

from __future__ import annotations

import json
import os
import pickle
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from io import BytesIO
from itertools import islice
from pathlib import Path

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.wire import codec
from comfy_fsm.display import LONGEST, harmless
from comfy_fsm.errors import LogError, TraceError
from comfy_fsm.live.saving import safe_names
from comfy_fsm.log.reader import read as read_log
from comfy_fsm.log.trace import Packed, read_file

Target = Callable[[bytes], None]
PROMPT = "0b7e0a3e-5d9c-4f0a-9d55-3f0f5a1c2b3d"
SERVER, WINDOW = "http://one:8188", "w"


def _entry(kind: str, data: object) -> bytes:
    return json.dumps({"at": 1.0, "kind": kind, "window": WINDOW, "server": SERVER, "data": data}).encode()


@cache
def _posted() -> bytes:
    """A pickled board with a task of ours: to load it is not traced, and so takes a tenth of making it anew."""
    body = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": PROMPT, "client_id": WINDOW}
    lines = (
        _entry("ws.open", {}),
        _entry("http.request", {"id": "r", "method": "POST", "path": "/prompt", "body": body}),
        _entry("http.response", {"id": "r", "status": 200, "body": {"prompt_id": PROMPT}}),
    )
    board = Board()
    for position, observation in enumerate(map(codec.read, lines), 1):
        board.fold_observation(position, observation)
    return pickle.dumps((board, len(lines)))


def _fold(*lines: bytes) -> None:
    """With a task of ours on the board."""
    board, before = pickle.loads(_posted())
    for position, observation in enumerate(map(codec.read, lines), before + 1):
        board.fold_observation(position, observation)
    board.drain()
    board.finish()


def line(data: bytes) -> None:
    """A line of a trace, with a task of ours on the board."""
    _fold(data)


def text_frame(data: bytes) -> None:
    """A frame of text, as a socket brings it; what is written down reads back as what was seen."""
    text = data.decode("utf-8", "replace")
    written, observation = codec.message(text, at=1.0, window=WINDOW, server=SERVER)
    assert type(codec.read(written)) is type(observation)
    _fold(written)


def binary_frame(data: bytes) -> None:
    """A binary frame."""
    codec.image_of(data)
    _fold(codec.binary_line(data, at=1.0, window=WINDOW, server=SERVER))


def _answer(path: str, status: int, method: str = "GET") -> Target:
    def target(data: bytes) -> None:
        asked = _entry("http.request", {"id": "q", "method": method, "path": path, "body": {"prompt_id": PROMPT}})
        try:
            body = codec.loads(data)
            told = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            told = json.dumps(data.decode("utf-8", "replace")).encode()
        answered = _entry("http.response", {"id": "q", "status": status, "body": "BODY"}).replace(b'"BODY"', told)
        _fold(asked, answered)

    return target


def trace_file(data: bytes) -> None:
    """A file of any kind that is called a trace."""
    board, count = Board(), 0
    with suppress(TraceError):
        for block in read_file(Packed(BytesIO(data)), "fuzz"):
            for position, observation in zip(block.positions, block.observations, strict=True):
                board.fold_observation(position, observation)
                count += 1
    board.finish()


@cache
def _log() -> bytes:
    from tests.support.lines import fill

    with tempfile.TemporaryDirectory() as scratch:
        return fill(Path(scratch, "a.log"), *[b"line %d" % n for n in range(8)], b"x" * 9000).read_bytes()


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    memory = "/dev/shm"  # a log is written for each input
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def log_file(data: bytes) -> None:
    """A log of which some bytes were overwritten: each group of five says where, and with what."""
    content = bytearray(_log())
    for at in range(0, len(data) - 4, 5):
        content[int.from_bytes(data[at : at + 3], "big") % len(content)] = data[at + 3]
    path = Path(_scratch().name, "a.log")
    path.write_bytes(content)
    with suppress(LogError):
        assert len(list(islice(read_log(path), len(content)))) < len(content)


def file_name(data: bytes) -> None:
    """A name and a folder that a server gives to a file: what comes of them lies below the folder asked for."""
    text = data.decode("utf-8", "surrogateescape")
    safe = safe_names.safe_name(text)
    for name in (safe, safe_names.numbered(safe, 7), *safe_names.safe_folders(text)):
        assert name not in ("", ".", "..")
        assert not set(name) & set("/\\:\0\n")
        assert len(name.encode()) <= 255


def terminal(data: bytes) -> None:
    """Any text on its way to a terminal."""
    shown = harmless(data.decode("utf-8", "surrogateescape"))
    assert shown.isprintable()
    assert len(shown) <= LONGEST


TARGETS: dict[str, Target] = {
    "line": line,
    "text-frame": text_frame,
    "binary-frame": binary_frame,
    "history": _answer(f"/history/{PROMPT}", 200),
    "queue": _answer("/queue", 200),
    "jobs": _answer("/api/jobs", 200),
    "refusal": _answer("/prompt", 400, "POST"),
    "trace-file": trace_file,
    "log-file": log_file,
    "file-name": file_name,
    "terminal": terminal,
}


def seeds(name: str) -> Iterator[bytes]:
    """Something to begin with: what real servers said, and a little of everything."""
    fixtures = Path(__file__).resolve().parents[1] / "fixtures" / "made"
    kinds = {"line": None, "text-frame": "ws.message", "history": "http.response", "queue": "http.response",
             "jobs": "http.response", "refusal": "http.response"}  # fmt: skip
    yield from (
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\x00\x00\x00\x01\x00\x00\x00\x02\xff\xd8",
        b"../../etc/passwd",
        b"\x1b[2J",
    )
    for path in sorted(fixtures.rglob("*.jsonl"))[:40]:
        content = path.read_bytes()[:20_000]
        if name == "trace-file":
            yield content
        elif name in kinds:
            for each in content.splitlines():
                with suppress(ValueError):
                    told = json.loads(each)
                    if kinds[name] is None:
                        yield each
                    elif told["kind"] == kinds[name]:
                        data = told["data"]
                        yield json.dumps(data if name == "text-frame" else data.get("body")).encode()


def mutated(content: bytes, dice: random.Random) -> bytes:
    """A neighbour of it: some bytes changed, cut out or repeated."""
    made = bytearray(content or b"\0")
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(made))
        match dice.randrange(3):
            case 0:
                made[at] = dice.randrange(256)
            case 1:
                del made[at : at + dice.randint(1, 8)]
            case _:
                made[at:at] = made[at : at + dice.randint(1, 40)]
        made = made or bytearray(b"\0")
    return bytes(made)
