"""What may not be written down: credentials, other people's work, and what our own prompts are about.

`request`, `response` and `frame` keep of a message what a verdict needs, and drop the rest. `scrub` is the last door
before the log: what is registered as a secret does not pass it, however it is spelled. Nothing here awaits.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable
from typing import get_args
from urllib.parse import unquote

from msgspec import Raw, Struct
from msgspec.json import encode

from comfy_fsm.core import evidence, routes, wire
from comfy_fsm.core import observations as seen
from comfy_fsm.errors import ClientError

REDACTED = "[redacted]"
MIN_SECRET = 6
"""Characters; what is shorter cannot be told from ordinary text, and would take half the log with it."""

_INPUTS = ("current_inputs", "current_outputs")
_ENVELOPE = ("at", "kind", "seq", "conn", "mono")
_CREDENTIAL = r"[\w.-]*(?:token|key|secret|passw|pwd|auth|credential|signature|session)[\w.-]*"
_LOGIN = re.compile(r"(?<=://)[^/@\s\"'<>]+(?=@)")
_PARAMETER = re.compile(rf"(?<=[?&])({_CREDENTIAL}=)[^&#\s\"'<>]+", re.IGNORECASE)
_NAME = re.compile(_CREDENTIAL, re.IGNORECASE)
_ESCAPED = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([^uUx\\]))")
_ESCAPED_BYTES = re.compile(r"(?:\\+x[0-9a-fA-F]{2})+")
_CONTROLS = dict(zip("bfnrt", "\b\f\n\r\t", strict=True))
_CITING = ("ws.undecodable", "ws.binary")
_CUT = wire.MAX_CITED // 4  # characters, at least, of a text that was cut: its bytes were counted
_WORDIEST = 6  # characters for each byte in the longest of the plain spellings: \u0061
_ROUNDS = 8  # encodings within encodings that are undone
_STRUCTS = [kind for room in (seen, evidence) for kind in vars(room).values() if isinstance(kind, type(Struct))]
_TAGS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(seen.Frame))
_WORDS = frozenset({"kind", "type"}.union(*(kind.__struct_encode_fields__ for kind in _STRUCTS)))
"""Names of fields, which are no secret, whoever chose one of them for his."""


class Redactor:
    """With `keep_inputs`, workflows and what answers echo of them are kept; credentials never are."""

    def __init__(self, secrets: Iterable[str] = (), keep_inputs: bool = False) -> None:
        self._keep_inputs = keep_inputs
        self._graph = _whole if keep_inputs else _links
        self._secrets: set[str] = set()
        self._plain: set[str] = set()
        self._cores: set[str] = set()
        self._hexes: set[str] = set()
        self._longest = 0
        self._signs: tuple[bytes, ...] = (b"@", b"?", b"&")
        self._hex_signs: tuple[bytes, ...] = ()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """From now on these do not pass `scrub`."""
        for secret in secrets:
            if len(secret) < MIN_SECRET:
                raise ClientError(
                    f"a secret of {len(secret)} characters cannot be told from ordinary text, so this one was not "
                    f"registered; choose one of at least {MIN_SECRET}"
                )
            raw = secret.encode("utf-8", "surrogatepass")
            self._secrets.add(secret)
            self._longest = max(self._longest, len(raw))
            if len(plain := _unescaped(secret)) >= MIN_SECRET:
                self._plain.add(plain.replace("+", " "))
            self._cores |= _cores(raw)
            self._hexes.add(raw.hex())
        if secrets:
            # A line without any of these holds no secret. Those of one letter begin an escape, or are part of an URL.
            told = {*self._secrets, *(secret.replace(" ", "+") for secret in self._secrets), *self._cores}
            told |= {core.replace("+", "-").replace("/", "_") for core in self._cores}
            literal = sorted(text.encode("utf-8", "surrogatepass") for text in told)
            self._signs = (b"\\", b"%", b"@", b"?", b"&", b'"text":"', *literal)
            self._hex_signs = tuple(text.encode() for text in sorted(self._hexes))

    # what is kept of a message

    def request(self, method: str, path: str, body: object) -> tuple[str, object]:
        """Path and body as they may be logged; a credential in `extra_data` is a registered secret from now on."""
        try:
            kept = self._asked(routes.parse(method, path).kind, wire.loads(json.dumps(body).encode()))
        except (wire.Unreadable, RecursionError):
            kept = None
        return self._text(path), kept

    def response(self, method: str, path: str, status: int, body: bytes) -> Raw | None:
        """The answer as it may be logged; None where it is not what ComfyUI answers to that (P33)."""
        asked = routes.parse(method, path)
        try:
            kept = self._answered(asked, body) if status == 200 else self._refused(asked.kind, status, body)
        except (wire.Unreadable, RecursionError):
            return None
        return None if kept is None else Raw(encode(kept))

    def frame(self, text: str) -> str:
        """A text frame without the inputs and outputs that a failing node echoes; all others as they came."""
        if "current_" not in text or self._keep_inputs:
            return text
        try:
            value = wire.loads(text.encode("utf-8", "replace"))
            kept = _without_inputs(value)
        except (wire.Unreadable, RecursionError):
            return text[: text.index("current_")]  # as undecodable as before
        return encode(kept).decode()  # and not the text, in which a name may stand twice

    def _asked(self, kind: str, body: object) -> object:
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
        extra = body.get("extra_data") if isinstance(body, dict) else None
        named = [item for name, item in extra.items() if _NAME.fullmatch(name)] if isinstance(extra, dict) else []
        for item in named:
            if isinstance(item, str):
                self.add(*(word for word in (item, *item.split()) if len(word) >= MIN_SECRET))

    def _answered(self, asked: routes.Asked, body: bytes) -> object:
        raw = Raw(body)
        match asked.kind:  # what the fold cannot read as what was asked for is not kept either: it says nothing
            case "post" if wire.body(raw, evidence.Accepted) is not None:
                return _only(wire.loads(body), prompt_id=_text, number=_number, node_errors=self._node_errors)
            case "queue":
                return _queue(raw)
            case "history" | "histories" if wire.body(raw, dict[str, evidence.Record]) is not None:
                records = _each(self._record)(wire.loads(body)) or {}
                if asked.kind == "history":
                    return records
                return {name: record for name, record in records.items() if _is_ours(record)}
            case "jobs" if wire.body(raw, evidence.Jobs) is not None:
                return _only(wire.loads(body), jobs=_every(self._job), pagination=_each(_number))
            case "job" if wire.body(raw, evidence.Job) is not None:
                return self._job(wire.loads(body))
            case "act-cancel" | "act-batch" if wire.body(raw, evidence.Cancelled) is not None:
                return _only(wire.loads(body), cancelled=_number)
            case "stats":
                versions = ("comfyui_version", "python_version", "pytorch_version")
                return _only(wire.loads(body), system=lambda system: _only(system, **dict.fromkeys(versions, _text)))
            case "features":
                return _each(_number)(wire.loads(body))
        return None

    def _refused(self, kind: str, status: int, body: bytes) -> object:
        if kind == "job" and status == 404 and evidence.is_missing_job(Raw(body)):
            return _only(wire.loads(body), error=_text)
        if kind != "post" or not 400 <= status < 500:
            return None
        if wire.body(Raw(body), evidence.Refusal) is None:
            return None
        return _only(wire.loads(body), error=self._error, node_errors=self._node_errors)

    def _error(self, value: object) -> object:
        """Its details and extra_info echo the inputs."""
        return value if self._keep_inputs or isinstance(value, str) else _only(value, type=_text, message=_text)

    def _node_errors(self, value: object) -> object:
        if self._keep_inputs or not isinstance(value, dict):
            return value if self._keep_inputs or value is None else []
        errors = _every(self._error)
        return _each(lambda node: _only(node, errors=errors, dependent_outputs=_texts, class_type=_text))(value)

    def _record(self, value: object) -> object:
        return _only(value, prompt=self._item, outputs=_dict, status=self._status)

    def _item(self, value: object) -> object:
        """One prompt as queue and history list it: number, id, graph, extra_data, outputs."""
        keeps = (_number, _text, self._graph, _marked, _texts)
        return [keep(part) for keep, part in zip(keeps, value, strict=False)] if isinstance(value, list) else None

    def _status(self, value: object) -> object:
        return _only(value, status_str=_text, completed=_number, messages=_every(self._message))

    def _message(self, value: object) -> object:
        return [value[0], self._failure(value[1])] if isinstance(value, list) else None

    def _failure(self, value: object) -> object:
        """What a message tells of an end, without the inputs and outputs that it echoes."""
        if self._keep_inputs or value is None:
            return value
        texts = ("prompt_id", "node_id", "node_type", "exception_type", "exception_message")
        lists = ("nodes", "executed", "traceback")
        return _only(value, timestamp=_number, **dict.fromkeys(texts, _text), **dict.fromkeys(lists, _texts))

    def _job(self, value: object) -> object:
        numbers = ("create_time", "execution_start_time", "execution_end_time", "outputs_count")
        keeps = {"execution_error": self._failure, "execution_status": self._status, **dict.fromkeys(numbers, _number)}
        return _only(value, id=_text, status=_text, outputs=_dict, **keeps)

    # what does not pass

    def scrub(self, line: bytes) -> bytes:
        """The line itself, or where a secret is in it, one without; a line of a trace remains one."""
        if not self._suspects(line):
            return line
        try:
            value = wire.loads(line)
            clean = self._clean(self._shortened(value), _ENVELOPE)
        except (wire.Unreadable, RecursionError):
            return self._blank(line)
        return line if clean == value and self._is_clean(line) else encode(clean)

    def _suspects(self, line: bytes) -> bool:
        """A look that costs a microsecond, since 20,000 lines come a second: most hold no sign of anything."""
        for sign in self._signs:
            if sign in line:
                return True
        if self._hex_signs:
            lowered = line.lower()
            for sign in self._hex_signs:
                if sign in lowered:
                    return True
        return False

    def _shortened(self, line: object) -> object:
        """What was cut loses the rest of its end too, since half a secret is not known for one."""
        match line:
            case {"kind": kind, "data": {"text": str(text), **beside}, **around} if kind in _CITING:
                end = max(0, len(text) - _WORDIEST * self._longest) if len(text) >= _CUT else None
                return {**around, "kind": kind, "data": {**beside, "text": text[:end]}}
        return line

    def _blank(self, line: bytes) -> bytes:
        """A line too deep to look into is kept only if its text as a whole is clean."""
        if self._is_clean(line):
            return line
        o = wire.read(line)
        data = seen.UndecodableData("nested too deeply to take out what may not be written down", REDACTED)
        return wire.encode(seen.Undecodable(at=o.at, window=o.window, server=o.server, conn=o.conn, data=data))

    def _is_clean(self, line: bytes) -> bool:
        """As a whole: where a name stands twice in it, only the last was read."""
        text = line.decode("utf-8", "replace")
        return self._text(text) == text

    def _clean(self, value: object, spared: tuple[str, ...] = ()) -> object:
        if isinstance(value, str):
            return value if value in _TAGS else self._text(value)
        if isinstance(value, dict):
            return {
                name if name in _WORDS else self._text(name): item if name in spared else self._clean(item)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self._clean(item) for item in value]
        return REDACTED if self._hides(str(value)) else value

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        text = _PARAMETER.sub(rf"\1{REDACTED}", _LOGIN.sub(REDACTED, text))
        return REDACTED if self._hides(text) else text

    def _hides(self, text: str) -> bool:
        """Whether a secret is in it under any spelling; one may be spelled in another."""
        if not self._secrets:
            return False
        plain = _unescaped(text)
        spaced, lowered = plain.replace("+", " "), plain.lower()
        packed = "".join(plain.split()).replace("-", "+").replace("_", "/")
        return (
            any(secret in spaced for secret in self._plain)
            or any(core in packed for core in self._cores)
            or any(digits in lowered for digits in self._hexes)
        )


def _cores(raw: bytes) -> set[str]:
    """What base64 makes of it in each of three alignments, less the ends, which its neighbours change."""
    texts = [base64.b64encode(bytes(before) + raw).decode() for before in range(3)]
    return {text[-(-8 * before // 6) : 8 * (before + len(raw)) // 6] for before, text in enumerate(texts)}


def _unescaped(text: str) -> str:
    """The text with the escapes of JSON, Python, URLs and HTML undone, and those within them."""
    for _ in range(_ROUNDS):
        before = text
        if "\\" in text:
            text = _ESCAPED.sub(_character, _ESCAPED_BYTES.sub(_characters, text))
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if "%" in text:
            text = unquote(text)
        if "&" in text:
            text = html.unescape(text)
        if text == before:
            break
    return text


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if code is None:
        return _CONTROLS.get(match[3], match[3])
    return chr(int(code, 16)) if int(code, 16) < 0x110000 else ""


def _characters(match: re.Match[str]) -> str:
    raw = bytes.fromhex(re.sub(r"\\+x", "", match[0], flags=re.IGNORECASE))
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


# What is kept of a value, or None; each is harmless, whatever the value is.


def _only(value: object, **keeps: Callable[[object], object]) -> dict[str, object] | None:
    if not isinstance(value, dict):
        return None
    return {name: kept for name, keep in keeps.items() if (kept := keep(value.get(name))) is not None}


def _each(keep: Callable[[object], object]) -> Callable[[object], dict[str, object] | None]:
    return lambda value: _only(value, **dict.fromkeys(value, keep)) if isinstance(value, dict) else None


def _every(keep: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: [keep(item) for item in value] if isinstance(value, list) else None


def _whole(value: object) -> object:
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> object:
    return value if isinstance(value, int | float) else None


def _texts(value: object) -> object:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _dict(value: object) -> object:
    return value if isinstance(value, dict) else None


def _marked(value: object) -> object:
    """Of extra_data, our marker: the rest may hold keys of services that cost money (P28)."""
    return _only(value, **{evidence.MARK: _text})


def _links(value: object) -> object:
    """Of a workflow, its graph: who reads whom, not what they are told."""
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
    """The ids; in the long form only where the server gave an id of its own to what we marked (P10, P28)."""
    listed, marks = evidence.queue(raw), evidence.marks(raw)
    if listed is None or all(prompt_id == mark for prompt_id, mark in marks.items()):
        return listed and {"running": listed[0], "pending": listed[1]}
    extras = {prompt_id: {evidence.MARK: mark} for prompt_id, mark in marks.items()}
    parts = dict(zip(("queue_running", "queue_pending"), listed, strict=True))
    return {part: [[None, name, {}, extras.get(name, {}), []] for name in names] for part, names in parts.items()}


def _is_ours(record: object) -> bool:
    item = record.get("prompt") if isinstance(record, dict) else None
    return isinstance(item, list) and len(item) > 3 and bool(item[3])


def _without_inputs(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_inputs(item) for name, item in value.items() if name not in _INPUTS}
    return [_without_inputs(item) for item in value] if isinstance(value, list) else value
