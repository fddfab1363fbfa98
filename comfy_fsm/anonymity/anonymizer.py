"""Anonymizer: writes a trace anew, line by line, with other names for whatever its words are not known to be public.

Each line stays in its place and of its kind, also one that cannot be read, so that a finding cites the same line
before and after. Numbers of the protocol and times stay; so do the words in `vocabulary`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from comfy_fsm.anonymity.pseudonyms import Pseudonyms
from comfy_fsm.anonymity.vocabulary import NUMERIC
from comfy_fsm.core.wire import codec

__all__ = ["Anonymizer", "anonymized"]

_FREE = frozenset({"inputs", "tag", "extra_data", "workflow", "received_value", "input_config", "current_inputs"})
"""Keys below which a number means what a user made it mean."""
_PADDED = frozenset({"outputs", "output", "preview_output"})
"""Keys below which a text keeps its length: so much of it is kept for a task, and no more."""
_LONG = 1_000
_UNREADABLE = b"?"


def anonymized(lines: Iterable[bytes | str]) -> Iterator[bytes]:
    """Yield the lines of one trace without what is personal in them."""
    anonymizer = Anonymizer()
    for line in lines:
        yield anonymizer.line(line)


class Anonymizer:
    """Anonymizer of one trace, or of several that belong together: the same name is replaced by the same everywhere."""

    def __init__(self) -> None:
        self._pseudonyms = Pseudonyms()

    def line(self, line: bytes | str) -> bytes:
        """Return the line without what is personal in it. A reader passes a `str` where it could not unpack a line."""
        if isinstance(line, str):
            return _UNREADABLE
        bare = line.strip()
        if not bare:
            return b""
        if bare.startswith(b"#"):
            return b"#"
        try:
            value = codec.loads(line)
        except codec.Unreadable:
            return _UNREADABLE
        return json.dumps(self.value(value), ensure_ascii=True, separators=(",", ":")).encode()

    def value(self, value: object, key: str = "", *, free: bool = False, padded: bool = False) -> object:
        """Return the JSON value without what is personal in it; `key` is the name under which it stands."""
        if isinstance(value, str):
            made = self._text(value, key)
            return made.ljust(len(value), ".") if padded and len(value) > _LONG else made
        if isinstance(value, dict):
            return {
                self._pseudonyms.word(name): self.value(
                    item, name, free=free or name in _FREE, padded=padded or name in _PADDED
                )
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item, key, free=free, padded=padded) for item in value]
        if isinstance(value, bool) or not isinstance(value, int | float) or (key in NUMERIC and not free):
            return value
        return self._pseudonyms.number(value)

    def _text(self, text: str, key: str) -> str:
        if key == "server":
            return self._pseudonyms.address(text)
        if key == "path" and text.startswith("/"):
            return self._pseudonyms.path(text)
        if key == "withheld":  # node.input
            return ".".join(map(self._pseudonyms.word, text.split(".")))
        if text[:1] in ("{", "[") and (packed := self._packed(text)) is not None:
            return packed
        return self._pseudonyms.word(text, key)

    def _packed(self, text: str) -> str | None:
        """JSON in a text, as some wrappers send it."""
        try:
            value = codec.loads(text.encode("utf-8", "replace"))
        except codec.Unreadable:
            return None
        return json.dumps(self.value(value)) if isinstance(value, dict | list) else None
