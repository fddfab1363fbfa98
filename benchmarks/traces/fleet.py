"""Writer of a trace in which queues are long: three servers, each with all of its tasks submitted at once.

    python -m benchmarks.traces.fleet --output fleet.jsonl [--tasks N]
    python -m benchmarks.traces.generate fleet.jsonl --copies 80 --output long-queues.jsonl

Shaped like a busy fleet of 0.3.50: a third of the lines are counts of the queue, a quarter are progress states, and
every other task asks for the queue, whose rows carry their whole graphs. Nothing here is random: the same arguments
give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SERVERS, WINDOWS, STEPS, TASKS = 3, 6, 7, 80
BEGAN = 1_795_000_000
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 0}},
    "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "nearest-exact", "width": 64}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "fleet"}},
}


class Prompt(NamedTuple):
    number: int
    id: str
    window: str

    def row(self) -> list[Any]:
        """Return it as a queue lists it (P28)."""
        return [self.number, self.id, GRAPH, {"client_id": self.window}, ["3"]]


class Line(NamedTuple):
    server: str
    window: str
    kind: str
    data: dict[str, Any]

    def at(self, at: float) -> str:
        told = {"at": round(at, 6), "window": self.window, "server": self.server, "kind": self.kind, "data": self.data}
        return json.dumps(told) + "\n"


class Server:
    """One server, its windows and its prompts."""

    def __init__(self, number: int, tasks: int) -> None:
        self.url = f"http://127.0.0.1:81{number:02}"
        self.windows = [self._id("window", number, n).hex for n in range(WINDOWS)]
        self.prompts = [Prompt(n, str(self._id("prompt", number, n)), self.windows[n % WINDOWS]) for n in range(tasks)]
        self.requests = 0

    @staticmethod
    def _id(*name: object) -> uuid.UUID:
        made = uuid.uuid5(uuid.NAMESPACE_URL, " ".join(map(str, name)))
        return uuid.UUID(int=made.int, version=4)

    def lines(self) -> Iterator[Line]:
        for window in self.windows:
            yield Line(self.url, window, "ws.open", {})
            yield self._status(window, 0, sid=window)
        for n, prompt in enumerate(self.prompts):
            yield from self._submit(prompt, n + 1)
        for n, prompt in enumerate(self.prompts):
            if n % 2:
                yield from self._list(self.prompts[n:], prompt.window)
            yield from self._run(prompt, len(self.prompts) - n)
            yield from self._ask(prompt.window, "GET", f"/history/{prompt.id}", None, {prompt.id: self._record(prompt)})

    def _submit(self, prompt: Prompt, remaining: int) -> Iterator[Line]:
        body = {"prompt": GRAPH, "client_id": prompt.window, "prompt_id": prompt.id}
        answer = {"prompt_id": prompt.id, "number": prompt.number, "node_errors": {}}
        yield from self._ask(prompt.window, "POST", "/prompt", body, answer)
        yield from (self._status(window, remaining) for window in self.windows)

    def _list(self, prompts: list[Prompt], window: str) -> Iterator[Line]:
        rows = [prompt.row() for prompt in prompts]
        yield from self._ask(window, "GET", "/queue", None, {"queue_running": rows[:1], "queue_pending": rows[1:]})

    def _run(self, prompt: Prompt, remaining: int) -> Iterator[Line]:
        def told(kind: str, **data: Any) -> Line:
            message = {"type": kind, "data": {**data, "prompt_id": prompt.id}}
            return Line(self.url, prompt.window, "ws.message", message)

        yield told("execution_start", timestamp=BEGAN * 1000)
        yield told("execution_cached", nodes=[], timestamp=BEGAN * 1000)
        for node in GRAPH:
            yield told("executing", node=node, display_node=node)
            for step in range(STEPS if node == "2" else 2):
                state = {"value": step, "max": STEPS, "state": "running", "node_id": node, "display_node_id": node}
                yield told("progress_state", nodes={node: {**state, "prompt_id": prompt.id, "parent_node_id": None}})
                if node == "2":
                    yield told("progress", value=step, max=STEPS, node=node)
        yield told("executed", node="3", display_node="3", output=self._output(prompt))
        yield told("execution_success", timestamp=BEGAN * 1000)
        yield from (self._status(window, remaining - 1) for window in self.windows)
        yield told("executing", node=None)

    def _output(self, prompt: Prompt) -> dict[str, Any]:
        return {"images": [{"filename": f"fleet_{prompt.number:05}_.png", "subfolder": "", "type": "output"}]}

    def _record(self, prompt: Prompt) -> dict[str, Any]:
        told = {"prompt_id": prompt.id, "timestamp": BEGAN * 1000}
        messages = [["execution_start", told], ["execution_cached", {"nodes": [], **told}], ["execution_success", told]]
        status = {"status_str": "success", "completed": True, "messages": messages}
        return {"prompt": prompt.row(), "outputs": {"3": self._output(prompt)}, "status": status}

    def _status(self, window: str, remaining: int, sid: str | None = None) -> Line:
        data: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": remaining}}}
        return Line(self.url, window, "ws.message", {"type": "status", "data": data | ({"sid": sid} if sid else {})})

    def _ask(self, window: str, method: str, path: str, body: Any, answer: Any) -> Iterator[Line]:
        self.requests += 1
        name = f"{self.url[-4:]}-request-{self.requests}"
        asked = {"id": name, "method": method, "path": path, **({} if body is None else {"body": body})}
        yield Line(self.url, window, "http.request", asked)
        yield Line(self.url, window, "http.response", {"id": name, "status": 200, "body": answer})


def write(output: Path, tasks: int) -> None:
    """Write the three servers side by side, a line of each in turn."""
    servers = [Server(number, tasks).lines() for number in range(SERVERS)]
    with output.open("w") as file:
        for n, line in enumerate(line for lines in zip(*servers, strict=True) for line in lines):
            file.write(line.at(BEGAN + n / 100))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tasks", type=int, default=TASKS, help="of each server")
    given = parser.parse_args()
    write(given.output, given.tasks)


if __name__ == "__main__":
    main()
