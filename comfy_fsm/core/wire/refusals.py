"""Answers to a POST: what a server says when it accepts a prompt, wholly or in part, and when it refuses it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from msgspec import Meta, Raw, Struct

from comfy_fsm.core.effects import Failure, NodeFault
from comfy_fsm.core.wire import codec

__all__ = [
    "ELSEWHERE", "FOR_NOW",
    "MAX_EXCERPT", "MESSAGES", "OF_WRAPPERS", "SHORT", "TYPES", "Accepted", "excerpt", "is_refusal", "misfit",
    "puts_off", "redirect", "refusal", "words", "words_of",
]  # fmt: skip

_MOVED = frozenset({301, 307, 308})
"""Redirects of a request that was not handled; 302 and 303 may also lead to the result of one that was."""
MAX_EXCERPT = 500
"""Characters kept of an answer that is no JSON, or of no known shape."""
_MAX_CAME = 120
"""Characters kept of what came instead of a prompt_id."""
_TOO_MANY, _BUSY = 429, 503
FOR_NOW = frozenset({_TOO_MANY, _BUSY})
"""Refusals that pass, where they say when. A 429 means that nothing was queued; after a 503 its absence is proved."""
ELSEWHERE = frozenset({401, 402, 403, 404, 405, 407, _TOO_MANY, 451})
"""Refusals that concern the client or the server: another server may take the same workflow. 400, 413, 415 and 422
concern the workflow, and would be repeated."""
_STILL_OPEN = frozenset({408, 409, 499})
"""4xx that do not mean that nothing was queued: timeouts, and an id that exists already (P58)."""
SHORT = ("message", "error_message", "msg", "reason", "title")
MESSAGES = (*SHORT, "detail", "description")
"""Keys under which servers and gateways put their messages."""
OF_WRAPPERS = ("id", "job_id", "task_id", "run_id", "status", "state", "success", "images", "output", "url", "webhook")
"""Keys in answers of servers around a ComfyUI: a log may keep their names, which say nothing of a prompt."""
TYPES = ("type", "code", "error_code", "name")
_TAGS = re.compile(r"<(?:head|style|script)\b.*?</(?:head|style|script)>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.DOTALL | re.IGNORECASE)


def is_refusal(status: int) -> bool:
    """Return whether this answer to a POST means that nothing was queued; a 5xx does not (P11, P33)."""
    return (400 <= status < 500 and status not in _STILL_OPEN) or status in _MOVED


def puts_off(status: int, retry_after: object) -> bool:
    """Return whether the answer asks to try again later: a gateway that had passed the prompt on would wait for its
    result.

    That is likely, not certain, so the prompt is posted again only after a query has not found it.
    """
    return status in FOR_NOW and not is_refusal(status) and retry_after is not None


class _NodeError(Struct, frozen=True):
    dependent_outputs: list[str] = []


class Accepted(Struct, frozen=True):
    """Answer 200 to a POST; nodes in `node_errors`, and the outputs that depend on them, were dropped (P9)."""

    prompt_id: Annotated[str, Meta(min_length=1)]
    node_errors: dict[str, _NodeError] | list[object] | None = None

    def dropped(self) -> set[str]:
        if not self.node_errors or not isinstance(self.node_errors, dict):
            return set()
        return set(self.node_errors).union(*(error.dependent_outputs for error in self.node_errors.values()))


def excerpt(text: str) -> str:
    """Return the beginning of a text on one line; of an HTML page, what it shows."""
    text = text[: 16 * MAX_EXCERPT]  # a pattern may compare each part of it with each other
    if "<" in text:
        title = _TITLE.search(text)
        text = " ".join(filter(None, (title[1] if title else "", _TAGS.sub(" ", text))))
    return " ".join(text.split())[:MAX_EXCERPT]


def refusal(raw: Raw, status: int) -> Failure:
    """Return why a prompt was refused: `error` and `node_errors` complete, and read as far as possible (P9)."""
    value = _value(raw)
    error = value.get("error") if isinstance(value, Mapping) else value
    kind, message = words_of(error)
    if message is None and isinstance(value, Mapping):
        kind, message = (kind or (error if isinstance(error, str) else None), words_of(value)[1])
    node_errors = value.get("node_errors") if isinstance(value, Mapping) else None
    faults = tuple(_faults(node_errors))
    first = next((fault for fault in faults if fault.message or fault.type), None)
    if first is not None:
        message = ": ".join(filter(None, (message, first.message)))
    return Failure(
        type=kind,
        message=message,
        node_id=first.node_id if first is not None else None,
        node_type=first.node_type if first is not None else None,
        status=status,
        faults=faults,
        error=error,
        node_errors=node_errors,
    )


def redirect(status: int, location: str) -> Failure:
    """Return where a POST was redirected to, which is not followed: it is for the server that was named."""
    cure = "give that address if ComfyUI is there; if it is a login, give the token or the header that it wants"
    return Failure(type=None, message=f"redirected to {location[:MAX_EXCERPT]}; {cure}", status=status)


def misfit(raw: Raw, status: int) -> Failure:
    """Describe a 2xx without ComfyUI's prompt id: whatever took the prompt is something else."""
    value = _value(raw)
    if isinstance(value, Mapping) and words_of(value.get("error"))[1]:
        return refusal(raw, status)
    came = "nothing" if value is None else "a list or number"
    if isinstance(value, str):
        came = f"a page or text ({excerpt(value)[:_MAX_CAME]})" if value.strip() else "nothing"
    if isinstance(value, Mapping):
        came = "an object with " + (", ".join(sorted(map(str, value))[:5])[:100] or "nothing in it")
        said = words_of(value)[1]
        came += f" ({said[:_MAX_CAME]})" if said else ""
    message = f"{came} came instead of a prompt_id, so this is no ComfyUI; give the address of ComfyUI itself"
    return Failure(type=None, message=message, status=status)


