"""Campaign that folds more and more entries of each kind with a growing board, and measures the cost of one entry.

python -m tests.campaigns.growth [--size 500] [--times 4] [CROWD/FLOOD…]

Each pair is a crowd of some size, then a flood of as many entries. What the last of them cost must not grow with the
size: else the time of a replay grows faster than its length. Prints each pair whose cost does, in CPU time.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from comfy_fsm.core.fold import absence, silence
from comfy_fsm.core.fold import responses as answers
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.wire import codec

HERE, THERE, WINDOW, OTHER = "http://one:8188", "http://two:8188", "w", "v"
GONE: dict[str, list[str]] = {"running": [], "pending": []}
SUCCESS = {"status_str": "success", "completed": True, "messages": []}
BEGIN, LAST = 1_795_000_000.0, 16
"""When a trace begins, and of how many entries the cost is measured."""


class Line(NamedTuple):
    kind: str
    data: dict[str, Any]
    window: str = WINDOW
    server: str | None = HERE


Lines = list[Line]


def post(name: str, *, window: str = WINDOW, server: str = HERE, answer: dict[str, Any] | None = None) -> Lines:
    """A POST; unanswered without an answer."""
    body = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": name, "client_id": window}
    asked = {"id": f"post {name} {server}", "method": "POST", "path": "/prompt", "body": body}
    told = {"id": asked["id"], "status": 200, "body": answer}
    answers = [Line("http.response", told, window, server)] if answer is not None else []
    return [Line("http.request", asked, window, server), *answers]


def accepted(name: str, **where: str) -> Lines:
    return post(name, answer={"prompt_id": name}, **where)


def asked(key: object, path: str, answer: object = None, *, status: int = 200, error: str = "", window: str = WINDOW,
          server: str = HERE, method: str = "GET", body: object = None) -> Lines:  # fmt: skip
    """A question, and its answer or the error in place of one."""
    request = {"id": f"ask {path} {key}", "method": method, "path": path, "body": body}
    if error:
        return [Line("http.request", request, window, server),
                Line("http.error", {"id": request["id"], "error": error}, window, server)]  # fmt: skip
    told = {"id": request["id"], "status": status, "body": answer}
    return [Line("http.request", request, window, server), Line("http.response", told, window, server)]


def frame(kind: str, name: str | None, *, window: str = WINDOW, server: str = HERE, **data: Any) -> Line:
    return Line("ws.message", {"type": kind, "data": {"prompt_id": name, **data}}, window, server)


def status(count: int, window: str = WINDOW) -> Line:
    data = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": count}}}}
    return Line("ws.message", data, window)


def command(
    name: str, prompt: str | None = None, *, window: str = WINDOW, server: str | None = HERE, **data: Any
) -> Line:
    return Line("command", {"name": name, "prompt_id": prompt, **data}, window, server)


def record(name: str, outputs: object = None, *, state: dict[str, Any] | None = SUCCESS) -> dict[str, Any]:
    told = {"prompt": [1, name, {}, {}, []], "outputs": outputs or {}}
    return {name: told | ({"status": state} if state is not None else {})}


def answered(name: str, status: int = 200, error: str = "") -> Line:
    """How the POST of it ended."""
    told = {"id": f"post {name} {HERE}"}
    return Line("http.error", told | {"error": error}) if error else Line("http.response", told | {"status": status})


UP, DOWN = Line("ws.open", {}), Line("ws.close", {"code": 1006})
Told = Callable[[int], Lines]

CROWDS: dict[str, Told] = {
    "open tasks": lambda n: accepted(f"t{n}"),
    "tasks of other windows": lambda n: accepted(f"t{n}", window=f"w{n}"),
    "running tasks": lambda n: [*accepted(f"t{n}"), frame("execution_start", f"t{n}")],
    "stated tasks": lambda n: [*accepted(f"t{n}"), frame("execution_success", f"t{n}")],
    "unanswered tasks": lambda n: post(f"t{n}"),
    "uncertain tasks": lambda n: [*post(f"t{n}"), answered(f"t{n}", error="ReadTimeout")],
    "absent tasks": lambda n: [*accepted(f"t{n}"), *asked(n, "/queue", GONE), *asked(n, f"/history/t{n}", {})],
    "lost tasks": lambda n: [
        *accepted(f"t{n}"), Line("trace", {"version": 1, "policy": {"absence_seconds": 0, "settle_seconds": 0}}),
        *(each for k in range(3) for each in (*asked((n, k), "/queue", GONE), *asked((n, k), f"/history/t{n}", {}))),
    ],
    "settled tasks": lambda n: [*accepted(f"t{n}"), frame("execution_success", f"t{n}"),
                                *asked(n, f"/history/t{n}", record(f"t{n}"))],
    "tasks settled by their record alone": lambda n: [*accepted(f"t{n}"), *asked(n, f"/history/t{n}", record(f"t{n}"))],
    "followed tasks": lambda n: [command("follow", f"t{n}")],
    "adopted tasks": lambda n: [frame("execution_start", f"t{n}")],
    "tasks at two servers": lambda n: [*accepted(f"t{n}"), *accepted(f"t{n}", server=THERE)],
    "tasks at ever new servers": lambda n: accepted(f"t{n}", server=f"http://s{n}:8188"),
    "tasks at names of one machine": lambda n: accepted(f"t{n}", server=f"http://u{n}@one:8188"),
    "sought tasks": lambda n: [*accepted(f"t{n}"), command("seek", f"t{n}", to=THERE)],
    "windows": lambda n: [Line("ws.open", {}, f"w{n}")],
    "windows that count": lambda n: [Line("ws.open", {}, f"w{n}"), status(9, f"w{n}"), status(8, f"w{n}")],
    "servers": lambda n: [Line("ws.open", {}, WINDOW, f"http://s{n}:8188")],
    "names of one machine": lambda n: [Line("ws.open", {}, WINDOW, f"http://u{n}@one:8188")],
    "ports of one machine": lambda n: [Line("ws.open", {}, WINDOW, f"http://one:{9000 + n}")],
    "spellings of one server": lambda n: [Line("ws.open", {}, WINDOW, "HTTP://one:8188" + "/" * n)],
    "jobs": lambda n: [command("enqueue", f"t{n}", graph="g")],
    "posted jobs": lambda n: [command("enqueue", f"t{n}", graph="g"), *accepted(f"t{n}")],
    "questions": lambda n: asked(n, f"/history/q{n}", {})[:1],
    "strangers": lambda n: [frame("progress", f"x{n}", value=1, max=2)],
    "notes": lambda n: [Line("ws.message", {"type": "executing", "data": {"node": "1"}}, f"w{n}")],
    "acts": lambda n: asked(n, "/interrupt", method="POST", body={"prompt_id": f"t{n}"}),
    "outputs of one task": lambda n: [frame("executed", "first", node=f"n{n}", output={"images": []})],
    "nodes of one task": lambda n: [frame("execution_cached", "first", nodes=[f"n{n}"])],
    "records of one task": lambda n: asked(n, "/history/first", record("first", {"1": {}}, state=None)),
}  # fmt: skip
"""What may be many on a board: the lines that bring the n-th of it."""


def per_task(tell: Callable[[str, int], Lines]) -> Told:
    return lambda n: tell(f"t{n}", n)


FLOODS: dict[str, Told] = {
    "reconnects": lambda n: [DOWN, UP],
    "reconnects with a question between": lambda n: [DOWN, *asked(n, "/system_stats", {}), UP],
    "reconnects of another window": lambda n: [Line("ws.close", {"code": 1006}, OTHER), Line("ws.open", {}, OTHER)],
    "windows": lambda n: [Line("ws.open", {}, f"new{n}")],
    "servers": lambda n: [Line("ws.open", {}, WINDOW, f"http://new{n}:8188")],
    "ports of one machine": lambda n: [Line("ws.open", {}, WINDOW, f"http://one:{20_000 + n}")],
    "counts": lambda n: [status(9), status(8)],
    "ticks": lambda n: [Line("tick", {})],
    "resumes": lambda n: [command("resume")],
    "resumes of ever new windows": lambda n: [command("resume", window=f"new{n}")],
    "queues": lambda n: asked(n, "/queue", GONE),
    "queues of others": lambda n: asked(n, "/queue", {"running": [f"x{n}"], "pending": []}),
    "silences": lambda n: [*asked(n, "/queue", error="ReadTimeout"), *asked((n, 2), "/queue", GONE)],
    "outages": lambda n: asked(n, "/queue", error="ConnectionRefusedError"),
    "histories": lambda n: asked(n, "/history", {}),
    "histories of others": lambda n: asked(n, "/history", record(f"x{n}")),
    "histories of one": lambda n: asked(n, "/history/first", {}),
    "records of one": lambda n: asked(n, "/history/first", record("first", {"1": {}}, state=None)),
    "records of one that fail": lambda n: asked(n, "/history/first", record("first", {}, state={"status_str": "?"})),
    "jobs of one": lambda n: asked(n, "/api/jobs/first", {"id": "first", "status": "odd"}),
    "lists of jobs": lambda n: asked(n, "/api/jobs", {"jobs": [{"id": "first", "status": "in_progress"}]}),
    "counts by HTTP": lambda n: asked(n, "/prompt", {"exec_info": {"queue_remaining": 3}}),
    "interrupts": lambda n: asked(n, "/interrupt", method="POST", body={}),
    "refused interrupts": lambda n: asked(n, "/interrupt", method="POST", body={}, status=500),
    "deletions": lambda n: asked(n, "/queue", method="POST", body={"delete": [f"t{n}"]}),
    "clearings": lambda n: asked(n, "/history", method="POST", body={"clear": True}),
    "odd routes": lambda n: asked(n, f"/odd/{n}", {}),
    "posts": lambda n: accepted(f"new{n}"),
    "posts of ever new windows": lambda n: accepted(f"new{n}", window=f"new{n}"),
    "posts at ever new servers": lambda n: accepted(f"new{n}", server=f"http://new{n}:8188"),
    "posts that are renamed": lambda n: post(f"new{n}", answer={"prompt_id": f"newer{n}"}),
    "posts without an answer": lambda n: [*post(f"new{n}"), answered(f"new{n}", error="ReadTimeout")],
    "refused posts": lambda n: [*post(f"new{n}"), answered(f"new{n}", 400)],
    "posts of one id": lambda n: [post("again")[0]._replace(data=post("again")[0].data | {"id": f"again {n}"})],
    "progress of one": lambda n: [frame("progress", "first", value=n, max=9)],
    "states of one": lambda n: [frame("progress_state", "first", nodes={"1": {"state": "finished"}})],
    "outputs of one": lambda n: [frame("executed", "first", node=f"m{n}", output={"images": []})],
    "cached nodes of one": lambda n: [frame("execution_cached", "first", nodes=[f"m{n}"])],
    "starts of one": lambda n: [frame("execution_start", "first")],
    "ends of one": lambda n: [frame("executing", "first", node=None)],
    "successes of one": lambda n: [frame("execution_success", "first")],
    "frames overheard": lambda n: [frame("progress", "first", window=OTHER, value=1, max=2)],
    "frames at another server": lambda n: [frame("progress", "first", server=THERE, value=1, max=2)],
    "frames of nobody": lambda n: [frame("progress", None, value=1, max=2)],
    "frames of strangers": lambda n: [frame("progress", f"x{n}", value=1, max=2)],
    "frames of odd types": lambda n: [frame(f"odd{n}", None)],
    "runs that nobody posted": lambda n: [frame("execution_start", f"y{n}"), frame("execution_success", f"y{n}")],
    "binary frames": lambda n: [Line("ws.binary", {"event": 1})],
    "previews of strangers": lambda n: [Line("ws.binary", {"event": 4, "metadata": {"prompt_id": f"x{n}"}})],
    "jobs": lambda n: [command("enqueue", f"new{n}", graph="g")],
    "jobs that are posted": lambda n: [command("enqueue", f"new{n}", graph="g"), *accepted(f"new{n}")],
    "recoveries of one": lambda n: [command("recover", "first")],
    "recoveries of nobody": lambda n: [command("recover", f"x{n}", server=None)],
    "deliveries of nobody": lambda n: [Line("delivered", {"prompt_id": f"x{n}"}, WINDOW, None)],
    "headers": lambda n: [Line("trace", {"version": 1, "policy": {"check_seconds": 3}})],
    "odd lines": lambda n: [Line(f"odd{n}", {})],
    "starts of each": per_task(lambda name, n: [frame("execution_start", name)]),
    "ends of each": per_task(lambda name, n: [frame("executing", name, node=None)]),
    "successes of each": per_task(lambda name, n: [frame("execution_success", name)]),
    "records of each": per_task(lambda name, n: asked(n, f"/history/{name}", record(name))),
    "histories of each": per_task(lambda name, n: asked((n, 7), f"/history/{name}", {})),
    "lists of each": per_task(lambda name, n: asked(n, "/queue", {"running": [name], "pending": []})),
    "404s of each": per_task(lambda name, n: asked(n, f"/api/jobs/{name}", {"error": "Job not found"}, status=404)),
    "recoveries of each": per_task(lambda name, n: [command("recover", name)]),
    "deliveries of each": per_task(lambda name, n: [Line("delivered", {"prompt_id": name})]),
    "searches of each": per_task(
        lambda name, n: [command("seek", name, to=THERE), *asked(n, f"/history/{name}", record(name), server=THERE)]
    ),
    "adoptions of each": per_task(lambda name, n: [command("adopt", name, to=THERE)]),
    "follows of each": per_task(lambda name, n: [command("follow", name, server=THERE)]),
    "rebinds of each": per_task(lambda name, n: [command("recall", name), command("rebind", name, to=f"new{n}")]),
    "frames of each elsewhere": per_task(lambda name, n: [frame("progress", name, server=THERE, value=1, max=2)]),
}  # fmt: skip
"""What may come again and again: the lines of the n-th time; t… are the tasks of the crowd, `first` one beside it."""
STEPS = {"fast": 0.001, "slow": 1.5}
"""Seconds between two entries of a flood."""
PATIENT = replace(Policy(), **dict.fromkeys(("check_seconds", "confirm_seconds", "verify_seconds"), 1e6))
"""Time itself asks for nothing: how much it may ask for in one turn has a test of its own."""


@contextmanager
def few_at_once() -> Iterator[None]:
    """Of a crowd, some are looked at in one turn: here so few that a crowd of this size is one."""
    bounds = ((silence, "_AT_ONCE"), (absence, "AT_ONCE"), (answers, "_UNANSWERED_AT_ONCE"))
    with ExitStack() as stack:
        for module, name in bounds:
            stack.enter_context(patch.object(module, name, 8))
        yield


def begun() -> Iterator[Line]:
    yield from (UP, *accepted("first"), *asked("begin", "/queue", {"running": ["first"], "pending": []}))


def observed(lines: Iterator[Line], at: float, step: float) -> tuple[list[AnyObservation], float]:
    made = []
    for kind, data, window, server in lines:
        at += step
        told = {"at": at, "kind": kind, "window": window, "server": server, "data": data}
        made.append(codec.read(json.dumps(told).encode()))
    return made, at


def cost(crowd: str, flood: str, pace: str, size: int, measure: Callable[[Callable[[], None]], float]) -> float:
    """What the last entries of such a flood cost."""
    before = [*begun(), *(each for n in range(size) for each in CROWDS[crowd](n))]
    first, at = observed(iter(before), BEGIN, 0.001)
    more, at = observed((each for n in range(size // 2) for each in FLOODS[flood](n)), at, STEPS[pace])
    last, at = observed((e for n in range(size // 2, size // 2 + LAST) for e in FLOODS[flood](n)), at, STEPS[pace])
    board = Board(PATIENT)
    for position, observation in enumerate([*first, *more], 1):
        board.fold_observation(position, observation)
        board.discard()

    def rest() -> None:
        for position, observation in enumerate(last, len(first) + len(more) + 1):
            board.fold_observation(position, observation)
            board.discard()

    return measure(rest)


def seconds(work: Callable[[], None]) -> float:
    gc.collect()
    gc.disable()
    began = time.thread_time()
    work()
    took = time.thread_time() - began
    gc.enable()
    return took


def lines_run(work: Callable[[], object]) -> float:
    """How many lines of code it takes."""
    count = 0

    def step(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        nonlocal count
        count += event == "line"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def growth(crowd: str, flood: str, pace: str, size: int, times: int, *, count: bool) -> str:
    """What is told of a pair whose cost grows with its size; nothing, where it does not."""
    measure, least = (lines_run, 400.0) if count else (seconds, 0.0005)
    with few_at_once():
        few, many = (cost(crowd, flood, pace, each, measure) for each in (size, size * times))
    grows = many > least + few * (1 + times) / 2
    return f"{crowd} / {flood} / {pace}: {few:.6g} to {many:.6g}" if grows else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair", nargs="*", help="CROWD/FLOOD/PACE, each may be empty for all")
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--lines", action="store_true", help="count lines of code in place of seconds")
    chosen = parser.parse_args()
    wanted = [[*each.split("/"), "", ""][:3] for each in chosen.pair] or [["", "", ""]]
    pairs = [
        each
        for each in product(CROWDS, FLOODS, STEPS)
        if any(all(a in ("", b) for a, b in zip(words, each, strict=True)) for words in wanted)
    ]
    grown = 0
    for pair in pairs:
        told = growth(*pair, chosen.size, chosen.times, count=chosen.lines)
        if told:
            grown += 1
            print(told, flush=True)
    print(f"growth: {len(pairs)} pairs, {grown} cost more the more there is")
    return bool(grown)


if __name__ == "__main__":
    raise SystemExit(main())
