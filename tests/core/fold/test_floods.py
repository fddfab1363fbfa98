"""Tests of floods: whatever a server sends without end, and whatever is done without end to a task, the board is
bounded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.metrics.catalogue import Figures
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry import unreachable_spans
from comfy_fsm.core.wire import codec
from comfy_fsm.watch import projection
from tests.support.flooding import Told, asked, frame

HERE, THERE, WINDOW, TASK = "http://here:1", "http://there:1", "w", "our task"
SMALL = 20
BOUNDS = ("waiting_prompts", "waiting_frames", "unposted", "questions", "homes", "acts", "jobs", "outputs", "findings")
POLICY = replace(Policy(), **dict.fromkeys(BOUNDS, SMALL))
MANY = 24 * SMALL


def size(thing: object, seen: set[int] | None = None) -> int:
    """How many things hang on this one, strings and numbers not counted."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, str | bytes | int | float | Policy | type | None):
        return 0
    seen.add(id(thing))
    if isinstance(thing, dict):
        return len(thing) + sum(size(each, seen) for pair in thing.items() for each in pair)
    if isinstance(thing, msgspec.Struct):
        return 1 + sum(size(getattr(thing, name), seen) for name in thing.__struct_fields__)
    if is_dataclass(thing):
        return 1 + sum(size(getattr(thing, field.name), seen) for field in fields(thing))
    if hasattr(thing, "__dict__"):
        return 1 + size(vars(thing), seen)
    if hasattr(thing, "__iter__"):
        each = list(thing)
        return len(each) + sum(size(one, seen) for one in each)
    return 1


def command(name: str, prompt_id: str | None = TASK, **data: Any) -> Told:
    return "command", {"name": name, "prompt_id": prompt_id, **data}


FRAMES = ("execution_start", "execution_cached", "executing", "executed", "progress", "progress_state",
          "execution_success", "execution_error", "execution_interrupted")  # fmt: skip
FLOODS: dict[str, Callable[[int], list[Told]]] = {
    **{f"{kind} of ever new prompts": lambda n, kind=kind: [frame(kind, f"p{n}", node="1")] for kind in FRAMES},
    **{f"{kind} of one unknown prompt": lambda n, kind=kind: [frame(kind, "p", node="1")] for kind in FRAMES},
    **{f"{kind} of our task": lambda n, kind=kind: [frame(kind, TASK, node=f"n{n}")] for kind in FRAMES},
    "cached nodes": lambda n: [frame("execution_cached", TASK, nodes=[f"n{n}", f"m{n}"])],
    "whole runs that nobody posted": lambda n: [
        frame("execution_start", f"p{n}"), frame("execution_success", f"p{n}"), frame("executing", f"p{n}", node=None)
    ],
    "frames of ever new types": lambda n: [(frame(f"odd{n}", None))],
    "previews of ever new prompts": lambda n: [("ws.binary", {"event": 4, "metadata": {"prompt_id": f"p{n}"}})],
    "frames that cannot be read": lambda n: [("ws.undecodable", {"error": f"e{n}", "text": f"t{n}"})],
    "queues of others": lambda n: asked(n, "/queue", {"running": [f"p{n}"], "pending": [f"q{n}"]}),
    "histories of others": lambda n: asked(n, "/history", {f"p{n}": {"prompt": [1, f"p{n}", {}, {}, []]}}),
    "jobs of others": lambda n: asked(n, "/api/jobs", {"jobs": [{"id": f"p{n}", "status": "completed"}]}),
    "answers that are none": lambda n: asked(n, f"/history/{TASK}", f"<html>{n}", 502),
    "records of others in place of ours": lambda n: asked(n, f"/history/{TASK}", {f"p{n}": {"outputs": {}}}),
    "questions without an answer": lambda n: asked(n, f"/history/{n}", {})[:1],
    "interrupts": lambda n: [("http.request", {"id": f"r{n}", "method": "POST", "path": "/interrupt", "body": {}})],
    "sockets that open and close": lambda n: [("ws.close", {"code": 1006}), ("ws.open", {})],
    "jobs": lambda n: [command("enqueue", f"p{n}")],
    "drained servers": lambda n: [command("drain", None)],
    "servers to seek it at": lambda n: [command("seek", to=THERE)],
    "recoveries": lambda n: [command("recover")],
    "resumes": lambda n: [command("resume", None)],
}  # fmt: skip


