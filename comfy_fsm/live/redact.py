"""What may not be written down: credentials, other people's work, and what our own prompts are about.

`request`, `response` and `frame` keep of a message what a verdict needs, and drop the rest. `scrub` is the last door
before the log: what is registered as a secret does not pass it, however it is spelled. Nothing here awaits.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from msgspec import Raw
from msgspec.json import encode

from comfy_fsm.core import evidence, wire
from comfy_fsm.core import observations as seen
from comfy_fsm.errors import ClientError

REDACTED = "[redacted]"
MARKER = "comfy_fsm"
"""Our name in `extra_data`: under it the prompt id that we chose, which every version shows again (P10)."""
MIN_SECRET = 6
"""Characters; what is shorter cannot be told from ordinary text, and would take half the log with it."""

_FAILURE = ("prompt_id", "timestamp", "nodes", "node_id", "node_type", "executed", "exception_type",
            "exception_message", "traceback")  # fmt: skip
"""What is kept of a message about an end: not the inputs and outputs that it echoes."""
_JOB = ("id", "status", "create_time", "execution_start_time", "execution_end_time", "outputs")
_INPUTS = ("current_inputs", "current_outputs")
_ENVELOPE = ("at", "kind", "seq", "conn", "mono")
_NAMED_SECRET = r"[\w.-]*(?:token|key|secret|passw|pwd|auth|credential|signature|session)[\w.-]*"
_CREDENTIAL = re.compile(_NAMED_SECRET, re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s\"'<>]+(?=@)")
_PARAMETER = re.compile(rf"(?<=[?&])({_NAMED_SECRET}=)[^&#\s\"'<>]+", re.IGNORECASE)
_ESCAPED = re.compile(r"\\+(?:u\{?([0-9a-fA-F]{4,8})\}?|U([0-9a-fA-F]{8})|([^uUx0-9]))")
_ESCAPED_BYTES = re.compile(r"(?:\\+x[0-9a-fA-F]{2})+")
_ROUNDS = 8  # encodings within encodings that are undone


class Redactor:
    """With `keep_inputs`, workflows and what answers echo of them are kept; credentials never are."""

    def __init__(self, secrets: Iterable[str] = (), keep_inputs: bool = False) -> None:
        self._keep_inputs = keep_inputs
        self._secrets: set[str] = set()
        self._cores: set[str] = set()
        self._hexes: set[str] = set()
        self._signs: tuple[bytes, ...] = (b"@", b"?", b"&")
        self._hex_signs: tuple[bytes, ...] = ()
        self.add(*secrets)

    def add(self, *secrets: str) -> None:
        """From now on these do not pass `scrub`."""
        for secret in secrets:
            if len(secret) < MIN_SECRET:
                raise ClientError(
                    f"a secret of {len(secret)} characters cannot be told from ordinary text, so it was not registered; "
                    f"it must have at least {MIN_SECRET}"
                )
            raw = secret.encode("utf-8", "surrogatepass")
            self._secrets.add(secret)
            self._cores.update(_cores(raw))
            self._hexes.add(raw.hex())
        if secrets:
            told = {*self._secrets, *(s.replace(" ", "+") for s in self._secrets), *self._cores, *map(_safe, self._cores)}
            # A line without any of these holds no secret. The one-letter ones begin an escape, or are part of an URL.
            spelled = sorted(text.encode("utf-8", "surrogatepass") for text in told)
            self._signs = (b"\\", b"%", b"@", b"?", b"&", *spelled)
            self._hex_signs = tuple(text.encode() for text in sorted(self._hexes))

    # what is kept

    def request(self, method: str, path: str, body: object) -> tuple[str, object]:
        """Path and body as they may be logged."""
        try:
            kept = self._asked(_route(method, path), wire.strict(body))
        except RecursionError:
            kept = None
        return self._text(path), kept

    def response(self, method: str, path: str, status: int, body: bytes) -> Raw | None:
        """The answer as it may be logged; None where it is not what this server answers to that (P33)."""
        route = _route(method, path)
        if status == 200:
            kept = self._answered(route, body)
        else:
            kept = self._refused(body) if route == ("POST", "prompt") and 400 <= status < 500 else None
        return None if kept is None else Raw(encode(kept))

    def frame(self, text: str) -> str:
        """A text frame without the inputs and outputs that a failing node echoes; all others as they came."""
        if "current_" not in text or self._keep_inputs:
            return text
        try:
            value = wire.loads(text.encode("utf-8", "replace"))
            kept = _without_inputs(value)
        except (wire.Unreadable, RecursionError):
            return text[: text.index("current_")]  # it is undecodable before as after
        return text if kept == value else encode(kept).decode()

    def _asked(self, route: tuple[str, ...], body: object) -> object:
        if not isinstance(body, dict):
            return None
        match route:
            case ("POST", "prompt"):
                return self._submission(body)
            case ("POST", "queue" | "history"):
                return _only(body, delete=_texts, clear=_flag)
            case ("POST", "interrupt"):
                return _only(body, prompt_id=_text)
        return None

    def _answered(self, route: tuple[str, ...], body: bytes) -> object:
        raw = Raw(body)
        match route:
            case ("POST", "prompt"):
                return self._accepted(body) if wire.body(raw, evidence.Accepted) else None
            case ("GET", "queue"):
                return _queue(raw)
            case ("GET", "history", *prompt_id):
                return self._history(raw, ours=not prompt_id)
            case ("GET", "jobs"):
                jobs = wire.body(raw, _Jobs) if wire.body(raw, evidence.Jobs) else None
                return None if jobs is None else {"jobs": [self._job(job) for job in jobs["jobs"]]}
            case ("GET", "jobs", _):
                return self._job(wire.loads(body)) if wire.body(raw, evidence.Job) else None
            case ("GET", "system_stats"):
                stats = wire.body(raw, dict[str, object]) or {}
                return {"system": _only(stats.get("system"), **dict.fromkeys(_VERSIONS, _text))}
            case ("GET", "features"):
                return {name: item for name, item in (wire.body(raw, dict[str, object]) or {}).items() if _number(item)}
        return None
