"""Status: what a server tells every socket, how many prompts are pending or running, and that it greets a new one."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Raw, Struct

from comfy_fsm.core.observations import FeatureFlags, Status
from comfy_fsm.core.wire import codec

__all__ = ["greets", "read", "remaining"]

_USUAL = 256
"""Bytes up to which what a `status` says is remembered: a server repeats the same few of them all day."""


class _ExecInfo(Struct, frozen=True):
    queue_remaining: int | None = None


class _Info(Struct, frozen=True):
    exec_info: _ExecInfo = _ExecInfo()


class _Status(Struct, frozen=True):
    status: _Info = _Info()


def remaining(raw: Raw) -> int | None:
    """Return how many prompts are pending or running by a `status` frame or `GET /prompt`, hidden ones included."""
    told = codec.body(raw, _Status)
    count = told.status.exec_info.queue_remaining if told is not None else None
    if count is None:
        info = codec.body(raw, _Info)
        count = info.exec_info.queue_remaining if info is not None else None
    return count if count is not None and count >= 0 else None


def greets(frame: object) -> bool:
    """Return whether a server sends this to every new connection: its flags, and the first `status`, which alone has a
    `sid` (P1).

    A socket that receives nothing else was never addressed (P3).
    """
    return isinstance(frame, FeatureFlags) or (isinstance(frame, Status) and _has_sid(bytes(frame.data)))


def read(raw: Raw) -> tuple[int | None, bool]:
    """Return how many prompts are pending or running by the data of a `status`, and whether it greets."""
    data = bytes(raw)
    return _read_usual(data) if len(data) <= _USUAL else _read(data)


def _read(data: bytes) -> tuple[int | None, bool]:
    return remaining(Raw(data)), _has_sid(data)


_read_usual = lru_cache(maxsize=512)(_read)


def _has_sid(data: bytes) -> bool:
    return b'"sid"' in data