def lines(flood: Callable[[int], list[Told]]) -> Iterator[Any]:
    at = 1_795_000_000.0
    body = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": TASK, "client_id": WINDOW}
    begin: list[Told] = [
        ("ws.open", {}),
        ("http.request", {"id": "post", "method": "POST", "path": "/prompt", "body": body}),
        ("http.response", {"id": "post", "status": 200, "body": {"prompt_id": TASK}}),
    ]
    n = 0
    while True:
        for kind, data in begin if n == 0 else flood(n):
            line = {"at": at, "kind": kind, "window": WINDOW, "server": HERE, "data": data}
            yield codec.read(json.dumps(line).encode())
            at += 0.001  # no timer ever comes due
        n += 1


def grown(flood: Callable[[int], list[Told]]) -> list[int]:
    """How large a board is after so many, and after three times as many."""
    board, told, position, sizes = Board(POLICY), lines(flood), 0, []
    figures = Figures(board, [HERE])
    for upto in (MANY, 3 * MANY):
        while position < upto:
            position += 1
            o = next(told)
            board.fold_observation(position, o)
            figures.count(position, o)
        board.drain()
        sizes.append(size(board) + size(figures))
    return sizes


@pytest.mark.parametrize("name", FLOODS)
def test_a_board_stops_growing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreachable_spans, "MOST", SMALL)
    before, after = grown(FLOODS[name])
    assert after <= before + 8


def test_a_board_grows_with_what_we_post_ourselves_so_that_its_size_is_measured_at_all() -> None:
    def posting(n: int) -> list[Told]:
        body = {"prompt": {}, "prompt_id": f"p{n}"}
        return [("http.request", {"id": f"r{n}", "method": "POST", "path": "/prompt", "body": body})]

    before, after = grown(posting)
    assert after > 2 * before


def run_of(n: int) -> list[Told]:
    """Posted, told by two servers, settled, and told again."""
    body = {"prompt": {}, "prompt_id": f"p{n}", "client_id": WINDOW}
    status = {"status_str": "success", "completed": True, "messages": []}
    return [
        ("http.request", {"id": f"p{n}", "method": "POST", "path": "/prompt", "body": body}),
        ("http.response", {"id": f"p{n}", "status": 200, "body": {"prompt_id": f"p{n}"}}),
        frame("execution_start", f"p{n}"),
        frame("execution_success", f"p{n}"),
        *asked(n, f"/history/p{n}", {f"p{n}": {"prompt": [1, f"p{n}", {}, {}, []], "outputs": {}, "status": status}}),
        frame("progress", f"p{n}"),
    ]


@pytest.mark.parametrize("stray", [False, True])
def test_what_watches_for_ever_stops_growing(stray: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With findings at another server, and frames that come when the task was let go long ago."""
    monkeypatch.setattr(projection, "FORGETTING", 16)
    monkeypatch.setattr(projection, "REMEMBERED", 2)
    made, sizes, position, at = projection.Projection(), [], 0, 1_795_000_000.0
    made.board.registry.policy = POLICY
    for n in range(12 * SMALL):
        told = [(each, HERE) for each in run_of(n)]
        told += [(frame("progress", f"p{m}"), THERE) for m in (n, max(0, n - 9))] * stray
        for (kind, data), server in told:
            position += 1
            text = json.dumps({"at": at, "kind": kind, "window": WINDOW, "server": server, "data": data}).encode()
            made.take(position, codec.read(text), text)
            made.view()
        sizes.append(size(made.board))
    early, late = max(sizes[4 * SMALL : 8 * SMALL]), max(sizes[8 * SMALL :])
    assert late <= early + 8
