"""Redaction of what must not be logged: credentials, other people's work, and what our own prompts are about.

`request`, `response` and `frame` keep what a verdict needs of a message and drop the rest. `scrub` comes last, before
the log: no registered secret passes it. The fold gets messages before that, but decides by nothing that is removed, so
a replay of the log decides alike. Nothing here awaits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from typing import NamedTuple

from msgspec import Raw
from msgspec.json import encode

from comfy_fsm.core.wire import bodies, codec, fieldwise, histories, queues, refusals, routes
from comfy_fsm.live.redaction.scrubber import Scrubber

__all__ = ["NOTHING", "Kept", "Redactor"]

_LOOKS = frozenset({"history", "histories", "queue", "job", "jobs"})
_INPUTS = ("current_inputs", "current_outputs")
_PICTURE_INFO = "extra_pnginfo"
"""Of `extra_data`, the workflow as the canvas has it, for the picture's own metadata: work, and no credential."""


_MOST_MESSAGES = 1_000  # of one record, which has about five
_MOST_OF_A_REFUSAL = 16 * 1024 * 1024


class Kept(NamedTuple):
    """Body as it is folded, and as it is logged, without words that repeat what prompts are about."""

    whole: Raw
    logged: Raw


NOTHING = Kept(Raw(b"null"), Raw(b"null"))


