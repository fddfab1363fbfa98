"""Faults of a server, as knobs that can be turned while it runs; counts are used up.

A knob accepts only what can happen. A route that the fake lacks, a frame type that it never sends, or a negative number
is refused when it is set: a test waiting for it would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "ACTS",
    "FRAMES",
    "ROUTES",
    "Acting",
    "ByRoute",
    "Count",
    "Faults",
    "Knob",
    "Once",
    "Seconds",
    "Step",
    "knobs",
    "route_of",
    "seconds_at",
]

Once = Literal[
    "deaf", "empty_history", "foreign_history", "swallow_post", "drop_post", "post_500", "post_500_queued",
    "lose_end", "stale_status", "null_status",
]  # fmt: skip
ByRoute = Literal["html", "too_many", "busy", "cut_answer", "garbage"]
Acting = Literal["turn", "cut", "restart", "stranger"]
ACTS: tuple[Acting, ...] = get_args(Acting)
_V = TypeVar("_V")

ROUTES = (
    "*",
    "GET /", "GET /ws", "GET /prompt", "POST /prompt", "GET /queue", "POST /queue", "POST /interrupt", "GET /history",
    "POST /history", "GET /view", "POST /upload", "GET /system_stats", "GET /object_info", "GET /features", "GET /jobs",
    "POST /jobs", "GET /assets",
)  # fmt: skip
"""A method and the first part of a path: `GET /history` for every history, `GET /ws` for a handshake; `*` for all."""

FRAMES = (
    "status", "feature_flags", "execution_start", "execution_cached", "executing", "progress", "progress_state",
    "executed", "execution_success", "execution_error", "execution_interrupted", "binary 1", "binary 3", "binary 4",
    "assets.seed.started", "assets.seed.paused", "assets.seed.completed",
)  # fmt: skip
"""The types of frames that a fake may send."""

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]


def _knob(group: str, description: str) -> Meta:
    return Meta(title=group, description=description)


class Faults(Struct, kw_only=True, forbid_unknown_fields=True):
    """Faults of a server, none by default; impossible values raise ValueError when they are set."""

    # by route; asked now and done later is P8, done now and answered later P12, a page in between P33
    delay: Annotated[
        dict[str, Seconds],
        _knob("answers", "Seconds before a request is acted on."),
    ] = {}
    late: Annotated[
        dict[str, Seconds],
        _knob("answers", "Seconds between acting on a request and answering it: frames come before the answer."),
    ] = {}
    html: Annotated[
        dict[str, Count],
        _knob("answers", "How many answers are 502 and an HTML page, as a proxy sends."),
    ] = {}
    login_page: Annotated[
        bool,
        _knob("answers", "Every request is answered 200 with the HTML page of a login."),
    ] = False
    too_many: Annotated[dict[str, Count], _knob("answers", "How many requests are refused with 429.")] = {}
    busy: Annotated[dict[str, Count], _knob("answers", "How many requests are refused with 503.")] = {}
    retry_after: Annotated[str, _knob("answers", "The header Retry-After of a 429 or a 503.")] = "1"
    cut_answer: Annotated[
        dict[str, Count], _knob("answers", "How many answers break off in the middle, and their connection is closed.")
    ] = {}
    garbage: Annotated[
        dict[str, Count], _knob("answers", "How many answers are 200 with a body that claims to be JSON and is not.")
    ] = {}
    token: Annotated[
        str | None, _knob("answers", "The bearer token that every request must carry; without it the answer is 401.")
    ] = None

    # deaf is P3, a reader that does not read P6
    refuse_sockets: Annotated[
        tuple[Count, int],
        _knob("sockets", "How many handshakes are refused, and with which status; 200 is an HTML page."),
    ] = (0, 503)
    deaf: Annotated[
        Count,
        _knob("sockets", "How many sockets receive their first status and nothing after it."),
    ] = 0
    mute: Annotated[bool, _knob("sockets", "No socket receives anything.")] = False
    drop_types: Annotated[
        set[str],
        _knob(
            "sockets", "Types of frames that are never sent; binary ones are named `binary 1`, `binary 3`, `binary 4`."
        ),
    ] = set()
    double: Annotated[bool, _knob("sockets", "Every frame is sent twice.")] = False
    write_seconds: Annotated[
        Seconds,
        _knob("sockets", "Seconds for which a client that does not read may hold up the others, before it is cut off."),
    ] = 5.0

    # no clear answer is P11
    swallow_post: Annotated[
        Count,
        _knob("submitting", "How many prompts are queued, and their connection is reset without an answer."),
    ] = 0
    drop_post: Annotated[
        Count, _knob("submitting", "How many prompts are not queued, and their connection is reset without an answer.")
    ] = 0
    post_500_queued: Annotated[
        Count,
        _knob("submitting", "How many prompts are queued and answered 500."),
    ] = 0
    post_500: Annotated[Count, _knob("submitting", "How many prompts are not queued and answered 500.")] = 0

    # P34, and P49 of the cache
    dead_worker: Annotated[
        bool,
        _knob("running", "Prompts are accepted and nothing runs; what ran stands still."),
    ] = False
    short_memory: Annotated[
        bool,
        _knob("running", "The cache keeps only what it must, in versions that evict from it."),
    ] = False
    lose_end: Annotated[Count, _knob("running", "How many prompts end without a frame that says so.")] = 0

    # the entry comes after the frame (P21), may be wrong (P24), and the queue may hide (P28)
    history_seconds: Annotated[
        Seconds,
        _knob("asking", "Seconds between the frame that ends a prompt and its entry in the history."),
    ] = 0.0
    empty_history: Annotated[
        Count, _knob("asking", "How many answers to `GET /history/ID` are `{}`, whatever the history holds.")
    ] = 0
    foreign_history: Annotated[
        Count, _knob("asking", "How many answers to `GET /history/ID` are about another prompt.")
    ] = 0
    stale_status: Annotated[
        Count,
        _knob("asking", "How many failed prompts are recorded as successes; their messages tell the truth."),
    ] = 0
    null_status: Annotated[
        Count,
        _knob("asking", "How many entries of the history have null for a status."),
    ] = 0
    hide_pending: Annotated[
        bool,
        _knob("asking", "The queue shows only what runs."),
    ] = False

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name))

    def __repr__(self) -> str:
        turned = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__)
        return f"Faults({', '.join(each for each in turned if each not in _AS_EVER)})"

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, _checked(name, value))

    def spend(self, name: Once) -> bool:
        """Return whether this fault happens now, and use up one of its count."""
        left: int = getattr(self, name)
        setattr(self, name, max(left - 1, 0))
        return left > 0

    def spend_refusal(self, route: str) -> int:
        """Return the status with which a request to this route is refused now, or 0."""
        return 429 if self.spend_at("too_many", route) else 503 if self.spend_at("busy", route) else 0

    def spend_at(self, name: ByRoute, route: str) -> bool:
        """Return whether this fault happens now for this route, and use up one of its count."""
        counts: dict[str, int] = getattr(self, name)
        for key in (route, "*"):
            if counts.get(key, 0) > 0:
                counts[key] -= 1
                return True
        return False

    def spend_handshake(self) -> int | None:
        """Return the status with which this handshake is refused, or None."""
        left, status = self.refuse_sockets
        self.refuse_sockets = (max(left - 1, 0), status)
        return status if left > 0 else None

    def turn(self, knobs: Mapping[str, object]) -> None:
        """Set these knobs, in JSON form; raises ValueError, and then sets none."""
        try:
            checked = {name: _checked(name, value) for name, value in knobs.items()}
        except AttributeError as error:
            raise ValueError(str(error)) from None
        for name, value in checked.items():
            setattr(self, name, value)


class Step(Struct, frozen=True):
    """Event in mid-run: knobs are turned, sockets cut, the server restarted, or a stranger posts."""

    after: Count
    """How many requests later."""
    act: Acting
    knobs: dict[str, Any] = {}
    keep: bool = True
    """Whether queue and history outlive a restart."""

    def __post_init__(self) -> None:
        Faults().turn(self.knobs)
        if self.after < 0:
            raise ValueError(f"after={self.after}: it is a number of requests, 0 or more")
        if self.act not in ACTS:
            raise ValueError(f"act={self.act!r}: what may happen is {', '.join(ACTS)}")


class Knob(NamedTuple):
    """Field of Faults, as shown in help and documentation."""

    name: str
    group: str
    description: str
    kind: Any
    """Its type, without what describes it."""
    default: object


def knobs() -> list[Knob]:
    """Return all knobs, in the order of Faults."""
    well = Faults()
    return [
        Knob(name, about.title or "", about.description or "", get_args(hint)[0], getattr(well, name))
        for name, hint in _hints().items()
        for about in get_args(hint)
        if isinstance(about, Meta) and about.title
    ]


def route_of(method: str, path: str) -> str:
    """Return the route of a request, with or without the prefix `/api`."""
    first, _, rest = path.lstrip("/").partition("/")
    return f"{method} /{rest.partition('/')[0] if first == 'api' else first}"


def seconds_at(waits: dict[str, float], route: str) -> float:
    return waits.get(route, waits.get("*", 0.0))


# what may be set


class _ByRoute(dict[str, _V]):
    """Dictionary that refuses keys which are no routes."""

    def __setitem__(self, route: str, value: _V) -> None:
        super().__setitem__(_known_route(route), value)

    def update(self, *given: Any, **named: Any) -> None:
        for route, value in dict(*given, **named).items():
            self[route] = value

    def setdefault(self, route: str, default: _V) -> _V:
        return super().setdefault(_known_route(route), default)


class _Types(set[str]):
    """Set that refuses what is no type of frame."""

    def __repr__(self) -> str:
        return repr({*self})

    def add(self, kind: str) -> None:
        super().add(_known_type(kind))

    def update(self, *kinds: Iterable[str]) -> None:
        for kind in (each for some in kinds for each in some):
            self.add(kind)


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(Faults, include_extras=True)


def _checked(name: str, value: object) -> object:
    """Return the value in the knob's form; raises AttributeError if there is no such knob, otherwise ValueError."""
    if name not in Faults.__struct_fields__:
        raise AttributeError(f"there is no knob {name!r}{_meant(name, Faults.__struct_fields__)}")
    try:
        value = msgspec.convert(value, _hints()[name])
    except msgspec.ValidationError as error:
        raise ValueError(f"the knob {name} cannot be {value!r}: {error}") from None
    if isinstance(value, dict):
        by_route = _ByRoute[Any]()
        by_route.update(value)
        return by_route
    if isinstance(value, set):
        types = _Types()
        types.update(value)
        return types
    return value


def _known_route(route: str) -> str:
    if route in ROUTES:
        return route
    method, _, path = route.partition(" ")
    written = route_of(method.upper(), path) if path else ""
    if written in ROUTES:
        raise ValueError(
            f"the route {route!r} never matches: a route is a method and the first part of a path, without /api; "
            f"write {written!r}, which counts for all that begins so"
        )
    raise ValueError(f"the fake has no route {route!r}{_meant(route, ROUTES)}; it has {', '.join(ROUTES)}")


def _known_type(kind: str) -> str:
    if kind not in FRAMES:
        raise ValueError(f"no frame is of the type {kind!r}{_meant(kind, FRAMES)}; a fake sends {', '.join(FRAMES)}")
    return kind


def _meant(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


_AS_EVER = {f"{name}={getattr(Faults(), name)!r}" for name in Faults.__struct_fields__}
