"""What other tests draw from: a small universe, true runs of a scripted server, odd observations, and mixtures.

The universe is small so that things collide: two servers, three windows, three prompt ids, graphs of three nodes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core import wire
from comfy_fsm.core.board import Board
from comfy_fsm.core.observations import AnyObservation, Entry

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
Source = tuple[str | None, str | None, str]

# folding


def entries(observations: Iterable[AnyObservation], first: int = 1) -> list[Entry]:
    return [Entry(position, o) for position, o in enumerate(observations, first)]


def fold_all(observations: Iterable[AnyObservation], *, finish: bool = True) -> Board:
    board = Board()
    for position, o in enumerate(observations, 1):
        board.fold(Entry(position, o))
    if finish:
        board.finish()
    return board


def outcomes(board: Board) -> dict[tuple[str, str | None], list[tuple[str, str | None]]]:
    """State and outcome of every task, by server and prompt id; a list, since one id may be posted twice."""
    found: dict[tuple[str, str | None], list[tuple[str, str | None]]] = {}
    for task in board.tasks:
        outcome = None if task.outcome is None else str(task.outcome)
        found.setdefault((task.server, task.prompt_id), []).append((str(task.state), outcome))
    return {key: sorted(tasks, key=str) for key, tasks in found.items()}


# mixing


def source_of(o: AnyObservation) -> Source:
    """Whose order an observation keeps: that of one window's socket at one server, or of one window's own acts."""
    if isinstance(o, seen.Opened | seen.Closed | seen.Message | seen.Binary | seen.Undecodable):
        return o.window, o.server, "ws"
    return o.window, None, "http"


def sources_of(observations: Iterable[AnyObservation]) -> list[list[AnyObservation]]:
    found: dict[Source, list[AnyObservation]] = {}
    for o in observations:
        found.setdefault(source_of(o), []).append(o)
    return list(found.values())


def interleave(
    sources: Sequence[Sequence[AnyObservation]], dice: random.Random, lag: int | None = None
) -> list[AnyObservation]:
    """A merge that keeps each source's order; with `lag`, none runs ahead of the oldest by more than so many."""
    order = {id(o): n for n, o in enumerate(sorted((o for s in sources for o in s), key=lambda o: o.at))}
    heads = [0] * len(sources)
    mixed: list[AnyObservation] = []
    while True:
        waiting = [n for n, source in enumerate(sources) if heads[n] < len(source)]
        if not waiting:
            return mixed
        if lag is not None:
            oldest = min(order[id(sources[n][heads[n]])] for n in waiting)
            waiting = [n for n in waiting if order[id(sources[n][heads[n]])] <= oldest + lag]
        chosen = dice.choice(waiting)
        mixed.append(sources[chosen][heads[chosen]])
        heads[chosen] += 1


# true runs


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


@st.composite
def true_runs(draw: st.DrawFn, *, windows: int = 2, servers: int = 2, prompts: int = 3) -> TrueRun:
    profile = draw(st.sampled_from(PROFILES))
    plans = [Plan(draw, prompt_id, windows, servers) for prompt_id in PROMPTS[: draw(st.integers(1, prompts))]]
    script = Script(profile)
    for window in WINDOWS[:windows]:
        for server in SERVERS[:servers]:
            script.open(window, server)
    for plan in plans:
        script.post(plan)
    for plan in plans:
        script.run(plan)
    for plan in plans:
        for _ in range(plan.looks):
            script.look(plan)
    for window, server in sorted(script.ears):
        script.close(window, server)
    return TrueRun(profile, plans, script.seen)


def mixtures(observations: Iterable[AnyObservation]) -> st.SearchStrategy[list[AnyObservation]]:
    """Every merge of the sources of a run; shrinks towards one source after the other."""
    sources = sources_of(observations)
    turns = [n for n, source in enumerate(sources) for _ in source]

    def merge(order: Sequence[int]) -> list[AnyObservation]:
        streams = [iter(source) for source in sources]
        return [next(streams[n]) for n in order]

    return st.permutations(turns).map(merge)


# anything at all

texts = st.text(max_size=8)
prompt_ids = st.sampled_from(PROMPTS)
maybe_ids = st.one_of(prompt_ids, prompt_ids, st.none(), texts)
nodes = st.sampled_from(("1", "2", "3", "9", ""))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def raw(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Raw]:
    return values.map(lambda value: Raw(json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()))