class Redactor:
    """Redactor of a client; with `keep_inputs`, workflows and what answers echo of them are kept, but never
    credentials.
    """

    def __init__(self, secrets: Iterable[str] = (), keep_inputs: bool = False) -> None:
        self._keep_inputs = keep_inputs
        self._graph = _whole if keep_inputs else _links
        self._scrubber = Scrubber()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """Register secrets, which `scrub` removes from now on; raises ClientError for text that stands in every log."""
        self._scrubber.register(*secrets)

    def keep(self, values: Iterable[str]) -> None:
        """Register secrets that go with every request; text too short or too common to be a secret is passed over."""
        self._scrubber.keep(values)

    def learn(self, values: Iterable[str]) -> None:
        """Register what was sent once as secrets; only the latest are remembered."""
        self._scrubber.learn(values)

    def scrub(self, line: bytes) -> bytes:
        """Return the line for the log: unchanged, or without some texts; one too deep to examine is replaced."""
        return self._scrubber.line(line)

    def scrub_all(self, lines: list[bytes]) -> list[bytes]:
        """Return these lines for the log, each as `scrub` does."""
        return self._scrubber.lines(lines)

    def aside(self) -> Callable[[bytes], bytes]:
        """Return `scrub` as it is now, for use in another thread."""
        return copy(self._scrubber).line

    def text(self, text: str) -> str:
        """Return the text without what must not be logged."""
        return self._scrubber.text(text)

    def value(self, value: object) -> object:
        """Return the JSON value without what must not be logged."""
        return self._scrubber.value(value)

    def hides(self, text: str) -> bool:
        """Return whether the text contains a secret, in any spelling; addresses are not examined."""
        return self._scrubber.hides(text)

    # what is kept of a message

    def request(self, method: str, path: str, body: object) -> tuple[str, object]:
        """Return path and body as they may be logged; other values in `extra_data` are secrets from now on."""
        try:
            kept = self._asked(routes.parse(method, path).kind, codec.loads(json.dumps(body).encode()))
        except (codec.Unreadable, RecursionError):
            kept = None
        return path, kept

    def response(self, method: str, path: str, status: int, body: bytes) -> Kept:
        """Return the answer as it is folded and as it is logged; null if ComfyUI would not answer so (P33)."""
        asked = routes.parse(method, path)
        if asked.kind == "post" and not (200 <= status < 300 and fieldwise.read(Raw(body), refusals.Accepted)[0]):
            return self._not_accepted(status, body)
        try:
            kept = self._answered(asked, body) if status == 200 else self._refused(asked.kind, status, body)
        except (codec.Unreadable, RecursionError):
            kept = "…" if body.strip() else None  # a page, where JSON was due
            if status != 200 or asked.kind not in _LOOKS:
                return NOTHING
        if kept is None:
            return NOTHING
        logged = Raw(encode(kept))
        if status == 200 or codec.loads(body) == kept:
            return Kept(logged, logged)
        return Kept(Raw(body), logged)  # a refusal: what it says of inputs is for those who submitted them

    def frame(self, text: str) -> str:
        """Return a text frame without the inputs and outputs that a failing node echoes; others are unchanged."""
        if "current_" not in text or self._keep_inputs:
            return text
        try:
            value = codec.loads(text.encode("utf-8", "replace"))
            kept = _without_inputs(value)
        except (codec.Unreadable, RecursionError):
            return text[: text.index("current_")]  # as undecodable as before
        return encode(kept).decode()  # and not the text, in which a name may stand twice

    def _asked(self, kind: routes.Kind, body: object) -> object:
        match kind:
            case "post":
                self._learn(body)
                return _only(
                    body, prompt=self._graph, client_id=_text, prompt_id=_text, extra_data=_marked, number=_number,
                    front=_number, partial_execution_targets=_texts,
                )  # fmt: skip
            case "act-queue" | "act-history":
                return _only(body, delete=_texts, clear=_number)
            case "act-interrupt":
                return _only(body, prompt_id=_text)
            case "act-batch":
                return _only(body, job_ids=_texts)
        return None

    def _learn(self, body: object) -> None:
        """Register everything that is sent beside the prompt as a secret, however it is named and nested (P28)."""
        extra = body.get("extra_data") if isinstance(body, dict) else None
        if not isinstance(extra, dict):
            return
        texts = list(_leaves([item for name, item in extra.items() if name not in (bodies.MARK, _PICTURE_INFO)]))
        self._scrubber.learn([*(word for text in texts for word in text.split()), *texts])

    def _answered(self, asked: routes.ParsedRequest, body: bytes) -> object:
        raw = Raw(body)
        match asked.kind:  # what the fold cannot read as what was asked for is not kept either: it says nothing
            case "post" if codec.body(raw, refusals.Accepted) is not None:
                return _only(codec.loads(body), prompt_id=_text, number=_number, node_errors=self._node_errors)
            case "queue":
                if (listed := _queue(raw)) is not None:
                    return listed
            case "history" | "histories" if histories.records(raw) is not None:
                records = _each(self._record)(codec.loads(bytes(histories.unwrapped(raw)))) or {}
                if asked.kind == "history":
                    return records
                return {name: record for name, record in records.items() if _is_ours(record)}
            case "jobs" if fieldwise.read(raw, bodies.JobList)[0] is not None:
                return _only(codec.loads(body), jobs=_every(self._job), pagination=_each(_number))
            case "job" if fieldwise.read(raw, bodies.JobRecord)[0] is not None:
                return self._job(codec.loads(body))
            case "act-cancel" | "act-batch" if codec.body(raw, bodies.Cancelled) is not None:
                return _only(codec.loads(body), cancelled=_number)
            case "stats":
                versions = ("comfyui_version", "python_version", "pytorch_version")
                return _only(codec.loads(body), system=lambda system: _only(system, **dict.fromkeys(versions, _text)))
            case "remaining":
                return _only(codec.loads(body), exec_info=lambda info: _only(info, queue_remaining=_number))
            case "features":
                return _each(_number)(codec.loads(body))
        return _shape(codec.loads(body)) if asked.kind in _LOOKS else None

    def _refused(self, kind: routes.Kind, status: int, body: bytes) -> object:
        if kind == "job" and status == 404 and bodies.is_missing_job(Raw(body)):
            return _only(codec.loads(body), error=_text)
        return None

    def _not_accepted(self, status: int, body: bytes) -> Kept:
        """Return the answer to a refused POST: complete for the caller, its words for the log."""
        try:
            value = codec.loads(body[:_MOST_OF_A_REFUSAL])
        except (codec.Unreadable, RecursionError):
            words = refusals.excerpt(body[: 64 * refusals.MAX_EXCERPT].decode("utf-8", "replace"))
            return Kept(Raw(encode(words)), NOTHING.logged) if words else NOTHING
        if value is None:
            return NOTHING
        keeps = {"error": self._error, "node_errors": self._node_errors, **dict.fromkeys(refusals.TYPES, _word)}
        kept = _only(value, **keeps, **dict.fromkeys(refusals.MESSAGES, _said)) or {}
        if status < 300 and isinstance(value, dict):
            kept = {name: None for name in refusals.OF_WRAPPERS if name in value} | kept
        logged = Raw(encode(kept))
        return Kept(logged, logged) if value == kept else Kept(Raw(encode(value)), logged)

    def _error(self, value: object) -> object:
        """Remove details and extra_info, which echo the inputs."""
        if self._keep_inputs or isinstance(value, str):
            return value
        info = _only(value, extra_info=lambda extra: _only(extra, input_name=_text) or None)
        texts = dict.fromkeys((*refusals.TYPES, *refusals.SHORT), _text)
        return (_only(value, **texts) or {}) | info if info is not None else None

    def _node_errors(self, value: object) -> object:
        if self._keep_inputs or not isinstance(value, dict):
            return value if self._keep_inputs or value is None else []
        errors = _every(self._error)
        return _each(lambda node: _only(node, errors=errors, dependent_outputs=_texts, class_type=_text))(value)

    def _record(self, value: object) -> object:
        if not isinstance(value, dict):
            return _sample(value)
        return _only(value, prompt=self._item, outputs=_whole, status=self._status)

    def _item(self, value: object) -> object:
        """Redact one prompt as queue and history list it: number, id, graph, extra_data, outputs."""
        keeps = (_number, _text, self._graph, _marked, _texts)
        return [keep(part) for keep, part in zip(keeps, value, strict=False)] if isinstance(value, list) else None

    def _status(self, value: object) -> object:
        if not isinstance(value, dict):
            return _sample(value)
        messages = _some(self._message)
        return _only(value, status_str=_word, completed=_flag, messages=lambda told: messages(told) or _sample(told))

    def _message(self, value: object) -> object:
        if not isinstance(value, list) or not value:
            return _sample(value)
        return [_word(value[0]), *map(self._failure, value[1:2]), *map(_sample, value[2:3])]

    def _failure(self, value: object) -> object:
        """Redact a message about an end: without the inputs and outputs that it echoes."""
        if self._keep_inputs or value is None or isinstance(value, str):
            return value
        if not isinstance(value, dict):
            return _sample(value)
        texts = ("prompt_id", "node_id", "node_type", "exception_type", "exception_message")
        lists = ("nodes", "executed", "traceback")
        return _only(value, timestamp=_number, **dict.fromkeys(texts, _word), **dict.fromkeys(lists, _texts))

    def _job(self, value: object) -> object:
        numbers = ("create_time", "execution_start_time", "execution_end_time", "outputs_count")
        keeps = {"execution_status": self._status, "error_message": _text, **dict.fromkeys(numbers, _number)}
        keeps |= {"execution_error": self._failure, "error": self._error}
        if not isinstance(value, dict):
            return _sample(value)
        return _only(value, id=_word, status=_word, outputs=_whole, preview_output=_whole, **keeps)


