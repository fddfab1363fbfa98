"""Execution part of a ComfyUI: its queue, worker and history, and requests about them."""

from __future__ import annotations

import asyncio
import heapq
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from comfy_fsm.testing.execution.pictures import Files
from comfy_fsm.testing.execution.prompt_executor import PromptExecutor
from comfy_fsm.testing.execution.shared_state import Ended, Item, SharedState
from comfy_fsm.testing.execution.validation import Crash, Problem, Refusal, judge, replaced
from comfy_fsm.testing.faults import Faults
from comfy_fsm.testing.profiles import HISTORY_LIMIT, Profile
from comfy_fsm.testing.sockets import Publisher

__all__ = ["Answer", "BrokenFake", "Entry", "Execution", "State", "is_canonical"]


class BrokenFake(RuntimeError):
    """Error for a failure of the fake itself, not of what it runs."""


_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")
Answer = tuple[int, dict[str, object]]
Entry = dict[str, object]


@dataclass
class State:
    """Memory of a server, and counters over all its lives."""

    queue: list[Item] = field(default_factory=list)  # a heap
    running: list[Item] = field(default_factory=list)
    history: dict[str, Entry] = field(default_factory=dict)
    files: Files = field(default_factory=Files)
    number: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    posts: Counter[str] = field(default_factory=Counter)
    broken: list[Exception] = field(default_factory=list)  # what went wrong in the fake itself
    denied: Counter[str] = field(default_factory=Counter)  # how often a record that is there was answered `{}`

    def own_up(self) -> None:
        """Raise the errors of the fake itself, over all its lives."""
        if self.broken:
            raise BrokenFake(
                f"the fake ComfyUI itself failed, first by {self.broken[0]!r}: what it told since proves nothing; "
                "the fault is that of comfy_fsm.testing, and its traceback was printed when it came"
            ) from self.broken[0]

    def outlive(self, keep: bool) -> None:
        """Clear what a server loses when it dies (P27); with `keep`, what ran starts again."""
        for item in self.running if keep else ():
            heapq.heappush(self.queue, item)
        self.running.clear()
        if not keep:
            self.queue.clear()
            self.history.clear()
            self.number = 0


