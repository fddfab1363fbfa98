"""Reference models, slow and obvious, from the design and not from the code: the machine as a matrix, the fold as
ifs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.wire import codec

OUTCOMES = {"execution_success": "completed", "execution_error": "failed", "execution_interrupted": "cancelled"}

# One column a state, one row a signal; `.` stays. Written by hand: to compute it from TABLE would prove nothing.
MATRIX = """
         submitting  uncertain   pending     in_progress ending      completed failed cancelled rejected lost      expired
accept   pending     pending     .           .           .           .         .      .         .        .         .
reject   rejected    rejected    .           .           .           .         .      .         .        .         .
doubt    uncertain   .           .           .           .           .         .      .         .        .         .
queue    pending     pending     .           .           .           .         .      .         .        .         .
run      in_progress in_progress in_progress .           in_progress .         .      .         .        .         .
trail    in_progress in_progress in_progress .           .           .         .      .         .        .         .
exhaust  ending      ending      ending      ending      .           .         .      .         .        .         .
end      ending      ending      ending      ending      .           .         .      .         .        .         .
tell     ending      ending      ending      ending      .           .         .      .         .        .         .
complete completed   completed   completed   completed   completed   .         .      .         .        .         .
fail     failed      failed      failed      failed      failed      .         .      .         .        .         .
cancel   cancelled   cancelled   cancelled   cancelled   cancelled   .         .      .         .        .         .
lose     lost        lost        lost        lost        lost        .         .      .         .        .         .
expire   expired     expired     expired     expired     expired     .         .      .         .        .         .
recover  .           .           .           .           .           .         .      .         .        uncertain uncertain
adopt    uncertain   .           uncertain   uncertain   uncertain   .         .      .         .        uncertain uncertain
reopen   .           .           .           .           .           .         .      uncertain .        uncertain uncertain
"""  # noqa: E501 - a matrix is read by its columns


def matrix() -> dict[tuple[str, str], str]:
    """(state, signal) to the next state, for every pair."""
    head, *rows = (line.split() for line in MATRIX.strip().splitlines())
    return {
        (state, signal): state if following == "." else following
        for signal, *cells in rows
        for state, following in zip(head, cells, strict=True)
    }


def differences(moves: Mapping[State, Mapping[Any, State]]) -> list[tuple[str, str]]:
    """The pairs on which a compiled table and the matrix disagree."""
    wanted = matrix()
    found = {(str(state), str(signal)): str(target) for state, row in moves.items() for signal, target in row.items()}
    return sorted(pair for pair in wanted.keys() | found.keys() if wanted.get(pair) != found.get(pair))


# the fold, for one window at one server


def plain(value: Any) -> Any:
    return msgspec.json.decode(codec.encode(value))


def judge(observations: Sequence[AnyObservation]) -> dict[str, tuple[str, str | None]]:
    """State and outcome of each posted prompt, by looking through everything for each of them."""
    lines = [plain(o) for o in observations]
    answers = {line["data"]["id"]: (n, line) for n, line in enumerate(lines) if line["kind"] == "http.response"}
    found = {}
    for line in lines:
        if line["kind"] == "http.request" and line["data"]["path"] == "/prompt":
            prompt_id = answers[line["data"]["id"]][1]["data"]["body"]["prompt_id"]
            found[prompt_id] = _judge_one(lines, prompt_id, line["data"]["body"])
    return found


def _judge_one(lines: list[Any], prompt_id: str, post: Any) -> tuple[str, str | None]:
    frames = [(n, x["data"]["type"], x["data"]["data"]) for n, x in enumerate(lines)
              if x["kind"] == "ws.message" and x["data"].get("data", {}).get("prompt_id") == prompt_id]  # fmt: skip
    stated = _stated(lines, frames, post)
    for record in _records(lines, prompt_id):
        if "status" in record:
            messages = [name for name, _ in record["status"]["messages"]]
            if "execution_interrupted" in messages:
                return "cancelled", "cancelled"
            return ("completed", "completed") if record["status"]["status_str"] == "success" else ("failed", "failed")
        if stated is not None:
            return stated, stated
        through = _heard_whole(lines, frames) and not _left(post, frames, begun=True)
        if through or all(sink in record["outputs"] for sink in _sinks(post["prompt"])):
            return "completed", "completed"
        return "ending", None
    if _was_deleted(lines, prompt_id) and _absent(lines, prompt_id):
        return "cancelled", "cancelled"
    if stated is not None:
        return "ending", stated
    if any(kind == "executing" and data.get("node") is None for _, kind, data in frames):
        return "ending", None
    return _where(lines, prompt_id, post), None


def _sinks(graph: Any) -> set[str]:
    return set(graph) - {link[0] for node in graph.values() for link in node["inputs"].values()}


def _stated(lines: list[Any], frames: list[Any], post: Any) -> str | None:
    """What the frames say about how it ended, or, on the oldest servers, what they do not say."""
    for _, kind, _ in frames:
        if kind in OUTCOMES:
            return OUTCOMES[kind]
    return "completed" if _heard_whole(lines, frames) and not _left(post, frames) else None


def _heard_whole(lines: list[Any], frames: list[Any]) -> bool:
    """From its start to `executing` null without a gap, on a server that does not state a success by name."""
    begun = [n for n, kind, data in frames if kind == "execution_start" and "timestamp" not in data]
    ended = [n for n, kind, data in frames if kind == "executing" and data.get("node") is None]
    return bool(begun and ended) and not any(x["kind"] == "ws.close" for x in lines[begun[0] : ended[0]])


def _left(post: Any, frames: list[Any], *, begun: bool = False) -> set[str]:
    """The sinks that have not told `executed`; the oldest servers tell nothing of cached ones (P14)."""
    left, stamped = _sinks(post["prompt"]), False
    for _, kind, data in frames:
        stamped = stamped or (kind == "execution_start" and "timestamp" in data)
        if kind == "executed" or (kind == "executing" and begun):
            left = left - {data.get("node")}
        if kind == "execution_cached" and not stamped:
            left = left - set(data.get("nodes", ()))
    return left


def _records(lines: list[Any], prompt_id: str) -> list[Any]:
    bodies = [line["data"].get("body") for line in lines if line["kind"] == "http.response"]
    return [body[prompt_id] for body in bodies if isinstance(body, dict) and prompt_id in body]


def _was_deleted(lines: list[Any], prompt_id: str) -> bool:
    bodies = [x["data"].get("body") for x in lines if x["kind"] == "http.request" and x["data"]["path"] == "/queue"]
    return any(body and prompt_id in body["delete"] for body in bodies)


def _queues(line: Any) -> tuple[list[str], list[str]] | None:
    body = line["data"].get("body") if line["kind"] == "http.response" else None
    if not isinstance(body, dict) or "queue_running" not in body:
        return None
    return [item[1] for item in body["queue_running"]], [item[1] for item in body["queue_pending"]]


def _absent(lines: list[Any], prompt_id: str) -> bool:
    """In a true run every look is a queue and then a history, so a look without it, after its answer, is the proof."""
    accepted = False
    asked = {line["data"]["id"]: line["data"]["path"] for line in lines if line["kind"] == "http.request"}
    queue: tuple[list[str], list[str]] | None = None
    absent = False
    for line in lines:
        if line["kind"] != "http.response":
            continue
        accepted = accepted or (line["data"].get("body") or {}).get("prompt_id") == prompt_id
        if accepted and _queues(line) is not None:
            queue = _queues(line)
        elif queue is not None and asked[line["data"]["id"]] == f"/history/{prompt_id}":
            absent = absent or prompt_id not in (*queue[0], *queue[1])
    return absent


def _where(lines: list[Any], prompt_id: str, post: Any) -> str:
    """Nothing told of the end: the last news says where it is."""
    state, frames, must = "pending", [], set(post["prompt"])
    for n, line in enumerate(lines):
        queue = _queues(line)
        if queue is not None and prompt_id in queue[0]:
            state = "in_progress"
        data = line["data"].get("data", {}) if line["kind"] == "ws.message" else {}
        if data.get("prompt_id") != prompt_id:
            continue
        kind = line["data"]["type"]
        frames.append((n, kind, data))
        if kind == "execution_cached":
            must = must - set(data.get("nodes", ()))
        states = {node: at["state"] for node, at in data.get("nodes", {}).items()} if kind == "progress_state" else {}
        finished = bool(states) and all(states.get(node) == "finished" for node in must)
        if finished or (kind == "executed" and not _left(post, frames)):
            state = "ending"
        elif kind != "progress_state" or state != "ending" or "running" in states.values():
            state = "in_progress"
    return state
