"""One prompt at a server, and what its client is told of it, on a clock that moves only where it is said."""

from __future__ import annotations

import json
from typing import Any

from comfy_fsm import Board, Deliver, Entry, Policy, State, read

SERVER, WINDOW, PROMPT = "http://s", "w", "c0000000-0000-4000-8000-000000000000"
POLICY = Policy()
RECORD = {PROMPT: {"prompt": [1, PROMPT, {}, {}, []], "outputs": {},
                   "status": {"status_str": "success", "completed": True, "messages": []}}}  # fmt: skip


class OneTask:
    """A board with one task."""

    board: Board

    @property
    def state(self) -> State:
        (task,) = self.board.tasks
        return task.state

    @property
    def codes(self) -> set[str]:
        return {finding.code for finding in self.board.findings}


class Story(OneTask):
    """A prompt at a server, and what its client is told; time is in seconds, and passes only where it is said."""

    def __init__(self, *, mono: bool = False, policy: Policy = POLICY) -> None:
        self.board = Board(policy)
        self.at, self.wall, self.position, self.asked = 1_000.0, 1_000.0, 0, 0
        self.mono = mono
        self.delivered: list[str] = []

    def tell(self, kind: str, data: Any) -> None:
        self.position += 1
        line = {"at": self.wall, "kind": kind, "data": data, "server": SERVER, "window": WINDOW}
        if self.mono:
            line["mono"] = int(self.at * 1e9)
        self.board.fold(Entry(self.position, read(json.dumps(line).encode())))
        self.delivered += [e.result.state for e in self.board.drain() if isinstance(e, Deliver)]

    def wait(self, seconds: float) -> Story:
        self.at, self.wall = self.at + seconds, self.wall + seconds
        self.tell("tick", {})
        return self

    def ask(self, method: str, path: str, answer: Any, body: Any = None) -> Story:
        self.asked += 1
        self.tell("http.request", {"id": f"r{self.asked}", "method": method, "path": path, "body": body})
        if isinstance(answer, str):
            self.tell("http.error", {"id": f"r{self.asked}", "error": answer})
        else:
            self.tell("http.response", {"id": f"r{self.asked}", "status": 200, "body": answer})
        return self

    def frame(self, kind: str, **data: Any) -> Story:
        self.tell("ws.message", {"type": kind, "data": data})
        return self

    def count(self, remaining: int) -> Story:
        return self.frame("status", status={"exec_info": {"queue_remaining": remaining}})

    def open(self) -> Story:
        self.tell("ws.open", {})
        return self.frame("status", status={"exec_info": {"queue_remaining": 0}}, sid=WINDOW)

    def post(self, answer: Any = None) -> Story:
        body = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": PROMPT, "client_id": WINDOW}
        return self.ask("POST", "/prompt", answer or {"prompt_id": PROMPT, "number": 1, "node_errors": {}}, body)

    def look(self, *, listed: bool = False, record: bool = False) -> Story:
        rows = [[1, PROMPT, {}, {}, []]] if listed else []
        self.ask("GET", "/queue", {"queue_running": [], "queue_pending": rows})
        return self if listed else self.ask("GET", f"/history/{PROMPT}", RECORD if record else {})


def vanished() -> Story:
    """Concluded to be cancelled: pending, and then absent for long enough, as the server counts."""
    story = Story().open().post().count(1).count(0).look().wait(POLICY.absence_seconds / 2).look()
    return story.wait(POLICY.absence_seconds / 2).look().wait(POLICY.settle_seconds)


def never_answered(story: Story | None = None) -> Story:
    """Its POST brought no answer, and it was called lost: absent for long, under the id of our choice."""
    story = (story or Story()).open()
    body = {"prompt": {"1": {"class_type": "A", "inputs": {}}}, "prompt_id": PROMPT, "client_id": WINDOW}
    story.ask("POST", "/prompt", "ReadTimeout", body).wait(POLICY.post_seconds + 1)
    for _ in range(10):
        queue: dict[str, list[Any]] = {"queue_running": [], "queue_pending": []}
        story.ask("GET", "/queue", queue).ask("GET", "/history?max_items=200", {}).wait(3)
    return story