class Execution:
    """Worker of one server, from its start to its death."""

    def __init__(
        self, profile: Profile, faults: Faults, publisher: Publisher, state: State, step_seconds: float
    ) -> None:
        self.profile = profile
        self.state = state
        self.history_limit = HISTORY_LIMIT if profile.history_is_limited else None
        self.shared = SharedState(profile, faults, state.files, publisher, step_seconds, state.broken)
        self._faults = faults
        self._publisher = publisher
        self._work = asyncio.Event()
        if state.queue:
            self._work.set()

    # what is asked

    def submit(self, body: dict[str, object], source: str | None = None) -> Answer:
        """Validate a posted prompt and queue it (P9, P10); raises Crash if the answer is 500."""
        extra = body.get("extra_data", {})
        if source is not None and isinstance(extra, dict):
            body = {**body, "extra_data": {"comfy_usage_source": source, **extra}}
        try:
            item, node_errors = self._judged(body)
        except Refusal as refusal:
            return 400, refusal.body
        if self.profile.refuses_known_ids and self._knows(item.prompt_id):
            return 409, {"error": "prompt_id already exists"}
        self.put(item)
        return 200, {"prompt_id": item.prompt_id, "number": item.number, "node_errors": node_errors}

    def _judged(self, body: dict[str, object]) -> tuple[Item, dict[str, Problem]]:
        graph = body.get("prompt")
        if graph is None:
            raise Refusal("no_prompt", "No prompt provided", "No prompt provided")
        if not isinstance(graph, dict) or not all(isinstance(node, dict) for node in graph.values()):
            raise Crash("a prompt is an object of nodes")
        own, prompt_id = self.profile.honours_own_ids, self._id_of(body)
        graph = replaced(graph) if self.profile.replaces_nodes else graph
        targets = body.get("partial_execution_targets") if own else None
        verdict = judge(self.profile, self.state.files, graph, targets if isinstance(targets, list) else None)
        extra = _extra_data(body)
        if self.profile.stamps_create_time:
            extra["create_time"] = int(time.time() * 1000)  # whatever the client put there (P44)
        return Item(self._number(body), prompt_id, graph, extra, verdict.outputs), verdict.node_errors

    def _id_of(self, body: dict[str, object]) -> str:
        """Return the client's prompt id if the version honours it; raises Refusal if it is not canonical (P10, P45)."""
        strict = self.profile.demands_canonical_ids
        if not self.profile.honours_own_ids or "prompt_id" not in body or (strict and body["prompt_id"] is None):
            return str(uuid.uuid4())
        given = body["prompt_id"]
        if not strict:
            return str(given)
        if not is_canonical(given):
            said = "job id must be a UUID in canonical lowercase hyphenated form"
            raise Refusal("invalid_prompt_id", f"Invalid prompt_id: {said}", said)
        return str(given)

    def _knows(self, prompt_id: str) -> bool:
        queued = any(item.prompt_id == prompt_id for item in (*self.state.queue, *self.state.running))
        return queued or prompt_id in self.state.history

    def _number(self, body: dict[str, object]) -> float:
        given = body.get("number")
        if given is not None:
            return float(given) if isinstance(given, int | float) else 0.0
        number = -self.state.number if body.get("front") else self.state.number
        self.state.number += 1
        return number

    def put(self, item: Item) -> None:
        """Queue an item; raises Crash if a tie makes the heap compare graphs, although the item is queued (P11)."""
        self.state.posts[item.prompt_id] += 1
        try:
            heapq.heappush(self.state.queue, item)
        except TypeError as error:
            raise Crash(str(error)) from error
        self._work.set()
        self._send_status()

    def remaining(self) -> dict[str, object]:
        return {"exec_info": {"queue_remaining": len(self.state.queue) + len(self.state.running)}}

    def queue(self) -> dict[str, object]:
        """Return every prompt of everybody, in full (P28), unless waiting ones are hidden."""
        running, waiting = map(self.shown, self.state.running), map(self.shown, self.waiting)
        return {"queue_running": [*running], "queue_pending": [*waiting]}

    @property
    def waiting(self) -> list[Item]:
        return [] if self._faults.hide_pending else [*self.state.queue]

    def shown(self, item: Item) -> Item:
        """Return a prompt of the queue, as everybody may see it."""
        return _without_keys(item) if self.profile.hides_keys_in_queue else item

    def remove(self, prompt_ids: Iterable[object] | None = None) -> None:
        """Remove these prompts from the queue, or all; their owners receive a status and nothing else (P30)."""
        gone = None if prompt_ids is None else set(prompt_ids)
        self.state.queue[:] = [item for item in self.state.queue if gone is not None and item.prompt_id not in gone]
        heapq.heapify(self.state.queue)
        self._send_status()

    def interrupt(self, prompt_id: object = None) -> None:
        """Interrupt what runs, whoever owns it, unless the version compares the id and it differs (P31)."""
        named = prompt_id is not None and self.profile.interrupts_by_id
        if not named or any(item.prompt_id == prompt_id for item in self.state.running):
            self.shared.interrupted.set()

    def entry(self, prompt_id: str) -> dict[str, Entry]:
        """Return the history entry; `{}` for anything without one (P26)."""
        history = self.state.history
        if self._faults.spend("empty_history"):
            self.state.denied[prompt_id] += prompt_id in history
            return {}
        if self._faults.spend("foreign_history"):
            return dict(item for item in [*history.items()][-1:] if item[0] != prompt_id) or {"of-another": {}}
        return {prompt_id: history[prompt_id]} if prompt_id in history else {}

    def entries(self, most: int | None, offset: int) -> dict[str, Entry]:
        ids = [*self.state.history]
        start = max(len(ids) - most, 0) if offset < 0 and most is not None else max(offset, 0)
        wanted = ids[start:] if most is None else ids[start : start + most]
        return {prompt_id: self.state.history[prompt_id] for prompt_id in wanted}

    # what runs

    async def keep(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a job of the fake; no failure of it goes unnoticed."""
        try:
            await job()
        except Exception as fault:
            self.state.broken.append(fault)
            traceback.print_exception(fault)

    async def work(self) -> None:
        """Run what waits, one prompt after another, for ever."""
        while True:
            await self._work.wait()
            await self.shared.stand()
            if not self.state.queue:
                self._work.clear()
                continue
            item = heapq.heappop(self.state.queue)
            self.state.running.append(item)
            self._send_status()
            self._scan("paused")
            self.state.runs[item.prompt_id] += 1
            told = not self._faults.spend("lose_end")
            ended = await PromptExecutor(self.shared, item, told).play()
            await asyncio.sleep(self._faults.history_seconds)  # a stated end comes before its entry (P21)
            self._write(item, ended)
            self.state.running.remove(item)
            self._send_status()
            if told and item.client_id is not None:
                null: dict[str, object] = {"node": None, "prompt_id": item.prompt_id}
                self._publisher.enqueue("executing", null, item.client_id)
            self._scan("started", "completed")

    def _write(self, item: Item, ended: Ended) -> None:
        history = self.state.history
        if self.history_limit is not None and len(history) > self.history_limit:
            del history[next(iter(history))]
        if self.profile.hides_keys:
            item = _without_keys(item)
        entry: Entry = {"prompt": [*item], "outputs": ended.outputs}
        if self.profile.history_has_status:
            entry["status"] = self._status(ended)
        if self.profile.expands:
            entry["meta"] = ended.meta
        history[item.prompt_id] = entry

    def _status(self, ended: Ended) -> dict[str, object] | None:
        if self._faults.spend("null_status"):
            return None
        good = ended.success or self.profile.writes_success_for_all or self._faults.spend("stale_status")
        return {"status_str": "success" if good else "error", "completed": good, "messages": ended.messages}

    def _scan(self, *stages: str) -> None:
        """Scan the files if the version has assets; every window is told, without a prompt id (P54)."""
        for stage in stages if self.profile.has_assets and self.profile.assets_are_on else ():
            self._publisher.enqueue(f"assets.seed.{stage}", {}, None)

    def _send_status(self) -> None:
        self._publisher.enqueue("status", {"status": self.remaining()}, None)


def is_canonical(prompt_id: object) -> bool:
    """Return whether this is a UUID as Python writes it: lower case, with hyphens (P45)."""
    try:
        return isinstance(prompt_id, str) and str(uuid.UUID(prompt_id)) == prompt_id
    except ValueError:
        return False


def _without_keys(item: Item) -> Item:
    return item._replace(extra_data={name: value for name, value in item.extra_data.items() if name not in _KEYS})


def _extra_data(body: dict[str, object]) -> dict[str, object]:
    given = body.get("extra_data", {})
    if not isinstance(given, dict):
        raise Crash("extra_data is an object")
    return {**given, "client_id": body["client_id"]} if "client_id" in body else {**given}