# What is kept of a value, or None; each is harmless, whatever the value is.


def _only(value: object, **keeps: Callable[[object], object]) -> dict[str, object] | None:
    if not isinstance(value, dict):
        return None
    return {name: kept for name, keep in keeps.items() if (kept := keep(value.get(name))) is not None}


def _each(keep: Callable[[object], object]) -> Callable[[object], dict[str, object] | None]:
    return lambda value: _only(value, **dict.fromkeys(value, keep)) if isinstance(value, dict) else None


def _every(keep: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: [keep(item) for item in value] if isinstance(value, list) else None


def _some(keep: Callable[[object], object]) -> Callable[[object], object]:
    """Shorten a list that no server has a reason to make so long to its first and last items and a note of what is
    missing.
    """

    def kept(value: object) -> object:
        if not isinstance(value, list) or len(value) <= _MOST_MESSAGES:
            return _every(keep)(value)
        half = _MOST_MESSAGES // 2
        return [*map(keep, value[:half]), ["…", {}], *map(keep, value[-half:])]

    return kept


def _whole(value: object) -> object:
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _word(value: object) -> object:
    """Return a text; of anything else keep the type, as it is read field by field."""
    is_read = isinstance(value, str | int | float) and not isinstance(value, bool)
    return value if is_read or (value and _texts(value)) else _sample(value)


def _said(value: object) -> object:
    """Return words, or the list of them that some gateways send, without what they are about."""
    if isinstance(value, list):
        return [item if isinstance(item, str) else _only(item, msg=_text, message=_text) for item in value[:3]]
    return _text(value)


def _flag(value: object) -> object:
    return value if isinstance(value, bool | int | float) else value[:5] if isinstance(value, str) else _sample(value)


def _sample(value: object) -> object:
    """Keep the type of an odd value, and nothing of its content."""
    if isinstance(value, list):
        return [{} if isinstance(item, dict) else [] if isinstance(item, list) else _sample(item) for item in value[:3]]
    return {} if isinstance(value, dict) else "…" if isinstance(value, str) else value


def _shape(value: object) -> object:
    """Keep the type of an unexpected answer, enough to see that something came."""
    return {"…": None} if isinstance(value, dict) else [] if isinstance(value, list) else _sample(value)


def _number(value: object) -> object:
    return value if isinstance(value, int | float) else None


def _texts(value: object) -> object:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _marked(value: object) -> object:
    """Keep our mark of extra_data: the rest may hold keys of paid services (P28)."""
    return _only(value, **{bodies.MARK: _text})


def _links(value: object) -> object:
    """Keep the graph of a workflow: which node reads which, not the inputs."""
    if not isinstance(value, dict):
        return None
    graph: dict[str, object] = {}
    for name, node in value.items():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        links = {
            key: [link[0], _number(link[1]) or 0]
            for key, link in (inputs.items() if isinstance(inputs, dict) else ())
            if isinstance(link, list) and len(link) == 2 and str(link[0]) in value
        }
        graph[name] = {**(_only(node, class_type=_text) or {}), "inputs": links}
    return graph


def _queue(raw: Raw) -> object:
    """Keep the ids; the long form only if the server gave an id of its own to a prompt of ours (P10, P28), or for an
    item that cannot be read, of which the ids in it are kept.
    """
    listed, marks = queues.listing(raw), queues.marks(raw)
    if listed is None:
        return None
    if not listed.odd and listed.whole and all(prompt_id == mark for prompt_id, mark in marks.items()):
        return {"running": listed.running, "pending": listed.pending}
    extras = {prompt_id: {bodies.MARK: mark} for prompt_id, mark in marks.items()}
    parts: dict[str, list[object]] = {
        part: [[None, name, {}, extras.get(name, {}), []] for name in names]
        for part, names in (("queue_running", listed.running), ("queue_pending", listed.pending))
    }
    if not listed.whole:
        del parts["queue_running" if listed.pending else "queue_pending"]
    if listed.odd:
        next(iter(parts.values())).append([None, None, {}, {}, sorted(listed.named)])
    return parts


def _leaves(value: object) -> Iterator[str]:
    """Yield the texts and numbers in a value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    elif isinstance(value, str | int | float):
        yield str(value)


def _is_ours(record: object) -> bool:
    """Return whether the record bears a mark of ours; one that cannot be read may."""
    item = record.get("prompt") if isinstance(record, dict) else None
    return not isinstance(item, list) or len(item) <= 3 or bool(item[3])


def _without_inputs(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_inputs(item) for name, item in value.items() if name not in _INPUTS}
    return [_without_inputs(item) for item in value] if isinstance(value, list) else value
