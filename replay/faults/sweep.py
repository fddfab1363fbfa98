"""Sweep over every single fault of a trace, one after the other, each judged by no more lines than it can concern."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.server_identity import machine, spelled
from comfy_fsm.core.wire import routes
from replay.faults.consequences import Consequence, compare, judge
from replay.faults.faults import Fault, apply, is_possible
from replay.lines.order import given_by, prompt_of
from replay.lines.reading import Line

__all__ = ["Swept", "parts", "singles", "sweep"]

_OF_ONE_WINDOW = ("drop", "double")


class Swept(Struct, frozen=True):
    """Fault, by the index of its line in the whole trace, and what comes of it."""

    fault: Fault
    consequence: Consequence


def singles(lines: Sequence[Line]) -> Iterator[Fault]:
    """Yield every single fault: each frame dropped or doubled, each socket cut before it; each answer lost, and its
    server's memory before each answer about a task.
    """
    asked = {
        line.observation.data.id: routes.parse(line.observation.data.method, line.observation.data.path).kind
        for line in lines
        if isinstance(line.observation, seen.Request)
    }
    for index, line in enumerate(lines):
        o = line.observation
        if isinstance(o, seen.Response):
            yield Fault("lose", index)
            if asked.get(o.data.id) in ("history", "histories", "job", "jobs"):
                yield Fault("forget", index)
        elif is_possible(Fault("cut", index), lines):
            yield from (Fault(kind, index) for kind in ("drop", "double", "cut"))


def sweep(lines: Sequence[Line]) -> Iterator[Swept]:
    """Yield what comes of each single fault, part by part, in the order of the lines."""
    for part in parts(lines):
        chosen = [lines[index] for index in part]
        views: dict[tuple[str | None, ...], _View] = {}
        for fault in singles(chosen):
            key = (chosen[fault.index].observation.window,) if fault.kind in _OF_ONE_WINDOW else ()
            view = views.get(key) or views.setdefault(key, _View(chosen, key))
            yield Swept(Fault(fault.kind, part[fault.index], fault.seconds), view.consequence(fault))


class _View:
    """Lines that a fault is judged by: all, or without the frames of other windows.

    What a window hears changes no task of another (a law of the fold, tested as such), so whether it hears it once,
    twice or never is judged without what the others heard. Feature flags are told of the server, and stay.
    """

    def __init__(self, lines: Sequence[Line], windows: tuple[str | None, ...]) -> None:
        kept = [n for n, line in enumerate(lines) if not windows or not _heard_elsewhere(line.observation, windows)]
        self._lines = [lines[n] for n in kept]
        self._places = {n: place for place, n in enumerate(kept)}
        self._before = judge(apply(None, self._lines))

    def consequence(self, fault: Fault) -> Consequence:
        placed = Fault(fault.kind, self._places[fault.index], fault.seconds)
        return compare(self._before, judge(apply(placed, self._lines)))


def _heard_elsewhere(o: AnyObservation, windows: tuple[str | None, ...]) -> bool:
    flags = isinstance(o, seen.Message) and isinstance(o.data, seen.FeatureFlags)
    return isinstance(o, seen.Message | seen.Binary) and not flags and o.window not in windows


def parts(lines: Sequence[Line]) -> list[list[int]]:
    """Return the indexes of lines that have nothing to do with the others: those of servers without a common prompt.

    Headers and ticks are for all. One part, where another line names no server, or a clock is told that all share.
    """
    shared = {index for index, line in enumerate(lines) if isinstance(line.observation, seen.Header | seen.Tick)}
    named = [(index, line.observation) for index, line in enumerate(lines) if index not in shared]
    if not named or any(o.server is None or o.mono is not None for _, o in named):
        return [list(range(len(lines)))]
    links: dict[str, str] = {}
    for _, o in named:
        server = f"server {spelled(o.server or '')}"
        _link(links, server, f"machine {machine(spelled(o.server or ''))}")
        for name in _prompts(o):
            _link(links, server, f"prompt {name}")
    found: dict[str, list[int]] = {}
    for index, o in named:
        found.setdefault(_root(links, f"server {spelled(o.server or '')}"), []).append(index)
    return [sorted(shared.union(part)) for part in found.values()]


def _prompts(o: AnyObservation) -> list[str]:
    """Return the prompts that it names; an answer that gives an id names it, too."""
    name = prompt_of(o)
    if name is None and isinstance(o, seen.Response):
        name = given_by(o.data.body)
    return [] if name is None else [name]


def _link(links: dict[str, str], one: str, other: str) -> None:
    links[_root(links, one)] = _root(links, other)


def _root(links: dict[str, str], name: str) -> str:
    while (up := links.setdefault(name, name)) != name:
        links[name] = links[up]
        name = up
    return name
