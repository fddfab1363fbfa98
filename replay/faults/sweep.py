"""Sweep over every single fault of a trace, one after the other, each judged by no more lines than it can concern."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Struct

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.server_identity import machine, spelled
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.wire import routes
from replay.faults.consequences import Consequence
from replay.faults.faults import Fault, Kind, is_possible, observed
from replay.faults.incremental_fold import IncrementalFold, denies
from replay.lines.order import given_by, prompt_of
from replay.lines.reading import Line

__all__ = ["Swept", "parts", "singles", "sweep"]

_OF_A_FRAME: tuple[Kind, ...] = ("drop", "double", "cut")


class Swept(Struct, frozen=True):
    """Fault, by the index of its line in the whole trace, and what comes of it."""

    fault: Fault
    consequence: Consequence


def singles(whole: Sequence[AnyObservation]) -> Iterator[Fault]:
    """Yield every single fault: each frame dropped or doubled, each socket cut before it; each answer lost, and its
    server's memory before each answer about a task.
    """
    asked = {o.data.id: routes.parse(o.data.method, o.data.path).kind for o in whole if isinstance(o, seen.Request)}
    for index, o in enumerate(whole):
        if isinstance(o, seen.Response):
            yield Fault("lose", index)
            if asked.get(o.data.id) in ("history", "histories", "job", "jobs"):
                yield Fault("forget", index)
        elif is_possible(Fault("cut", index), whole):
            yield from (Fault(kind, index) for kind in _OF_A_FRAME)


def sweep(lines: Sequence[Line]) -> Iterator[Swept]:
    """Yield what comes of each single fault, part by part, in the order of the lines."""
    whole = observed(lines)
    for part in parts(whole):
        chosen = [whole[index] for index in part]
        views = _Views(chosen)
        for fault in singles(chosen):
            yield Swept(msgspec.structs.replace(fault, index=part[fault.index]), views.consequence(fault))


class _Views:
    """Lines of a part of a trace that a fault is judged by: all of them, or without what other windows heard.

    What a window hears changes no task of another (a law of the fold, tested as such), so what becomes of it is judged
    without what the others heard. Not so where a server denied a task: whether it is absent is also told by what others
    hear; or where frames came before the POST of their prompt, and belonged to nobody yet.
    """

    def __init__(self, whole: list[AnyObservation]) -> None:
        self._observations = whole
        self._whole = IncrementalFold(whole)
        registry = self._whole.end.registry
        self._are_apart = not (registry.unposted or registry.counters.strange or denies(self._whole.end))
        self._windows = _linked(self._whole.end.tasks)
        self._of: dict[frozenset[str | None], tuple[IncrementalFold, dict[int, int]]] = {}

    def consequence(self, fault: Fault) -> Consequence:
        if self._are_apart and fault.kind in _OF_A_FRAME:
            course, places = self._of_window(self._observations[fault.index].window)
            found = course.consequence(msgspec.structs.replace(fault, index=places[fault.index]))
            if not course.denies:
                return found
        return self._whole.consequence(fault)

    def _of_window(self, window: str | None) -> tuple[IncrementalFold, dict[int, int]]:
        windows = self._windows.get(window, frozenset({window}))
        if windows not in self._of:
            whole = self._observations
            kept = [n for n, o in enumerate(whole) if o.window in windows or not _is_only_heard(o)]
            self._of[windows] = IncrementalFold([whole[n] for n in kept]), {n: place for place, n in enumerate(kept)}
        return self._of[windows]


def _linked(tasks: Iterable[Task]) -> dict[str | None, frozenset[str | None]]:
    """Return for each window those that it has tasks in common with: one posts, and another is told of it."""
    linked: dict[str | None, frozenset[str | None]] = {}
    for task in tasks:
        joint = frozenset(task.windows).union(*(linked.get(window, ()) for window in task.windows))
        linked.update(dict.fromkeys(joint, joint))
    return linked


def _is_only_heard(o: AnyObservation) -> bool:
    """Return whether it is a frame that tells one window alone; feature flags tell of the server."""
    return isinstance(o, seen.Binary) or (isinstance(o, seen.Message) and not isinstance(o.data, seen.FeatureFlags))


def parts(whole: Sequence[AnyObservation]) -> list[list[int]]:
    """Return the indexes of lines that have nothing to do with the others: those of servers without a common prompt.

    Headers and ticks are for all. One part, where another line names no server.
    """
    shared = {index for index, o in enumerate(whole) if isinstance(o, seen.Header | seen.Tick)}
    named = [(index, o) for index, o in enumerate(whole) if index not in shared]
    if not named or any(o.server is None for _, o in named):
        return [list(range(len(whole)))]
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
