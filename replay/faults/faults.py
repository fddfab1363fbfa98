"""Faults: each makes of the lines of a trace the observations that would have been recorded with it.

A trace is closed: what a live client would have asked next is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.elapsed_time import ElapsedTime
from comfy_fsm.core.wire import codec, routes
from replay.lines.order import prompt_of, source_of
from replay.lines.reading import Line

__all__ = ["MOST_LINES", "Fault", "Kind", "after", "apply", "is_possible", "observed", "words"]

MOST_LINES = 5_000
"""Lines of a trace of which each single fault is tried: that takes minutes."""

Kind = Literal["drop", "double", "delay", "swap", "cut", "lose", "forget"]
_T = TypeVar("_T", bound=AnyObservation)
_replace: Callable[..., AnyObservation] = msgspec.structs.replace
_DONE = {
    "drop": "is dropped",
    "double": "comes twice",
    "delay": "comes {seconds:g} s later",
    "swap": "comes after the next one of its source",
    "cut": "would come on a socket that is cut just before it, for {seconds:g} s",
    "lose": "is lost: the request times out",
    "forget": "would come from a server that has just forgotten everything",
}


class Fault(Struct, frozen=True):
    """Fault that happens to the line of this index, or to its socket or server just before it."""

    kind: Kind
    index: int
    seconds: float = 1.0
    """How long a socket is away, or how late a line comes."""


def observed(lines: Iterable[Line]) -> list[AnyObservation]:
    """Return what was seen, by a clock that does not step: a fault changes when a line comes, and its monotonic time
    would contradict that.
    """
    clock = ElapsedTime()
    whole = (line.observation for line in lines)
    return [o if o.mono is None else _replace(clock.steady(o, o.mono), mono=None) for o in whole]


def is_possible(fault: Fault, whole: Sequence[AnyObservation]) -> bool:
    """Return whether such a thing can happen to this line: an answer is lost, and a socket is cut before a frame."""
    o = whole[fault.index]
    if fault.kind == "lose":
        return isinstance(o, seen.Response)
    if fault.kind == "cut":
        return isinstance(o, seen.Message | seen.Binary | seen.Undecodable)
    if fault.kind == "swap":
        return _next_of_source(whole, fault.index) is not None
    return fault.kind != "forget" or o.server is not None


def apply(fault: Fault | None, whole: list[AnyObservation]) -> list[AnyObservation]:
    """Return the observations as they are with this fault; without one, as they are."""
    return whole if fault is None else whole[: fault.index] + after(fault, whole)


def after(fault: Fault, whole: list[AnyObservation]) -> list[AnyObservation]:
    """Return what comes, with this fault, from its line on: what is before that stays as it is."""
    return _OPERATORS[fault.kind](fault, whole)


def words(fault: Fault, lines: Sequence[Line]) -> str:
    """Say it: the line, what it is, and what happens to it."""
    line = lines[fault.index]
    return f"line {line.number} ({_named(line.observation, lines)}) {_DONE[fault.kind].format(seconds=fault.seconds)}"


def _named(o: AnyObservation, lines: Sequence[Line]) -> str:
    match o:
        case seen.Message():
            kind = type(o.data).__struct_config__.tag
            return getattr(o.data, "name", "") or str(kind)
        case seen.Response() | seen.NoAnswer():
            asked = (each.observation for each in lines if isinstance(each.observation, seen.Request))
            what = next((_request(each) for each in asked if each.data.id == o.data.id), "a request")
            return f"{o.data.status if isinstance(o, seen.Response) else 'no answer'} to {what}"
        case seen.Request():
            return _request(o)
    return str(type(o).__struct_config__.tag)


def _request(o: seen.Request) -> str:
    return f"{o.data.method} {o.data.path.partition('?')[0]}"


def _drop(fault: Fault, whole: list[AnyObservation]) -> list[AnyObservation]:
    return whole[fault.index + 1 :]


def _double(fault: Fault, whole: list[AnyObservation]) -> list[AnyObservation]:
    return [whole[fault.index], *whole[fault.index :]]


def _delay(fault: Fault, whole: list[AnyObservation]) -> list[AnyObservation]:
    """Delay a line: a frame holds up those behind it on its socket; an answer or a request comes late by itself."""
    late, rest = whole[fault.index], whole[fault.index :]
    due, source = late.at + fault.seconds, source_of(late)
    holds_up = source[2] == "socket"
    held = {n for n, o in enumerate(rest) if n == 0 or (holds_up and o.at < due and source_of(o) == source)}
    others = [o for n, o in enumerate(rest) if n not in held]
    place = next((n for n, o in enumerate(others) if o.at > due), len(others))
    return [*others[:place], *(_replace(rest[n], at=due) for n in sorted(held)), *others[place:]]


def _swap(fault: Fault, whole: list[AnyObservation]) -> list[AnyObservation]:
    """Exchange it with the next of its source; each place keeps its time."""
    rest = whole[fault.index :]
    later = _next_of_source(rest, 0) or 0
    rest[0], rest[later] = _replace(rest[later], at=rest[0].at), _replace(rest[0], at=rest[later].at)
    return rest


def _cut(fault: Fault, whole: list[AnyObservation]) -> list[AnyObservation]:
    """Close the socket without a word, leave out what it would have brought, and open it again."""
    first = whole[fault.index]
    source, back = source_of(first), first.at + fault.seconds
    where: dict[str, Any] = {"window": first.window, "server": first.server, "conn": first.conn}
    made: list[AnyObservation] = [seen.Closed(at=first.at, data=seen.CloseData(1006), **where)]
    closed = False
    for index, o in enumerate(whole[fault.index :], fault.index):
        if not closed and o.at >= back:
            return [*made, seen.Opened(at=back, **where), *whole[index:]]
        if source_of(o) != source:
            made.append(o)
        elif isinstance(o, seen.Opened):
            return made + whole[index:]
        else:
            closed = closed or isinstance(o, seen.Closed)
    return made


def _lose(fault: Fault, whole: list[AnyObservation]) -> list[AnyObservation]:
    answer = whole[fault.index]
    if not isinstance(answer, seen.Response):
        return whole[fault.index :]
    lost = seen.NoAnswer(
        at=answer.at, window=answer.window, server=answer.server, seq=answer.seq, conn=answer.conn,
        mono=answer.mono, data=seen.NoAnswerData(answer.data.id, "ReadTimeout"),
    )  # fmt: skip
    return [lost, *whole[fault.index + 1 :]]


def _forget(fault: Fault, whole: list[AnyObservation]) -> list[AnyObservation]:
    """Take out of every later answer of this server what it knew of the prompts of before."""
    server = whole[fault.index].server
    gone = {name for o in whole[: fault.index] if o.server == server and (name := prompt_of(o)) is not None}
    gone |= {name for o in whole[: fault.index] if isinstance(o, seen.Response) for name in _ids(o)}
    paths = {o.data.id: o for o in whole if isinstance(o, seen.Request)}
    return [
        _without(o, paths.get(o.data.id), gone) if isinstance(o, seen.Response) and o.server == server else o
        for o in whole[fault.index :]
    ]


def _ids(o: seen.Response) -> list[str]:
    try:
        value = codec.loads(o.data.body)
    except codec.Unreadable:
        return []
    given = value.get("prompt_id") if isinstance(value, dict) else None
    return [given] if isinstance(given, str) else []


def _without(o: seen.Response, request: seen.Request | None, gone: set[str]) -> AnyObservation:
    parsed = routes.parse(request.data.method, request.data.path) if request is not None else None
    if parsed is None or parsed.kind not in ("queue", "history", "histories", "job", "jobs") or o.data.status != 200:
        return o
    if parsed.kind == "job" and parsed.prompt_id in gone:
        body: object = {"error": "Job not found"}
        return _replace(o, data=_answer(o, 404, body))
    try:
        body = codec.loads(o.data.body)
    except codec.Unreadable:
        return o
    return _replace(o, data=_answer(o, 200, _emptied(body, gone)))


def _answer(o: seen.Response, status: int, body: object) -> seen.ResponseData:
    return seen.ResponseData(o.data.id, status, msgspec.Raw(msgspec.json.encode(body)))


def _emptied(value: object, gone: set[str]) -> object:
    """Return the value without the entries of these prompts: records by id, ids, rows of a queue, jobs of a list."""
    if isinstance(value, dict):
        return {key: _emptied(item, gone) for key, item in value.items() if key not in gone}
    if isinstance(value, list):
        return [_emptied(item, gone) for item in value if not _is_about(item, gone)]
    return value


def _is_about(item: object, gone: set[str]) -> bool:
    if isinstance(item, dict):
        return item.get("id") in gone or item.get("prompt_id") in gone
    if isinstance(item, list):
        return len(item) > 1 and isinstance(item[1], str) and item[1] in gone
    return isinstance(item, str) and item in gone


def _next_of_source(whole: Sequence[AnyObservation], index: int) -> int | None:
    source = source_of(whole[index])
    return next((n for n in range(index + 1, len(whole)) if source_of(whole[n]) == source), None)


_OPERATORS: dict[Kind, Callable[[Fault, list[AnyObservation]], list[AnyObservation]]] = {
    "drop": _drop, "double": _double, "delay": _delay, "swap": _swap, "cut": _cut, "lose": _lose, "forget": _forget,
}  # fmt: skip
