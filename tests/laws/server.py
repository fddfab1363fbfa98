"""A small universe, and a scripted ComfyUI in it: what each version says to whom, and what each client sees.

The universe is small so that things collide: two servers, three windows, three prompt ids, graphs of three nodes.
Made from protocol.md; the strategies in tests/strategies.py draw from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import count
from typing import Any

from hypothesis import strategies as st

from comfy_fsm.core import wire
from comfy_fsm.core.observations import AnyObservation

SERVERS = ("http://one:8188", "http://two:8188")
WINDOWS = ("window-a", "window-b", "window-c")
PROMPTS = tuple(f"0000000{n}-aaaa-4bbb-8ccc-00000000000{n}" for n in (1, 2, 3))
GRAPHS = (
    {"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "B", "inputs": {"x": ["1", 0]}},
     "3": {"class_type": "C", "inputs": {"x": ["2", 0]}}},
    {"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "C", "inputs": {"x": ["1", 0]}},
     "3": {"class_type": "C", "inputs": {"x": ["1", 0]}}},
)  # fmt: skip
START = 1_795_000_000.0


class Profile:
    """What one server version says, and to whom (protocol.md, What changed when)."""

    def __init__(self, name: str, *, own_ids: bool, success: bool, progress_state: str, record: bool) -> None:
        self.name, self.own_ids, self.success = name, own_ids, success
        self.progress_state, self.record = progress_state, record

    def __repr__(self) -> str:
        return self.name


PROFILES = (
    Profile("2023-10-14", own_ids=False, success=False, progress_state="none", record=False),
    Profile("2024-08-17", own_ids=False, success=True, progress_state="none", record=True),
    Profile("0.3.50", own_ids=True, success=True, progress_state="all", record=True),
    Profile("0.3.64", own_ids=True, success=True, progress_state="owner", record=True),
)
TOLD = ("execution_success", "execution_error", "execution_interrupted")
OLDEST = PROFILES[0]
OUTCOMES = ("success", "error", "interrupt", "deleted")
TRUTH = {"success": "completed", "error": "failed", "interrupt": "cancelled", "deleted": "cancelled"}


class Plan:
    """What becomes of one prompt, and what its window does about it."""

    def __init__(self, draw: st.DrawFn, prompt_id: str, windows: int, servers: int) -> None:
        self.prompt_id = prompt_id
        self.window = WINDOWS[draw(st.integers(0, windows - 1))]
        self.server = SERVERS[draw(st.integers(0, servers - 1))]
        self.graph = draw(st.sampled_from(GRAPHS))
        self.outcome = draw(st.sampled_from(OUTCOMES))
        self.cached = draw(st.sampled_from(((), ("1",), ("1", "2"))))
        self.shows = draw(st.booleans())
        self.addressed = draw(st.integers(0, 3)) > 0
        self.own_id = draw(st.booleans())
        self.drop = draw(st.one_of(st.none(), st.none(), st.integers(0, 12)))
        self.back = draw(st.integers(0, 12))
        self.early_looks = draw(st.integers(0, 2))
        self.looks = draw(st.integers(0, 3))

    def sinks(self) -> list[str]:
        read = {link[0] for node in self.graph.values() for link in node["inputs"].values()}
        return [node for node in self.graph if node not in read]


class Script:
    """A server and its clients, played out in true time; keeps what each source sees."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.seen: list[AnyObservation] = []
        self.ears: set[tuple[str, str]] = set()
        self.records: dict[tuple[str, str], dict[str, Any]] = {}
        self.queued: dict[str, list[str]] = {server: [] for server in SERVERS}
        self.running: dict[str, list[str]] = {server: [] for server in SERVERS}
        self._requests = count(1)
        self._clock = count(1)

    def add(self, kind: str, window: str | None, server: str | None, data: object) -> None:
        at = START + next(self._clock) / 128  # exact in binary, so that no decoder rounds it
        line = {"at": at, "kind": kind, "window": window, "server": server, "data": data}
        self.seen.append(wire.parse(json.dumps(line).encode()))

    def open(self, window: str, server: str) -> None:
        self.ears.add((window, server))
        self.add("ws.open", window, server, {})
        self.frame("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": window}, window, server)

    def close(self, window: str, server: str, code: int = 1000) -> None:
        if (window, server) in self.ears:
            self.ears.discard((window, server))
            self.add("ws.close", window, server, {"code": code})

    def frame(self, kind: str, data: dict[str, Any], window: str, server: str) -> None:
        if (window, server) in self.ears:
            self.add("ws.message", window, server, {"type": kind, "data": data})

    def to_all(self, kind: str, data: dict[str, Any], server: str) -> None:
        for window, ear_server in sorted(self.ears):
            if ear_server == server:
                self.frame(kind, data, window, server)

    def ask(self, method: str, path: str, window: str, server: str, body: object, status: int, answer: object) -> None:
        request = f"r{next(self._requests)}"
        self.add("http.request", window, server, {"id": request, "method": method, "path": path, "body": body})
        self.add("http.response", window, server, {"id": request, "status": status, "body": answer})

    def look(self, plan: Plan) -> None:
        """The queue, and then the history: the only order that proves an absence (P29)."""
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
            body["prompt_id"] = plan.prompt_id if self.profile.own_ids else f"chosen-{plan.prompt_id}"
        answer = {"prompt_id": plan.prompt_id, "number": 1, "node_errors": {}}
        self.ask("POST", "/prompt", plan.window, plan.server, body, 200, answer)
        self.queued[plan.server].append(plan.prompt_id)

    def run(self, plan: Plan) -> None:
        self.queued[plan.server].remove(plan.prompt_id)
        if plan.outcome == "deleted":
            self.ask("POST", "/queue", plan.window, plan.server, {"delete": [plan.prompt_id]}, 200, None)
            return
        self.running[plan.server].append(plan.prompt_id)
        for step, act in enumerate(self.acts(plan)):
            if step == plan.drop:
                self.close(plan.window, plan.server)
            if plan.drop is not None and step == plan.drop + plan.back and (plan.window, plan.server) not in self.ears:
                self.open(plan.window, plan.server)
            act()
            if step % 5 == 4 and plan.early_looks:
                plan.early_looks -= 1
                self.look(plan)

    def acts(self, plan: Plan) -> Iterable[Any]:
        """The server's steps, in the order of P13 and P21."""
        outputs: dict[str, Any] = {}
        stamp = {"timestamp": 1} if self.profile.success else {}

        def say(kind: str, *, broadcast: bool = False, **data: Any) -> Any:
            data = {"prompt_id": plan.prompt_id, **data}
            if plan.addressed and not broadcast:
                return lambda: self.frame(kind, data, plan.window, plan.server)
            return (lambda: self.to_all(kind, data, plan.server)) if broadcast else (lambda: None)

        def state(done: list[str], running: str | None) -> Any:
            nodes = {n: {"state": "finished"} for n in done} | ({running: {"state": "running"}} if running else {})
            if self.profile.progress_state == "none":
                return lambda: None
            widely = self.profile.progress_state == "all" or not plan.addressed
            return say("progress_state", nodes=nodes, broadcast=widely)

        yield say("execution_start", **stamp)
        yield say("execution_cached", nodes=list(plan.cached), **stamp)
        for node in (n for n in plan.cached if n in plan.sinks() and self.profile.success):
            outputs |= {node: {"text": ["kept"]}} if plan.shows else {}
            yield say("executed", node=node, output=outputs.get(node))  # cached outputs are told again (P14)
        done: list[str] = []
        for node in (n for n in plan.graph if n not in plan.cached):
            yield state(done, node)
            yield say("executing", node=node)
            yield say("progress", value=1, max=1, node=node, broadcast=not plan.addressed)
            if plan.outcome in ("error", "interrupt") and node == plan.sinks()[-1]:
                break
            if plan.shows and node in plan.sinks():
                outputs[node] = {"images": [{"filename": f"{node}.png", "subfolder": "", "type": "output"}]}
                yield say("executed", node=node, output=outputs[node])
            done.append(node)
            yield state(done, None)
        messages: list[Any] = [["execution_start", {"prompt_id": plan.prompt_id, **stamp}]]
        if plan.outcome != "success":
            name = "execution_error" if plan.outcome == "error" else "execution_interrupted"
            data = {"node_id": "3", "node_type": "C", "exception_type": "ValueError", "exception_message": "no"}
            messages.append([name, {"prompt_id": plan.prompt_id, **data}])
            yield say(name, broadcast=not plan.addressed and name == "execution_interrupted", **data)
        elif self.profile.success:
            messages.append(["execution_success", {"prompt_id": plan.prompt_id, **stamp}])
            yield say("execution_success", **stamp)
        yield lambda: self.record(plan, outputs, messages)
        yield lambda: self.to_all("status", {"status": {"exec_info": {"queue_remaining": 0}}}, plan.server)
        yield say("executing", node=None)

    def record(self, plan: Plan, outputs: dict[str, Any], messages: list[Any]) -> None:
        self.running[plan.server].remove(plan.prompt_id)
        entry: dict[str, Any] = {"prompt": [1, plan.prompt_id, plan.graph, {}, plan.sinks()], "outputs": outputs}
        if self.profile.record:
            said = "success" if plan.outcome == "success" else "error"
            entry["status"] = {"status_str": said, "completed": said == "success", "messages": messages}
        self.records[plan.server, plan.prompt_id] = entry


class TrueRun:
    """What each source saw of a run that really could have been, with what the server really did."""

    def __init__(self, profile: Profile, plans: list[Plan], observations: list[AnyObservation]) -> None:
        self.profile, self.plans, self.observations = profile, plans, observations
        self.truth = {plan.prompt_id: TRUTH[plan.outcome] for plan in plans}

    def told_ended(self) -> set[str]:
        """The prompts of which the server said that they ended, by `executing` null or by a record."""
        found: set[str] = set()
        for value in (json.loads(wire.encode(o)) for o in self.observations):
            data = value.get("data", {})
            if data.get("type") == "executing" and data["data"].get("node") is None:
                found.add(data["data"]["prompt_id"])
            body = data.get("body") if value["kind"] == "http.response" else None
            found |= set(body) & set(PROMPTS) if isinstance(body, dict) else set()
        return found

    def __repr__(self) -> str:
        return f"TrueRun {self.profile}\n" + "\n".join(wire.encode(o).decode() for o in self.observations)