failures = st.builds(
    seen.FailureData, prompt_id=maybe_ids, node_id=st.none() | nodes,
    exception_type=st.sampled_from((None, "ValueError", "ExecutionBlocked")), exception_message=st.none() | texts,
)  # fmt: skip
images = st.just({"images": [{"filename": "x.png", "subfolder": "", "type": "output"}]})
states = st.dictionaries(nodes, st.fixed_dictionaries({"state": st.sampled_from(("running", "finished", "odd"))}))
frames = st.one_of(
    st.builds(seen.Status),
    st.builds(seen.FeatureFlags),
    st.builds(seen.ExecutionStart, st.builds(seen.StartData, maybe_ids, st.none() | st.integers(0, 9).map(float))),
    st.builds(seen.ExecutionCached, st.builds(seen.CachedData, maybe_ids, st.lists(nodes, max_size=3).map(tuple))),
    st.builds(seen.Executing, st.builds(seen.ExecutingData, maybe_ids, st.none() | nodes)),
    st.builds(seen.Executed, st.builds(seen.ExecutedData, maybe_ids, st.none() | nodes, raw(images | json_values))),
    st.builds(seen.Progress, st.builds(seen.PromptData, maybe_ids)),
    st.builds(seen.ProgressState, st.builds(seen.ProgressStateData, maybe_ids, raw(states | json_values))),
    st.builds(seen.ExecutionSuccess, st.builds(seen.PromptData, maybe_ids)),
    st.builds(seen.ExecutionError, failures),
    st.builds(seen.ExecutionInterrupted, failures),
    st.builds(seen.UnrecognizedFrame, texts, texts),
)
records = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.builds(lambda i, o: [1, i, GRAPHS[0], {}, o], maybe_ids, st.lists(nodes)) | json_values,
        "outputs": st.dictionaries(nodes, images | json_values, max_size=3) | json_values,
        "status": json_values | st.builds(
            lambda said, told: {"status_str": said, "completed": None, "messages": told},
            st.sampled_from(("success", "error", "odd", None)),
            st.lists(st.builds(lambda name: [name, {}], st.sampled_from((*TOLD, "odd"))), max_size=2),
        ),
    },
)  # fmt: skip
posts = st.builds(
    lambda i, c, g: {"prompt": g} | ({"prompt_id": i} if i else {}) | ({"client_id": c} if c else {}),
    st.none() | prompt_ids, st.none() | st.sampled_from(WINDOWS), st.sampled_from(GRAPHS) | json_values,
)  # fmt: skip
bodies = st.one_of(
    posts,
    json_values,
    st.dictionaries(prompt_ids, records, max_size=2),
    st.just({}),
    st.builds(lambda i, e: {"prompt_id": i, "node_errors": e}, prompt_ids, json_values),
    st.builds(lambda r, p: {"running": r, "pending": p}, st.lists(prompt_ids), st.lists(prompt_ids)),
    st.builds(lambda r: {"queue_running": [[1, i] for i in r], "queue_pending": []}, st.lists(prompt_ids)),
    st.builds(lambda i: {"delete": [i]}, prompt_ids),
    st.builds(lambda i, s: {"id": i, "status": s}, prompt_ids,
              st.sampled_from(("pending", "in_progress", "completed", "failed", "cancelled", "odd"))),
)  # fmt: skip
paths = st.one_of(
    st.sampled_from(("/prompt", "/api/prompt", "/queue", "/history", "/interrupt", "/api/jobs", "/")),
    st.builds("/history/{}".format, prompt_ids),
    st.builds("/api/jobs/{}".format, prompt_ids),
    st.builds("/api/jobs/{}/cancel".format, prompt_ids),
    texts,
)
request_ids = st.sampled_from("abcdefgh")
requests = st.builds(seen.RequestData, request_ids, st.sampled_from(("GET", "POST")), paths, raw(bodies))
responses = st.builds(seen.ResponseData, request_ids, st.sampled_from((200, 200, 200, 400, 404, 500, 502)), raw(bodies))
_envelope: dict[str, Any] = {
    "at": st.integers(0, 128 * 600).map(lambda ticks: START + ticks / 128),
    "window": st.none() | st.sampled_from(WINDOWS),
    "server": st.none() | st.sampled_from(SERVERS),
    "conn": st.none() | st.integers(0, 2),
}


def seen_as(kind: Any, data: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[AnyObservation]:
    return st.builds(kind, **_envelope, **({} if data is None else {"data": data}))


names = st.sampled_from(("recover", "recover", "callback-cut", "odd"))
observations: st.SearchStrategy[AnyObservation] = st.one_of(
    seen_as(seen.Message, frames),
    seen_as(seen.Message, frames),
    seen_as(seen.Request, requests),
    seen_as(seen.Request, requests),
    seen_as(seen.Response, responses),
    seen_as(seen.Response, responses),
    seen_as(seen.NoAnswer, st.builds(seen.NoAnswerData, request_ids, st.sampled_from(("ReadTimeout", "ConnectError")))),
    seen_as(seen.Opened),
    seen_as(seen.Closed, st.builds(seen.CloseData, st.sampled_from((None, 1000, 1006)))),
    seen_as(seen.Binary, st.builds(seen.BinaryData, st.integers(1, 5), st.none() | st.builds(
        seen.BinaryMetadata, maybe_ids))),
    seen_as(seen.Undecodable, st.builds(seen.UndecodableData, texts, texts)),
    seen_as(seen.Tick),
    seen_as(seen.Command, st.builds(seen.CommandData, names, maybe_ids)),
    seen_as(seen.Delivered, st.builds(seen.DeliveredData, prompt_ids, st.none() | texts)),
    seen_as(seen.Header, st.builds(seen.HeaderData, st.just(1))),
    st.builds(seen.Unrecognized, **_envelope, name=texts, why=texts),
    seen_as(seen.Damaged, st.builds(seen.DamageData, st.sampled_from(("damaged", "undecodable")), texts)),
)  # fmt: skip
