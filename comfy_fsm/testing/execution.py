"""The part of a ComfyUI that runs prompts: its queue, its worker, its history, and what may be asked of them."""

from __future__ import annotations

import asyncio
import heapq
import traceback
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field

from comfy_fsm.testing.faults import Faults
from comfy_fsm.testing.graphs import Crash, Problem, Refusal, judge
from comfy_fsm.testing.pictures import Files
from comfy_fsm.testing.profiles import HISTORY_LIMIT, Profile
from comfy_fsm.testing.publishing import Publisher
from comfy_fsm.testing.running import Ended, House, Item, Running


class BrokenFake(RuntimeError):
    """The fake itself failed, and not what it was asked to run."""


KEYS = ("auth_token_comfy_org", "api_key_comfy_org")
Answer = tuple[int, dict[str, object]]
Entry = dict[str, object]


@dataclass
class State:
    """What a server holds in memory, and what is counted of it over all its lives."""

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
        """Raise what went wrong in the fake itself, over all its lives."""
        if self.broken:
            raise BrokenFake(
                f"the fake ComfyUI itself failed, first by {self.broken[0]!r}: what it told since proves nothing; "
                "the fault is that of comfy_fsm.testing, and its traceback was printed when it came"
            ) from self.broken[0]

    def outlive(self, keep: bool) -> None:
        """The server died, and with it what it knew (P27); if kept, what ran begins again."""
        for item in self.running if keep else ():
            heapq.heappush(self.queue, item)
        self.running.clear()
        if not keep:
            self.queue.clear()
            self.history.clear()
            self.number = 0


