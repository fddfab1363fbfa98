"""Copies of a board half-way through a trace: what is folded into one leaves the original as it was.

A copy costs a tenth of what deepcopy does, since whatever never changes is shared. So are findings, of which no fold
reads how often they were made, and where: that is told apart by nobody.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Raw, Struct

from comfy_fsm.core.findings import Finding
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.registry.servers import Question, QueueSnapshot
from comfy_fsm.core.scheduling.backlog import Backlog

__all__ = ["SHARED", "copied"]

_Copier = Callable[[Any, dict[int, Any]], Any]
SHARED = (Finding, QueueSnapshot)
"""Records that copies have in common, though they are no constants: no fold reads the one, none writes the other."""
_PLAIN = (int, float, str, bytes, NoneType, Enum, Raw, *SHARED)


def copied(board: Board) -> Board:
    """Return a board that may go on otherwise than this one."""
    memo: dict[int, Any] = {}
    twin = Board(board.policy)
    _fill(twin.registry, board.registry, memo)
    return twin


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    copier = _COPIERS[type(value)]
    return value if copier is None else copier(value, memo)


def _record(value: Any, memo: dict[int, Any]) -> Any:
    twin = memo.get(id(value))
    if twin is None:
        kind: Any = type(value)
        twin = memo[id(value)] = kind.__new__(kind)
        _fill(twin, value, memo)
    return twin


def _fill(twin: Any, value: Any, memo: dict[int, Any]) -> None:
    kind: Any = type(value)
    plain, changeable = _attributes(kind)
    for name in plain:
        setattr(twin, name, getattr(value, name))
    for name in changeable:
        setattr(twin, name, _copied(getattr(value, name), memo))


def _question(value: Question, memo: dict[int, Any]) -> Question:
    """Copy a question that is still open: one that was answered changes no more."""
    return value if value.answered else _record(value, memo)


def _backlog(value: Backlog, memo: dict[int, Any]) -> Backlog:
    twin = copy(value)
    vars(twin).update({name: _copied(each, memo) for name, each in vars(value).items()})
    return twin


def _mapping(value: dict[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    """Copy a dict once: that of all windows is known to each server, too."""
    twin = memo.get(id(value))
    if twin is None:
        twin = memo[id(value)] = value.copy()
        if _holds_records(value.values()):
            for key, each in value.items():
                twin[key] = _copied(each, memo)
    return twin


def _list(value: list[Any], memo: dict[int, Any]) -> list[Any]:
    """Copy a list once: servers that may be one have theirs in common."""
    twin = memo.get(id(value))
    if twin is None:
        twin = memo[id(value)] = value.copy()
        if _holds_records(value):
            twin[:] = [_copied(each, memo) for each in value]
    return twin


def _tuple(value: tuple[Any, ...], memo: dict[int, Any]) -> tuple[Any, ...]:
    return tuple([_copied(each, memo) for each in value]) if _holds_records(value) else value


def _deque(value: deque[Any], memo: dict[int, Any]) -> deque[Any]:
    return deque([_copied(each, memo) for each in value], value.maxlen) if _holds_records(value) else value.copy()


def _holds_records(values: Collection[Any]) -> bool:
    """Return whether what it holds must be copied one by one; all of it is of one type, but for a tuple's parts."""
    if type(values) is tuple:
        return any(_COPIERS[type(part)] is not None for part in values)
    first = next(iter(values), None)
    return _holds_records(first) if type(first) is tuple else _COPIERS[type(first)] is not None


@cache
def _attributes(kind: type[Any]) -> tuple[list[str], list[str]]:
    """Return the attributes whose values never change in place, and the others."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    return [name for name in names if _is_plain(hints[name])], [name for name in names if not _is_plain(hints[name])]


def _is_plain(hint: Any) -> bool:
    """Return whether no value of this type ever changes."""
    if get_origin(hint) in (Union, UnionType, tuple, frozenset):
        return all(_is_plain(each) for each in get_args(hint) if each is not Ellipsis)
    if get_origin(hint) is Literal:
        return True
    return isinstance(hint, type) and (issubclass(hint, _PLAIN) or _is_frozen(hint))


def _is_frozen(kind: type[Any]) -> bool:
    return issubclass(kind, Struct) and kind.__struct_config__.frozen


class _Copiers(dict[type[object], _Copier | None]):
    """Ways to copy a value, by its type; None: it is shared."""

    def __missing__(self, kind: type[object]) -> _Copier | None:
        self[kind] = _record if is_dataclass(kind) and kind not in SHARED else None
        return self[kind]


_COPIERS = _Copiers({
    dict: _mapping, OrderedDict: _mapping, list: _list, tuple: _tuple, deque: _deque,
    set: lambda value, _: value.copy(), Question: _question, Backlog: _backlog,
})  # fmt: skip
