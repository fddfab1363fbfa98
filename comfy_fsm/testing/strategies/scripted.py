"""Scripted ComfyUI in a small universe: what each version sends to whom, and what each client sees.

The universe is small so that things collide: two servers, three windows, three prompt ids, graphs of three nodes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.wire import codec
from comfy_fsm.testing.profiles import Profile, profile_of

__all__ = [
    "GRAPHS",
    "OLDEST",
    "PROMPTS",
    "SERVERS",
    "START",
    "TOLD",
    "TRUTH",
    "VERSIONS",
    "WINDOWS",
    "Plan",
    "Script",
    "TrueRun",
]

SERVERS = ("http://one:8188", "http://two:8188")
WINDOWS = ("window-a", "window-b", "window-c")
PROMPTS = tuple(f"0000000{n}-aaaa-4bbb-8ccc-00000000000{n}" for n in (1, 2, 3))
GRAPHS: tuple[dict[str, dict[str, Any]], ...] = (
    {"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "B", "inputs": {"x": ["1", 0]}},
     "3": {"class_type": "C", "inputs": {"x": ["2", 0]}}},
    {"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "C", "inputs": {"x": ["1", 0]}},
     "3": {"class_type": "C", "inputs": {"x": ["1", 0]}}},
)  # fmt: skip
START = 1_795_000_000.0
VERSIONS = tuple(map(profile_of, ("2023-10-14", "2024-08-17", "0.3.50", "0.3.64")))
"""Those that differ in what they tell of a run."""
OLDEST = VERSIONS[0]
TOLD = ("execution_success", "execution_error", "execution_interrupted")
TRUTH = {"success": "completed", "error": "failed", "interrupt": "cancelled", "deleted": "cancelled"}
"""What may become of a prompt, and the outcome that a client must come to."""
_FAILURE = {"node_id": "3", "node_type": "C", "exception_type": "ValueError", "exception_message": "no"}

_Act = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan of one prompt: its outcome, and what its window does about it."""

    prompt_id: str
    window: str
    server: str
    graph: dict[str, dict[str, Any]]
    outcome: str
    cached: tuple[str, ...] = ()
    shows: bool = True
    """Whether its outputs have something to show."""
    addressed: bool = True
    """Whether it was posted with a client id."""
    own_id: bool = True
    """Whether the client chose its prompt id."""
    drop: int | None = None
    """At which step of the run its socket drops, if it does."""
    back: int = 0
    """How many steps later it is open again."""
    early_queries: int = 0
    """How often it looks while it runs."""
    looks: int = 0
    """How often it looks afterwards."""

    def sinks(self) -> list[str]:
        read = {link[0] for node in self.graph.values() for link in node["inputs"].values()}
        return [node for node in self.graph if node not in read]


