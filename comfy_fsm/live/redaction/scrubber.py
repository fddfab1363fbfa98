"""Scrubber: removes secrets from a line before it is logged, by value in every spelling, and credentials in URLs.

It never removes what a replay needs: ids, window ids, routes, file names, states. A line says in `redacted` that
something was removed. Nothing here awaits.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, KeysView
from typing import get_args

from msgspec import Struct
from msgspec.json import encode

from comfy_fsm.core import effects, machine
from comfy_fsm.core import observations as seen
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.wire import bodies, codec, queues, refusals, results
from comfy_fsm.errors import ClientError
from comfy_fsm.live.redaction.secret_encodings import MIN_SECRET, Spellings, unescaped
from comfy_fsm.live.redaction.urls import without_credentials

__all__ = ["COMMON", "REDACTED", "Scrubber"]

_logger = logging.getLogger(__name__)
REDACTED = "[redacted]"
_MAX_SECRET = 16_384
"""Characters of a value that is learned; longer ones are data, such as a picture, and no credential."""
_MOST_LEARNED = 64
"""Values of `extra_data` that are looked for at the same time: each costs every frame some time."""

_DEPTH = 100  # levels that are looked into; what a fold reads lies above
_ENVELOPE = frozenset({"at", "kind", "seq", "conn", "mono", "window", "server", "redacted"})
_CITING = ("ws.undecodable", "ws.binary")
_CUT = codec.MAX_CITED // 4  # characters, at least, of a text that was cut: its bytes were counted
_WORDIEST = 6  # characters for each byte in the longest of the plain spellings: \u0061
_ROOMS = (seen, bodies, refusals, queues, effects)
_STRUCTS = [kind for room in _ROOMS for kind in vars(room).values() if isinstance(kind, type(Struct))]
_READ = {
    "class_type",
    "error",
    "errors",
    "message",
    "job_ids",
    "dependent_outputs",
    "node_errors",
    "execution_error",
    "execution_status",
    "outputs_count",
    "traceback",
    "current_inputs",
    "current_outputs",
    "number",
    "front",
    "clear",
}
_TAGS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(seen.Frame))
_KINDS = frozenset(str(kind.__struct_config__.tag) for kind in get_args(seen.AnyObservation))
_WORDS = frozenset({"kind", "type", *_READ}.union(*(kind.__struct_encode_fields__ for kind in _STRUCTS)))
"""Names of fields, which are no secret, whoever chose one of them for his."""
COMMON = frozenset({
    "api", "audio", "authorization", "bearer", "cancel", "cancelled", "canceled", "comfyui", "completed",
    "connecterror", "cookie", "default", "delete", "embeddings", "extensions", "extra_pnginfo", "extension",
    "failed", "failure", "features", "filename", "history", "images", "input", "interrupt", "interrupted",
    "jobs", "localhost", "models", "object_info", "output", "password", "pending", "prompt", "prompts", "queue",
    "redacted", "running", "secret", "settings", "status", "string", "subfolder", "success", "successful",
    "system_stats", "temporary", "undefined", "unknown", "upload", "userdata", "users", "workflow", "workflows",
}).union(_WORDS, _TAGS, _KINDS, machine.State, {bodies.BLOCKED.lower(), bodies.MARK})  # fmt: skip
"""Words that stand everywhere in a log; to look for one would take the log apart and hide nothing."""

# What is never scrubbed, by the name of its field, since a replay decides by it.
_IDS = frozenset({
    "prompt_id", "client_id", "sid", "node", "node_id", "display_node", "display_node_id", "real_node_id",
    "parent_node_id", "id",
})  # fmt: skip
_LISTS = frozenset({
    "nodes", "executed", "running", "pending", "queue_running", "queue_pending", "delete", "dependent_outputs",
    "partial_execution_targets", "prompt", "messages", "job_ids",
})  # fmt: skip
_ID = frozenset({"id", "prompt_id"})
_OF_BYTES = frozenset({"prompt_id", "node_id", "image_type", "format", "digest"})
_FILES = frozenset({"filename", "subfolder", "type"})
_NUMBERS = frozenset({
    "timestamp", "size", "number", "status", "code", "event", "bytes", "completed", "create_time",
    "execution_start_time", "execution_end_time", "value", "max", "queue_remaining",
})  # fmt: skip
_MISSING = "job not found"
_STATES = frozenset({"status", "status_str", "state"})
_STATE = re.compile(r"[A-Za-z_]{1,40}")
_NAMING = frozenset({"nodes", "prompt", "inputs", "node_errors", "body"})
"""Objects whose own names are ids of nodes and prompts, or names of inputs."""
_OUTPUTS = frozenset({"output", "outputs", "preview_output"})
_ANY = Policy(outputs=1_000_000)
_COMPONENT = re.compile(r"([^/\\]*?)(?: \[(?:output|input|temp)\])?", re.DOTALL)
_AS_IT_IS = frozenset({"command", "delivered", "tick", "trace", "ws.open", "ws.close"})
"""Kinds that only this project writes. No word of a server or an input comes into them but through `enqueue`, and what
that and `submit` say is clean before it is written."""


class Scrubber:
    """Scrubber with its secrets, registered by the user or learned from what is sent."""

    def __init__(self) -> None:
        self._registered: dict[str, None] = {}
        self._learned: dict[str, None] = {}
        self._spellings = Spellings()
        self._told = False
        self._graph: KeysView[str] = {}.keys()  # the ids of nodes in the graph that is walked: what links name
        self._files: set[str] = set()  # and the names of files among the outputs that are

    def register(self, *secrets: str) -> None:
        """Register secrets, which are removed from now on; raises ClientError for text that stands in every log."""
        for secret in secrets:
            if len(secret) < MIN_SECRET:
                raise ClientError(
                    f"a secret of {len(secret)} characters cannot be told from ordinary text, so this one was not "
                    f"registered; choose one of at least {MIN_SECRET}"
                )
            if secret.lower() in COMMON:
                raise ClientError(
                    "a registered secret is a common word of ComfyUI or of the log, and to take it out would hide "
                    "nothing, so it was not registered; choose a secret that is no word"
                )
        self._registered |= dict.fromkeys(secrets)
        self._rebuild()

    def keep(self, values: Iterable[str]) -> None:
        """Register secrets that go with every request; what looks like ordinary text is passed over."""
        self._registered |= dict.fromkeys(filter(_is_telling, values))
        self._rebuild()

    def learn(self, values: Iterable[str]) -> None:
        """Register what was sent once, beside a prompt; only the latest are remembered."""
        found = [value for value in values if _is_telling(value)]
        if not found:
            return
        known = len(self._learned)
        for value in found:
            self._learned.pop(value, None)
            self._learned[value] = None
        for value in list(self._learned)[:-_MOST_LEARNED]:
            del self._learned[value]
            if not self._told:
                self._told = True
                _logger.warning(
                    "more than %d different values of extra_data were sent; if a server repeats one of the older in a "
                    "text, the log keeps it; register it as a secret of the client to prevent that", _MOST_LEARNED
                )  # fmt: skip
        if known != len(self._learned) or set(found) - set(self._spellings.secrets):
            self._rebuild()

    def _rebuild(self) -> None:
        self._spellings = Spellings([*self._registered, *self._learned])

    # what does not pass

    def lines(self, lines: list[bytes]) -> list[bytes]:
        """Return these lines, each as `line` does: searched as one, since mostly nothing is found."""
        return [*map(self.line, lines)] if self._spellings.suspects(b"".join(lines)) else lines

    def line(self, line: bytes) -> bytes:
        """Return the line itself or, if it contains a secret, one that differs in texts alone.

        A line that cannot be examined is replaced by one that says so.
        """
        if not self._spellings.suspects(line):
            return line
        try:
            value = codec.loads(line)
        except (codec.Unreadable, RecursionError):
            return self._blank(line)
        if not isinstance(value, dict) or value.get("kind") in _AS_IT_IS:
            return line
        shortened = self._shortened(value)
        clean = {n: v if n in _ENVELOPE else self._data(value.get("kind"), v) for n, v in shortened.items()}
        if clean == value and self._is_clean(line):
            return line
        return encode(clean if clean == shortened else {**clean, "redacted": True})

    def _data(self, kind: object, data: object) -> object:
        """Scrub the data of a line of this kind."""
        if not isinstance(data, dict) or kind not in ("ws.message", "http.request", "http.response"):
            if kind == "http.error" and isinstance(data, dict) and _STATE.fullmatch(str(data.get("error", ""))):
                return self._clean(data, _ID | {"error"})  # the name of an exception, by which an outage is known
            return self._clean(data, _OF_BYTES if kind == "ws.binary" else _ID)
        if kind == "ws.message":
            spared = frozenset({"type", *_IDS}) if data.get("type") in _TAGS else frozenset({"prompt_id"})
            return self._clean(data, spared, known=len(spared) > 1)
        return self._clean(data, _IDS | {"method", "path"}, known=True)

    def _shortened(self, line: dict[str, object]) -> dict[str, object]:
        """Remove the end of a shortened text as well, since half a secret is not recognised."""
        match line:
            case {"kind": kind, "data": {"text": str(text), **beside}, **around} if kind in _CITING:
                end = max(0, len(text) - _WORDIEST * self._spellings.longest) if len(text) >= _CUT else len(text)
                return {**around, "kind": kind, "data": {**beside, "text": text[:end]}}
        return line

    def _blank(self, line: bytes) -> bytes:
        """Keep a line that is too deep to examine only if its text as a whole is clean."""
        if self._is_clean(line):
            return line
        o = codec.read(line)
        data = seen.UndecodableData("nested too deeply to take out what may not be written down", REDACTED)
        return codec.encode(seen.Undecodable(at=o.at, window=o.window, server=o.server, conn=o.conn, data=data))

    def _is_clean(self, line: bytes) -> bool:
        """Check the line as a whole: if a name stands twice in it, only the last one was read."""
        text = line.decode("utf-8", "replace")
        return self.text(text) == text

    def _clean(
        self, value: object, spared: frozenset[str], *, name: str = "", known: bool = False, depth: int = 0
    ) -> object:
        """Scrub a value; `known`: field names mean what ComfyUI means by them; `spared`: fields whose texts are
        needed.
        """
        if isinstance(value, dict):
            return self._object(value, spared, name, known, depth)
        if isinstance(value, list):
            return self._items(value, spared, name, known, depth)
        if isinstance(value, str):
            needed = name in spared or value == bodies.BLOCKED or value.strip(" .").lower() == _MISSING
            needed |= known and name in _STATES and _STATE.fullmatch(value) is not None
            needed |= "filename" in spared and (self._names_file(value) or results.names_asset(name, value))
            return value if needed else self.text(value)
        return value if value is None or name in _NUMBERS or not self._spellings.hides(str(value)) else REDACTED

    def _object(self, value: dict[str, object], spared: frozenset[str], name: str, known: bool, depth: int) -> object:
        if depth >= _DEPTH:
            return value if self._is_clean(encode(value)) else REDACTED
        if known and name == "prompt":
            self._graph = value.keys()
        in_outputs = known and (name in _OUTPUTS or "filename" in spared)
        if in_outputs:
            if "filename" not in spared:  # the outermost
                nodes = value if name == "outputs" else {"": value}
                self._files = {file.filename for file in results.produced(nodes, _ANY).outputs}
            spared = _FILES
        keeps = known and (name in _NAMING or name == "outputs")

        def shown(key: str, item: object) -> str:
            needed = keeps or key in _WORDS or (in_outputs and self._leads_to_file(item))
            return key if needed else self.text(key)

        return {
            shown(key, item): self._clean(item, spared, name=key, known=known, depth=depth + 1)
            for key, item in value.items()
        }

    def _items(self, value: list[object], spared: frozenset[str], name: str, known: bool, depth: int) -> object:
        if depth >= _DEPTH:
            return value if self._is_clean(encode(value)) else REDACTED
        whole = known and name in _LISTS and "filename" not in spared
        link = known and len(value) == 2 and str(value[0]) in self._graph
        return [
            item if isinstance(item, str | int) and (whole or link)
            else self._clean(item, spared, name=name, known=known, depth=depth + 1)
            for item in value
        ]  # fmt: skip

    def _names_file(self, text: str) -> bool:
        """Return whether the fold reads this text among outputs as the path of a file."""
        found = _COMPONENT.fullmatch(re.split(r"[/\\]", text)[-1]) if self._files else None
        return found is not None and found[1] in self._files

    def _leads_to_file(self, value: object) -> bool:
        """Return whether the value contains a file: then its key is the kind of that output."""
        if isinstance(value, dict | list):
            items = value.values() if isinstance(value, dict) else value
            return any(map(self._leads_to_file, items))
        return isinstance(value, str) and self._names_file(value)

    def value(self, value: object) -> object:
        """Scrub JSON of the application, none of which a fold reads."""
        return self._clean(value, frozenset())

    def hides(self, text: str) -> bool:
        """Return whether the text contains a secret, in any spelling."""
        return self._spellings.hides(text) or any(secret in text for secret in self._spellings.secrets)

    def text(self, text: str) -> str:
        """Scrub a text; all of it goes if a secret is spelled in another way."""
        text = without_credentials(self._spellings.without(text, REDACTED), unescaped, REDACTED)
        return REDACTED if self._spellings.hides(text) else text


def _is_telling(value: str) -> bool:
    """Return whether the text is distinctive: not ordinary text, and not data."""
    return MIN_SECRET <= len(value) <= _MAX_SECRET and value.lower() not in COMMON