class Execution:
    """One server's worker, from its start to its death."""

    def __init__(
        self, profile: Profile, faults: Faults, publisher: Publisher, state: State, step_seconds: float
    ) -> None:
        self.profile = profile
        self.state = state
        self.history_limit = HISTORY_LIMIT if profile.history_is_limited else None
        self.house = House(profile, faults, state.files, publisher, step_seconds, state.broken)
        self._faults = faults
        self._publisher = publisher
        self._work = asyncio.Event()
        if state.queue:
            self._work.set()

    # what is asked

    def submit(self, body: dict[str, object]) -> Answer:
        """Judge a posted prompt and queue it (P9, P10); raises Crash where it is answered 500."""
        try:
            item, node_errors = self._judged(body)
        except Refusal as refusal:
            return 400, refusal.body
        self.put(item)
        return 200, {"prompt_id": item.prompt_id, "number": item.number, "node_errors": node_errors}

    def _judged(self, body: dict[str, object]) -> tuple[Item, dict[str, Problem]]:
        graph = body.get("prompt")
        if graph is None:
            raise Refusal("no_prompt", "No prompt provided", "No prompt provided")
        if not isinstance(graph, dict) or not all(isinstance(node, dict) for node in graph.values()):
            raise Crash("a prompt is an object of nodes")
        own = self.profile.honours_own_ids
        prompt_id = str(body["prompt_id"]) if own and "prompt_id" in body else str(uuid.uuid4())
        if self.profile.has_jobs and not _is_canonical(prompt_id):
            raise Refusal(
                "invalid_prompt_id", "job id must be a UUID in canonical lowercase hyphenated form", prompt_id
            )
        targets = body.get("partial_execution_targets") if own else None
        verdict = judge(self.profile, self.state.files, graph, targets if isinstance(targets, list) else None)
        item = Item(self._number(body), prompt_id, graph, _extra_data(body), verdict.outputs)
        return item, verdict.node_errors

    def _number(self, body: dict[str, object]) -> float:
        given = body.get("number")
        if given is not None:
            return float(given) if isinstance(given, int | float) else 0.0
        number = -self.state.number if body.get("front") else self.state.number
        self.state.number += 1
        return number

    def put(self, item: Item) -> None:
        """Queue it; where a tie makes the heap compare graphs, it is queued and this raises Crash (P11)."""
        self.state.posts[item.prompt_id] += 1
        try:
            heapq.heappush(self.state.queue, item)
        except TypeError as error:
            raise Crash(str(error)) from error
        self._work.set()
        self._tell_status()

    def remaining(self) -> dict[str, object]:
        return {"exec_info": {"queue_remaining": len(self.state.queue) + len(self.state.running)}}

    def queue(self) -> dict[str, object]:
        """Every prompt of everybody, whole (P28), unless what waits is hidden."""
        waiting = [] if self._faults.hide_pending else [*self.state.queue]
        return {"queue_running": [*self.state.running], "queue_pending": waiting}

    def remove(self, prompt_ids: Iterable[object] | None = None) -> None:
        """Out of the queue, all of it if none are named; the owners are told nothing but a status (P30)."""
        gone = None if prompt_ids is None else set(prompt_ids)
        self.state.queue[:] = [item for item in self.state.queue if gone is not None and item.prompt_id not in gone]
        heapq.heapify(self.state.queue)
        self._tell_status()

    def interrupt(self, prompt_id: object = None) -> None:
        """What runs, whoever owns it, unless the version looks at the id and it is another's (P31)."""
        named = prompt_id is not None and self.profile.interrupts_by_id
        if not named or any(item.prompt_id == prompt_id for item in self.state.running):
            self.house.interrupted.set()

    def entry(self, prompt_id: str) -> dict[str, Entry]:
        """`{}` for whatever has no entry, alike (P26)."""
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

    def job(self, prompt_id: str) -> dict[str, object] | None:
        """The same, in the words of the jobs (P32)."""
        for status, items in (("in_progress", self.state.running), ("pending", self.state.queue)):
            for item in items:
                if item.prompt_id == prompt_id:
                    return {"id": prompt_id, "status": status, "priority": item.number, "outputs_count": 0}
        entry = self.state.history.get(prompt_id)
        return _job_of(prompt_id, entry) if entry is not None else None

    def jobs(self) -> list[dict[str, object]]:
        ids = [item.prompt_id for item in (*self.state.running, *self.state.queue)]
        found = (self.job(prompt_id) for prompt_id in dict.fromkeys([*ids, *reversed(self.state.history)]))
        return [job for job in found if job is not None]

    def cancel(self, prompt_id: str) -> bool | None:
        """Whether there was something to cancel; None of an unknown prompt (P32)."""
        job = self.job(prompt_id)
        if job is not None and job["status"] == "pending":
            self.remove([prompt_id])
        elif job is not None and job["status"] == "in_progress":
            self.interrupt(prompt_id)
        return None if job is None else job["status"] in ("pending", "in_progress")

    # what runs

    async def keep(self, job: Coroutine[object, object, None]) -> None:
        """Nothing of the fake dies in silence."""
        try:
            await job
        except Exception as fault:
            self.state.broken.append(fault)
            traceback.print_exception(fault)

    async def work(self) -> None:
        """Run what waits, one after another, for ever."""
        while True:
            await self._work.wait()
            await self.house.stand()
            if not self.state.queue:
                self._work.clear()
                continue
            item = heapq.heappop(self.state.queue)
            self.state.running.append(item)
            self._tell_status()
            self.state.runs[item.prompt_id] += 1
            told = not self._faults.spend("lose_end")
            ended = await Running(self.house, item, told).play()
            await asyncio.sleep(self._faults.history_seconds)  # a stated end comes before its entry (P21)
            self._write(item, ended)
            self.state.running.remove(item)
            self._tell_status()
            if told and item.client_id is not None:
                null: dict[str, object] = {"node": None, "prompt_id": item.prompt_id}
                self._publisher.tell("executing", null, item.client_id)

    def _write(self, item: Item, ended: Ended) -> None:
        history = self.state.history
        if self.history_limit is not None and len(history) > self.history_limit:
            del history[next(iter(history))]
        if self.profile.hides_keys:
            item = item._replace(extra_data={k: v for k, v in item.extra_data.items() if k not in KEYS})
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

    def _tell_status(self) -> None:
        self._publisher.tell("status", {"status": self.remaining()}, None)


def _extra_data(body: dict[str, object]) -> dict[str, object]:
    given = body.get("extra_data", {})
    if not isinstance(given, dict):
        raise Crash("extra_data is an object")
    return {**given, "client_id": body["client_id"]} if "client_id" in body else {**given}


def _is_canonical(prompt_id: str) -> bool:
    try:
        return str(uuid.UUID(prompt_id)) == prompt_id
    except ValueError:
        return False


def _job_of(prompt_id: str, entry: Entry) -> dict[str, object]:
    """An entry, judged as those servers do: by `status_str`, and an interrupt by its message."""
    status = entry.get("status")
    messages = status["messages"] if isinstance(status, dict) else []
    told = dict(messages)
    failed = isinstance(status, dict) and status["status_str"] == "error"
    outcome = "cancelled" if failed and "execution_interrupted" in told else "failed" if failed else "completed"
    job = {"id": prompt_id, "status": outcome, "outputs": entry["outputs"], "execution_status": status}
    return job | ({"execution_error": told["execution_error"]} if "execution_error" in told else {})
