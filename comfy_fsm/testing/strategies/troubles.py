"""Faults of a server, and schedules of when they happen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from comfy_fsm.testing.faults import ACTS, FRAMES, ROUTES, Acting, Faults, Step

__all__ = ["LASTING", "PASSING", "faults", "register", "schedules"]

_ASKED = [route for route in ROUTES if route not in ("GET /", "GET /ws")]
_COUNTS = st.integers(1, 3)
_SECONDS = st.sampled_from((0.0, 0.01, 0.05))
_BY_ROUTE = st.dictionaries(st.sampled_from(_ASKED), _COUNTS, min_size=1, max_size=2)
_WAITS = st.dictionaries(st.sampled_from(_ASKED), _SECONDS, min_size=1, max_size=2)

PASSING: dict[str, st.SearchStrategy[Any]] = {
    "empty_history": _COUNTS, "history_seconds": _SECONDS, "hide_pending": st.just(True),
    "html": _BY_ROUTE, "too_many": _BY_ROUTE, "busy": _BY_ROUTE, "cut_answer": _BY_ROUTE, "garbage": _BY_ROUTE,
    "retry_after": st.sampled_from(("0", "1", "soon")), "delay": _WAITS, "late": _WAITS,
    "refuse_sockets": st.tuples(_COUNTS, st.sampled_from((200, 403, 500, 503))), "deaf": _COUNTS,
    "drop_types": st.sets(st.sampled_from(FRAMES), min_size=1, max_size=3), "double": st.just(True),
    "swallow_post": st.just(1), "drop_post": st.just(1), "post_500_queued": st.just(1), "post_500": st.just(1),
    "lose_end": _COUNTS, "foreign_history": _COUNTS, "stale_status": _COUNTS, "null_status": _COUNTS,
}  # fmt: skip
"""What a client that looks again and reads what it is told can come through."""
LASTING: dict[str, st.SearchStrategy[Any]] = {
    "login_page": st.just(True), "token": st.just("secret"), "mute": st.just(True), "dead_worker": st.just(True),
    "short_memory": st.just(True), "write_seconds": st.sampled_from((0.5, 5.0)),
}  # fmt: skip
"""What stays as it is until somebody turns it back."""


def faults(*names: str, most: int = 3) -> st.SearchStrategy[Faults]:
    """Draw faults, up to `most` of those named, or of all that pass by themselves; shrinks to none."""
    known = PASSING | LASTING
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no knob {unknown[0]!r}; there are {', '.join(known)}")
    return _turned(names or tuple(PASSING), most).map(lambda knobs: Faults(**knobs))


def schedules(*names: str, acts: Sequence[Acting] = ACTS, most: int = 4) -> st.SearchStrategy[list[Step]]:
    """Draw up to `most` events, each after a number of requests, for `FakeComfy.follow`; knobs as in `faults`."""
    faults(*names)
    knobs = _turned(names or tuple(PASSING), 2)
    steps = {act: st.builds(Step, st.integers(0, 20), st.just(act)) for act in ACTS}
    steps["turn"] = st.builds(Step, st.integers(0, 20), st.just("turn"), knobs)
    if unknown := [act for act in acts if act not in steps]:
        raise ValueError(f"acts has {unknown[0]!r}; what may happen is {', '.join(ACTS)}")
    drawn = st.one_of(*(steps[act] for act in acts))
    return st.lists(drawn, max_size=most).map(lambda found: sorted(found, key=lambda step: step.after))


def _turned(names: tuple[str, ...], most: int) -> st.SearchStrategy[dict[str, Any]]:
    known = PASSING | LASTING
    chosen = st.lists(st.sampled_from(names), max_size=most, unique=True)
    return chosen.flatmap(lambda some: st.fixed_dictionaries({name: known[name] for name in some}))


def register() -> None:
    """Let Hypothesis draw these by type; its entry point calls this when Hypothesis is loaded."""
    st.register_type_strategy(Faults, lambda _: faults())
    st.register_type_strategy(Step, lambda _: schedules(most=1).filter(bool).map(lambda steps: steps[0]))
