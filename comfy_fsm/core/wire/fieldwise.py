"""Fieldwise reader: reads a body field by field if it does not fit its type; what is odd is left out and named.

The typed decoder comes first and reads what servers really send; only what it refuses comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar, cast

import msgspec
from msgspec import Raw, inspect

from comfy_fsm.core.wire import codec

__all__ = ["Oddity", "read"]

_T = TypeVar("_T")
_MOST = 20
"""Oddities of one body that are named."""
_MAX_NAME = 60
_NOTHING = object()
_KINDS = {
    dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number",
    type(None): "null",
}  # fmt: skip


class Oddity(NamedTuple):
    """Place in a body that does not fit its type, and what was found there."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


def read(raw: Raw, kind: type[_T]) -> tuple[_T | None, tuple[Oddity, ...]]:
    """Read the body as `kind` as far as possible, with its oddities; None if nothing of it can be read (P33)."""
    whole = codec.quick(raw, kind)
    if whole is not None:
        return whole, ()
    try:
        plain = codec.loads(bytes(raw))
    except codec.Unreadable:
        return None, ()
    whole = codec.as_kind(plain, kind)
    if whole is not None:
        return whole, ()
    odd: list[Oddity] = []
    found = _read(plain, _type(cast("Hashable", kind)), "", odd)
    return None if found is _NOTHING else cast("_T", found), tuple(odd)


@lru_cache(maxsize=64)
def _type(kind: Hashable) -> inspect.Type:
    return inspect.type_info(kind)


def _read(value: object, kind: inspect.Type, path: str, odd: list[Oddity]) -> object:
    if isinstance(kind, inspect.UnionType):
        return _union(value, kind, path, odd)
    reader = _READERS.get(type(kind))
    if reader is not None:
        return reader(value, kind, path, odd)
    plain = _PLAIN.get(type(kind))
    if plain is None:
        return value
    try:
        return msgspec.convert(value, plain, strict=False)
    except msgspec.ValidationError:
        return _leave_out(value, path, odd)


def _leave_out(value: object, path: str, odd: list[Oddity]) -> object:
    _note(path, f"is {_KINDS[type(value)]}", odd)
    return _NOTHING


def _note(path: str, what: str, odd: list[Oddity]) -> None:
    if len(odd) < _MOST:
        odd.append(Oddity(path or "all of it", what))


def _below(path: str, name: object) -> str:
    shown = f"[{name}]" if isinstance(name, int) else f"{'.' if path else ''}{str(name)[:_MAX_NAME]}"
    return path + shown


def _union(value: object, kind: inspect.UnionType, path: str, odd: list[Oddity]) -> object:
    if value is None and any(isinstance(each, inspect.NoneType) for each in kind.types):
        return None
    fitting = [each for each in kind.types if isinstance(value, _SHAPES.get(type(each), ()))]
    rest = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    if fitting or len(rest) == 1:
        return _read(value, (fitting or rest)[0], path, odd)
    return _leave_out(value, path, odd)


def _struct(value: object, kind: inspect.StructType, path: str, odd: list[Oddity]) -> object:
    if not isinstance(value, Mapping):
        return _leave_out(value, path, odd)
    found: dict[str, object] = {}
    for field in kind.fields:
        if field.encode_name in value:
            item = _read(value[field.encode_name], field.type, _below(path, field.encode_name), odd)
            if item is not _NOTHING:
                found[field.name] = item
        if field.required and field.name not in found:
            _note(path, f"has no {field.encode_name}", odd)
            return _NOTHING
    return kind.cls(**found)


def _dict(value: object, kind: inspect.DictType, path: str, odd: list[Oddity]) -> object:
    if not isinstance(value, Mapping):
        return _leave_out(value, path, odd)
    items = ((key, _read(item, kind.value_type, _below(path, str(key)), odd)) for key, item in value.items())
    return {str(key): item for key, item in items if item is not _NOTHING}


def _list(value: object, kind: inspect.ListType, path: str, odd: list[Oddity]) -> object:
    if not isinstance(value, list):
        return _leave_out(value, path, odd)
    items = (_read(item, kind.item_type, _below(path, n), odd) for n, item in enumerate(value))
    return [item for item in items if item is not _NOTHING]


def _tuple(value: object, kind: inspect.TupleType, path: str, odd: list[Oddity]) -> object:
    """Read a tuple without its extra parts; an odd or missing part becomes an empty record, if it is to be one."""
    if not isinstance(value, list) or not value:
        return _leave_out(value, path, odd)
    if len(value) != len(kind.item_types):
        _note(path, f"has {len(value)} parts", odd)
    found: list[object] = []
    for n, wanted in enumerate(kind.item_types):
        item = _read(value[n], wanted, _below(path, n), odd) if n < len(value) else _NOTHING
        if item is _NOTHING and isinstance(wanted, inspect.StructType):
            item = wanted.cls()
        if item is _NOTHING:
            return _NOTHING
        found.append(item)
    return tuple(found)


def _text(value: object, kind: inspect.StrType, path: str, odd: list[Oddity]) -> object:
    """Read a text: a number for an id, or lines for a text, can be meant in one way only."""
    if value == "" and kind.min_length:
        _note(path, "is empty", odd)
        return _NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        _note(path, "is a number, and was read as a text", odd)
        return str(value)
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        _note(path, "is a list, and was read as lines of text", odd)
        return "\n".join(value)
    return _leave_out(value, path, odd)


def _raw(value: object, kind: inspect.Type, path: str, odd: list[Oddity]) -> object:
    return Raw(msgspec.json.encode(value))


_READERS: dict[type[inspect.Type], Callable[..., object]] = {
    inspect.StructType: _struct,
    inspect.DictType: _dict,
    inspect.ListType: _list,
    inspect.TupleType: _tuple,
    inspect.StrType: _text,
    inspect.RawType: _raw,
}
_PLAIN: dict[type[inspect.Type], type] = {inspect.BoolType: bool, inspect.IntType: int, inspect.FloatType: float}
_SHAPES: dict[type[inspect.Type], tuple[type, ...]] = {
    inspect.StructType: (dict,), inspect.DictType: (dict,), inspect.ListType: (list,), inspect.TupleType: (list,),
    inspect.StrType: (str,), inspect.BoolType: (bool,), inspect.IntType: (int,), inspect.FloatType: (float, int),
}  # fmt: skip
