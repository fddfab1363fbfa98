"""Words for what a line of a trace shows: one short phrase, which other lines share where they show the same."""

from __future__ import annotations

from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import bodies, codec, routes, status
from comfy_fsm.display import cut, harmless

__all__ = ["answer_of", "prompt_of", "request_of", "targets_of", "words_of"]

_NAME = 60
_SAID = 160


def words_of(o: seen.AnyObservation) -> str:
    """Return the phrase for any observation but a request and its answer."""
    match o:
        case seen.Message(data=frame):
            return _of_frame(frame)
        case seen.Binary(data=data):
            return harmless(f"binary frame {data.event}", _NAME)
        case seen.Opened():
            return "socket opened"
        case seen.Closed(data=data):
            return "socket closed" if data.code is None else f"socket closed, code {data.code}"
        case seen.Undecodable():
            return "frame that cannot be decoded"
        case seen.Command(data=data):
            return harmless(f"command {data.name}" + (f" to {data.to}" if data.to else ""), _NAME)
        case seen.Delivered(data=data):
            return harmless(f"result delivered: {data.state}", _NAME)
        case seen.Damaged(data=data):
            return harmless(f"{data.code}: {data.why}", _SAID)
        case seen.Unrecognized(name=name):
            return harmless(f"unknown kind {name}", _NAME)
        case seen.Header():
            return "header"
    return "tick"


def _of_frame(frame: seen.Frame) -> str:
    if isinstance(frame, seen.UnrecognizedFrame):
        return harmless(frame.name or "frame without a type", _NAME)
    if isinstance(frame, seen.Status):
        count = status.remaining(frame.data)
        return "status" if count is None else f"status: {count} in the queue"
    name = str(type(frame).__struct_config__.tag)
    data = getattr(frame, "data", None)
    if isinstance(data, seen.ExecutingData) and data.node is None:
        return "executing: no node any more"
    if isinstance(data, seen.CachedData):
        return f"{name}: {len(data.nodes)} nodes"
    if isinstance(data, seen.FailureData):
        said = cut(": ".join(filter(None, (data.exception_type, data.exception_message))), _SAID)
        return harmless(f"{name} node {data.node_id}" + (f": {said}" if said else ""), _SAID)
    node = getattr(data, "node", None)
    return harmless(f"{name} node {node}", _NAME) if node is not None else name


def prompt_of(o: seen.AnyObservation) -> str | None:
    """Return the prompt that an observation names, requests and answers aside."""
    match o:
        case seen.Message(data=frame):
            return getattr(getattr(frame, "data", None), "prompt_id", None)
        case seen.Binary(data=seen.BinaryData(metadata=seen.BinaryMetadata(prompt_id=prompt_id))):
            return prompt_id
        case seen.Command(data=data):
            return data.prompt_id
        case seen.Delivered(data=data):
            return data.prompt_id
    return None


def request_of(o: seen.Request) -> str:
    """Return method and path."""
    return harmless(f"{o.data.method} {o.data.path}", _SAID)


def answer_of(o: seen.Response | seen.NoAnswer) -> str:
    """Return the status, or why no answer came."""
    return str(o.data.status) if isinstance(o, seen.Response) else harmless(o.data.error or "no answer", _NAME)


def targets_of(asked: routes.ParsedRequest, o: seen.Request) -> list[str] | None:
    """Return the prompts that a request acts on, empty for all that run or wait there; None if it is no act."""
    match asked.kind:
        case "act-interrupt":
            interrupt = codec.body(o.data.body, bodies.Interrupt)
            return [interrupt.prompt_id] if interrupt is not None and interrupt.prompt_id is not None else []
        case "act-cancel":
            return [asked.prompt_id] if asked.prompt_id is not None else []
        case "act-batch":
            return list((codec.body(o.data.body, bodies.Batch) or bodies.Batch()).job_ids)
        case "act-queue":
            removal = codec.body(o.data.body, bodies.Removal) or bodies.Removal()
            return [] if removal.clear else list(removal.delete or ())
    return None
