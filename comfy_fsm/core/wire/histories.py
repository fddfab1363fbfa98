"""Histories: reads what `GET /history` lists, record by record, even if a wrapper has reshaped it. No state, no
time."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Raw

from comfy_fsm.core.wire import codec
from comfy_fsm.core.wire.bodies import HistoryItem, HistoryRecord
from comfy_fsm.core.wire.fieldwise import Oddity, read

__all__ = ["records", "unwrapped"]


class _Records(NamedTuple):
    """History, entry by entry: records that can be read, and the oddities of each entry."""

    records: dict[str, HistoryRecord]
    odd: dict[str, tuple[Oddity, ...]]


def records(raw: Raw) -> _Records | None:
    """Read a history; None if it is none (P33): no object, or one without any readable entry."""
    whole = codec.quick(raw, dict[str, HistoryRecord])
    if whole is not None and _WRAPPING.isdisjoint(whole):
        return _Records(whole, {})
    entries = codec.body(unwrapped(raw), dict[str, Raw])
    if entries is None:
        return None
    found = _Records({}, {})
    for prompt_id, entry in entries.items():
        record, odd = read(entry, HistoryRecord)
        if record is not None:
            found.records[prompt_id] = record
        if odd:
            found.odd[prompt_id] = odd
    return found if found.records else None


_WRAPPERS = ("data", "result", "results", "history", "records", "response", "body")
"""Keys under which wrappers and Comfy Cloud put a history."""
_WRAPPING = frozenset({*_WRAPPERS, "outputs"})
"""These and the key of a single record: no prompt has such an id."""
_LAYERS = 4


def unwrapped(raw: Raw) -> Raw:
    """Return the history as `{prompt_id: record}`, if it stands in another object, in a text, in a list, or is one
    record."""
    for _ in range(_LAYERS):
        entries = codec.body(raw, dict[str, Raw])
        if entries is None:
            listed, text = codec.body(raw, list[Raw]), codec.body(raw, str)
            if text is None or not text.lstrip().startswith(("{", "[")):
                return raw if listed is None else _by_id(listed)
            raw = Raw(text.encode("utf-8", "replace"))
        elif "outputs" in entries and not entries.keys().isdisjoint(("status", "prompt")):
            return _by_id([raw])
        else:
            inner = next((entries[name] for name in _WRAPPERS if name in entries), None)
            if inner is None or bytes(inner) == b"null":
                return raw
            raw = inner
    return raw


def _by_id(entries: list[Raw]) -> Raw:
    """Index records by their prompt; those that name none are left out."""
    found: dict[str, Raw] = {}
    for entry in entries:
        prompt_id = _named(entry)
        if prompt_id is not None:
            found[prompt_id] = entry
    return Raw(msgspec.json.encode(found)) if found or not entries else Raw(b"null")


def _named(entry: Raw) -> str | None:
    """Return the prompt that an entry names: by itself, as in Comfy Cloud, or in its prompt, as elsewhere."""
    name, record = codec.body(entry, HistoryItem), codec.body(entry, HistoryRecord)
    parts = codec.body(record.prompt, list[Raw]) if record is not None else None
    if name is None and parts is not None and len(parts) > 1:
        return codec.body(parts[1], str)
    return name.prompt_id if name is not None else None
