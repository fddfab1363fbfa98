"""Queues: reads what `GET /queue` lists, item by item, in the form of every version and in a recorder's short one."""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec import Raw, Struct

from comfy_fsm.core.wire import codec
from comfy_fsm.core.wire.bodies import HistoryItem, QueueItem, mark_of
from comfy_fsm.core.wire.fieldwise import Oddity, read

__all__ = ["listing", "marks", "position_in_queue", "queue"]


class _ShortQueue(Struct, frozen=True, forbid_unknown_fields=True):
    """Queue as a recorder shortens it: ids only, never the bodies (P28)."""

    running: list[str]
    pending: list[str]


class _FullQueue(Struct, frozen=True):
    """Queue as a server answers it; of each item only the id is read (P28)."""

    queue_running: list[Raw] | None = None
    queue_pending: list[Raw] | None = None


class _PlainQueue(Struct, frozen=True, gc=False):
    """Queue of such items alone: all of it is read in one go."""

    queue_running: list[QueueItem]
    queue_pending: list[QueueItem]


class _Listing(NamedTuple):
    """Items of a queue; one that cannot be read may be any prompt that it names, so that prompt is not absent."""

    running: list[str]
    pending: list[str]
    named: frozenset[str] = frozenset()
    odd: tuple[Oddity, ...] = ()
    whole: bool = True
    """Both of its lists were there."""
    unread: int = 0
    """Number of items that cannot be read."""


_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MAX_ITEM = 64 * 1024


def listing(raw: Raw) -> _Listing | None:
    """Read the queue, item by item; None if it is no queue (P33)."""
    is_full = bytes(memoryview(raw)[:64]).lstrip().startswith(b'{"queue_')  # to find out by trying takes 0.4 s of 20 MB
    if not is_full and (short := codec.body(raw, _ShortQueue)) is not None:
        return _Listing(short.running, short.pending)
    if (plain := codec.quick(raw, _PlainQueue)) is not None:
        running, pending = plain.queue_running, plain.queue_pending
        return _Listing([item.prompt_id for item in running], [item.prompt_id for item in pending])
    return _itemwise(raw)


def _itemwise(raw: Raw) -> _Listing | None:
    """Read a queue with odd items: what one of them is does not depend on the others."""
    full, odd = read(raw, _FullQueue)
    if full is None or (full.queue_running is None and full.queue_pending is None):
        return None
    strange, named = list(odd), set[str]()
    parts: list[list[str]] = []
    for part, items in (("queue_running", full.queue_running), ("queue_pending", full.queue_pending)):
        parts.append([])
        for n, item in enumerate(items or ()):
            prompt_id = _id_of(item)
            if prompt_id is not None:
                parts[-1].append(prompt_id)
                continue
            strange.append(Oddity(f"{part}[{n}]", "has no prompt id"))
            named.update(found.decode() for found in _UUID.findall(bytes(item)[:_MAX_ITEM]))
    whole = full.queue_running is not None and full.queue_pending is not None
    running, pending = parts
    return _Listing(running, pending, frozenset(named), tuple(strange), whole, len(strange) - len(odd))


def _id_of(item: Raw) -> str | None:
    """Return the id in `[number, prompt_id, …]`; some gateways send objects."""
    parts = codec.body(item, list[Raw])
    if parts is not None:
        return codec.body(parts[1], str) if len(parts) > 1 else None
    entry = codec.body(item, HistoryItem)
    return entry.prompt_id if entry is not None else None


def queue(raw: Raw) -> tuple[list[str], list[str]] | None:
    """Return the running and the pending prompt ids; None if this is no queue (P33)."""
    listed = listing(raw)
    return (listed.running, listed.pending) if listed is not None else None


def marks(raw: Raw) -> dict[str, str]:
    """Return the marks in a queue, by prompt id."""
    full, _ = read(raw, _FullQueue)
    items = [*(full.queue_running or ()), *(full.queue_pending or ())] if full is not None else []
    parts = [part for item in items if (part := codec.body(item, list[Raw])) is not None and len(part) > 1]
    marked = [(codec.body(part[1], str), mark_of(part)) for part in parts]
    return {prompt_id: mark for prompt_id, mark in marked if prompt_id is not None and mark is not None}


def position_in_queue(raw: Raw, prompt_id: str) -> int | None:
    """Return how many prompts are running or pending before this one, by the server's numbers; None if it is not
    listed.

    A server lists pending prompts in the order of its heap, which is not the order in which they will run.
    """
    full, _ = read(raw, _FullQueue)
    if full is None:
        return None
    running = [_id_of(item) for item in full.queue_running or ()]
    if prompt_id in running:
        return 0
    waiting = sorted((_number_of(item), n, _id_of(item)) for n, item in enumerate(full.queue_pending or ()))
    ids = [name for _, _, name in waiting]
    return len(running) + ids.index(prompt_id) if prompt_id in ids else None


def _number_of(item: Raw) -> float:
    parts = codec.body(item, list[Raw])
    number = codec.body(parts[0], float) if parts else None
    return number if number is not None else float("inf")