def words(body: bytes) -> str:
    """Return in few words what an answer says, whatever it is."""
    try:
        value = codec.loads(body)
    except (codec.Unreadable, RecursionError):
        return excerpt(body[: 64 * MAX_EXCERPT].decode("utf-8", "replace"))
    error = value.get("error") if isinstance(value, Mapping) else None
    return words_of(error)[1] or words_of(value)[1] or ""


def _value(raw: Raw) -> object:
    try:
        return codec.loads(bytes(raw))
    except codec.Unreadable:
        return None


def words_of(value: object) -> tuple[str | None, str | None]:
    """Return type and message, by the keys that servers and gateways use."""
    if isinstance(value, str):
        return None, excerpt(value) or None
    if isinstance(value, list):
        several = [words for item in value[:3] if (words := words_of(item)[1])]
        return None, "; ".join(several) or None
    if not isinstance(value, Mapping):
        return None, None
    kind = next((str(value[name]) for name in TYPES if isinstance(value.get(name), str | int)), None)
    said = next((words for name in MESSAGES if (words := words_of(value.get(name))[1])), None)
    details = value.get("details")
    if said and isinstance(details, str) and details and details not in said:
        said = f"{said}: {excerpt(details)}"
    return kind, said


def _faults(node_errors: object) -> Iterator[NodeFault]:
    for node_id, node in _by_node(node_errors):
        errors = node.get("errors", node) if isinstance(node, Mapping) else node
        node_type = _text(node.get("class_type")) if isinstance(node, Mapping) else None
        for error in errors if isinstance(errors, list) else [errors]:
            yield _fault(str(node_id), node_type, error)


def _by_node(node_errors: object) -> Iterator[tuple[object, object]]:
    """Yield each node with what is said of it: by its id, or in a list of such objects or of nodes that name
    themselves."""
    for each in node_errors if isinstance(node_errors, list) else [node_errors]:
        if isinstance(each, Mapping) and "node_id" in each:
            yield each["node_id"], each
        elif isinstance(each, Mapping):
            yield from each.items()


def _fault(node_id: str, node_type: str | None, error: object) -> NodeFault:
    if not isinstance(error, Mapping):
        return NodeFault(node_id, node_type, message=words_of(error)[1])
    told = error.get("extra_info")
    extra: Mapping[str, object] = told if isinstance(told, Mapping) else {}
    return NodeFault(
        node_id, node_type, _text(error.get("type")), _text(error.get("message")), _text(error.get("details")),
        _text(extra.get("input_name")), extra.get("received_value"), extra.get("input_config"),
    )  # fmt: skip


def _text(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None
