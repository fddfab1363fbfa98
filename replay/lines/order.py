"""Order of lines: what each needs before it, and so must be kept in a part of a trace that a recorder could have seen.

An answer has its request, a frame its socket, and what names a prompt comes after the POST, or the answer, that gave it
its id. A part that keeps the order of the whole, and for each line what it needs, is admissible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.wire import bodies, codec, routes
from replay.lines.reading import Line

__all__ = ["Source", "admissible", "given_by", "needs", "prompt_of", "source_of"]

Source = tuple[str | None, str | None, str]


def source_of(o: AnyObservation) -> Source:
    """Return what keeps its order by itself: a window's socket at a server, or a window's exchanges."""
    if isinstance(o, seen.Opened | seen.Closed | seen.Message | seen.Binary | seen.Undecodable):
        return o.window, o.server, "socket"
    return o.window, None, "exchanges"


def prompt_of(o: AnyObservation) -> str | None:
    """Return the prompt that the observation names, by itself: an answer has no name but its request's."""
    match o:
        case seen.Message():
            return getattr(getattr(o.data, "data", None), "prompt_id", None)
        case seen.Binary():
            return None if o.data.metadata is None else o.data.metadata.prompt_id
        case seen.Command() | seen.Delivered():
            return o.data.prompt_id
        case seen.Request():
            parsed = routes.parse(o.data.method, o.data.path)
            return parsed.prompt_id or (_chosen(o.data.body) if parsed.kind == "post" else None)
    return None


def needs(lines: Sequence[Line]) -> list[frozenset[int]]:
    """Return for each line the indexes of those before it without which it could not have been seen."""
    return [frozenset(before) for before in _Reader().read(lines)]


def admissible(kept: Iterable[int], needed: Sequence[frozenset[int]]) -> list[int]:
    """Return what of these indexes may be kept, in order: none whose needs are not."""
    found: set[int] = set()
    for index in sorted(kept):
        if needed[index] <= found:
            found.add(index)
    return sorted(found)


class _Reader:
    """Reader of the lines so far, with what later lines need."""

    def __init__(self) -> None:
        self._requests: dict[str, int] = {}
        self._posts: set[int] = set()
        self._sockets: dict[Source, int] = {}
        self._prompts: dict[str, int] = {}

    def read(self, lines: Sequence[Line]) -> list[set[int]]:
        return [self._needs(index, line.observation) for index, line in enumerate(lines)]

    def _needs(self, index: int, o: AnyObservation) -> set[int]:
        prompt, source = prompt_of(o), source_of(o)
        found = {self._prompts[prompt]} if prompt in self._prompts else set()
        if isinstance(o, seen.Opened):
            self._sockets[source] = index
        elif source in self._sockets:
            found.add(self._sockets[source])
        if isinstance(o, seen.Request):
            self._ask(index, o, prompt)
        elif isinstance(o, seen.Response | seen.NoAnswer) and o.data.id in self._requests:
            found.add(asked := self._requests[o.data.id])
            if asked in self._posts and isinstance(o, seen.Response) and (given := given_by(o.data.body)) is not None:
                self._prompts.setdefault(given, index)
        return found

    def _ask(self, index: int, o: seen.Request, prompt: str | None) -> None:
        self._requests[o.data.id] = index
        if routes.parse(o.data.method, o.data.path).kind == "post":
            self._posts.add(index)
            if prompt is not None:
                self._prompts.setdefault(prompt, index)


def _chosen(body: Raw) -> str | None:
    submission = codec.body(body, bodies.Submission)
    return None if submission is None else submission.prompt_id


def given_by(body: Raw) -> str | None:
    """Return the prompt id that an answer to a POST gives; None if it gives none."""
    try:
        value = codec.loads(body)
    except codec.Unreadable:
        return None
    given = value.get("prompt_id") if isinstance(value, dict) else None
    return given if isinstance(given, str) else None