class Script:
    """Server with its clients, played out in true time; records what each source sees."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.seen: list[AnyObservation] = []
        self.connected: set[tuple[str, str]] = set()
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        self.queued: dict[str, list[str]] = {server: [] for server in SERVERS}
        self.running: dict[str, list[str]] = {server: [] for server in SERVERS}
        self._requests = count(1)
        self._clock = count(1)

    def add(self, kind: str, window: str | None, server: str | None, data: object) -> None:
        at = START + next(self._clock) / 128  # exact in binary, so that no decoder rounds it
        line = {"at": at, "kind": kind, "window": window, "server": server, "data": data}
        self.seen.append(codec.parse(json.dumps(line).encode()))

    def open(self, window: str, server: str) -> None:
        self.connected.add((window, server))
        self.add("ws.open", window, server, {})
        self.frame("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": window}, window, server)

    def close(self, window: str, server: str, code: int = 1000) -> None:
        if (window, server) in self.connected:
            self.connected.discard((window, server))
            self.add("ws.close", window, server, {"code": code})

    def frame(self, kind: str, data: dict[str, Any], window: str, server: str) -> None:
        if (window, server) in self.connected:
            self.add("ws.message", window, server, {"type": kind, "data": data})

    def to_all(self, kind: str, data: dict[str, Any], server: str) -> None:
        for window, at in sorted(self.connected):
            if at == server:
                self.frame(kind, data, window, server)

    def ask(self, method: str, path: str, window: str, server: str, body: object, status: int, answer: object) -> None:
        request = f"r{next(self._requests)}"
        self.add("http.request", window, server, {"id": request, "method": method, "path": path, "body": body})
        self.add("http.response", window, server, {"id": request, "status": status, "body": answer})

    def query(self, plan: Plan) -> None:
        """Query the queue, then the history: the only order that proves an absence (P29)."""
        parts = ([[1, i, {}, {}, []] for i in q[plan.server]] for q in (self.running, self.queued))
        queue = dict(zip(("queue_running", "queue_pending"), parts, strict=True))
        self.ask("GET", "/queue", plan.window, plan.server, None, 200, queue)
        record = self.records.get((plan.server, plan.prompt_id))
        answer = {plan.prompt_id: record} if record is not None else {}
        self.ask("GET", f"/history/{plan.prompt_id}", plan.window, plan.server, None, 200, answer)

    def post(self, plan: Plan) -> None:
        body: dict[str, Any] = {"prompt": plan.graph}
        if plan.addressed:
            body["client_id"] = plan.window
        if plan.own_id:  # an older server ignores it, and answers its own (P10)
            body["prompt_id"] = plan.prompt_id if self.profile.honours_own_ids else f"chosen-{plan.prompt_id}"
        answer = {"prompt_id": plan.prompt_id, "number": 1, "node_errors": {}}
        self.ask("POST", "/prompt", plan.window, plan.server, body, 200, answer)
        self.queued[plan.server].append(plan.prompt_id)

    def run(self, plan: Plan) -> None:
        self.queued[plan.server].remove(plan.prompt_id)
        if plan.outcome == "deleted":
            self.ask("POST", "/queue", plan.window, plan.server, {"delete": [plan.prompt_id]}, 200, None)
            return
        self.running[plan.server].append(plan.prompt_id)
        looks = iter(range(plan.early_queries))
        for step, act in enumerate(_RunScript(self, plan).acts()):
            if step == plan.drop:
                self.close(plan.window, plan.server)
            is_back = plan.drop is not None and step == plan.drop + plan.back
            if is_back and (plan.window, plan.server) not in self.connected:
                self.open(plan.window, plan.server)
            act()
            if step % 5 == 4 and next(looks, None) is not None:
                self.query(plan)

    def record(self, plan: Plan, outputs: dict[str, Any], messages: list[Any]) -> None:
        """Write the history entry."""
        self.running[plan.server].remove(plan.prompt_id)
        entry: dict[str, Any] = {"prompt": [1, plan.prompt_id, plan.graph, {}, plan.sinks()], "outputs": outputs}
        if self.profile.history_has_status:
            said = "success" if plan.outcome == "success" else "error"
            entry["status"] = {"status_str": said, "completed": said == "success", "messages": messages}
        self.records[plan.server, plan.prompt_id] = entry


class _RunScript:
    """Run of a prompt as its server reports it, in the order of P13 and P21."""

    def __init__(self, script: Script, plan: Plan) -> None:
        self._script, self._plan, self._profile = script, plan, script.profile
        self._outputs: dict[str, Any] = {}
        self._stamp: dict[str, Any] = {"timestamp": 1} if self._profile.states_success else {}

    def acts(self) -> Iterator[_Act]:
        plan = self._plan
        yield self._say("execution_start", **self._stamp)
        yield self._say("execution_cached", nodes=list(plan.cached), **self._stamp)
        yield from self._cached()
        yield from self._nodes()
        yield from self._end()
        yield lambda: self._script.to_all("status", {"status": {"exec_info": {"queue_remaining": 0}}}, plan.server)
        yield self._say("executing", node=None)

    def _cached(self) -> Iterator[_Act]:
        """Report cached outputs again (P14)."""
        plan = self._plan
        for node in (n for n in plan.cached if n in plan.sinks() and self._profile.states_success):
            self._outputs |= {node: {"text": ["kept"]}} if plan.shows else {}
            yield self._say("executed", node=node, output=self._outputs.get(node))

    def _nodes(self) -> Iterator[_Act]:
        plan, done = self._plan, list[str]()
        for node in (n for n in plan.graph if n not in plan.cached):
            yield self._state(done, node)
            yield self._say("executing", node=node)
            yield self._say("progress", value=1, max=1, node=node, broadcast=not plan.addressed)
            if plan.outcome in ("error", "interrupt") and node == plan.sinks()[-1]:
                return
            if plan.shows and node in plan.sinks():
                self._outputs[node] = {"images": [{"filename": f"{node}.png", "subfolder": "", "type": "output"}]}
                yield self._say("executed", node=node, output=self._outputs[node])
            done.append(node)
            yield self._state(done, None)

    def _end(self) -> Iterator[_Act]:
        """Report the end, if the version does, and then write the history entry."""
        plan = self._plan
        messages: list[Any] = [["execution_start", {"prompt_id": plan.prompt_id, **self._stamp}]]
        if plan.outcome != "success":
            name = "execution_error" if plan.outcome == "error" else "execution_interrupted"
            messages.append([name, {"prompt_id": plan.prompt_id, **_FAILURE}])
            yield self._say(name, broadcast=not plan.addressed and name == "execution_interrupted", **_FAILURE)
        elif self._profile.states_success:
            messages.append(["execution_success", {"prompt_id": plan.prompt_id, **self._stamp}])
            yield self._say("execution_success", **self._stamp)
        yield lambda: self._script.record(plan, self._outputs, messages)

    def _say(self, kind: str, *, broadcast: bool = False, **data: Any) -> _Act:
        plan, told = self._plan, {"prompt_id": self._plan.prompt_id, **data}
        if broadcast:
            return lambda: self._script.to_all(kind, told, plan.server)
        if plan.addressed:
            return lambda: self._script.frame(kind, told, plan.window, plan.server)
        return lambda: None

    def _state(self, done: Iterable[str], running: str | None) -> _Act:
        nodes = {n: {"state": "finished"} for n in done} | ({running: {"state": "running"}} if running else {})
        if not self._profile.honours_own_ids:
            return lambda: None
        widely = not self._profile.progress_state_is_private or not self._plan.addressed
        return self._say("progress_state", nodes=nodes, broadcast=widely)


class TrueRun:
    """Run as it could really happen: what each source saw, and what the server did.

    `truth` has, by prompt id, the outcome that a client must reach if it reaches one.
    """

    def __init__(self, profile: Profile, plans: list[Plan], observations: list[AnyObservation]) -> None:
        self.profile, self.plans, self.observations = profile, plans, observations
        self.truth = {plan.prompt_id: TRUTH[plan.outcome] for plan in plans}

    @property
    def lines(self) -> list[bytes]:
        """Lines of a trace, to be replayed, written to a file, or played by a fake."""
        return [codec.encode(o) for o in self.observations]

    def reported_ended(self) -> set[str]:
        """Return the prompts whose end was reported, by `executing` null or by a record."""
        found: set[str] = set()
        for value in (json.loads(codec.encode(o)) for o in self.observations):
            data = value.get("data", {})
            if data.get("type") == "executing" and data["data"].get("node") is None:
                found.add(data["data"]["prompt_id"])
            body = data.get("body") if value["kind"] == "http.response" else None
            found |= set(body) & set(PROMPTS) if isinstance(body, dict) else set()
        return found

    def __repr__(self) -> str:
        return f"TrueRun {self.profile.version}\n" + "\n".join(codec.encode(o).decode() for o in self.observations)
