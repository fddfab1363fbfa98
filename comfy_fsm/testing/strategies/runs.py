"""Runs, told truly, of several windows at several servers, and every order in which their observations may arrive."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from comfy_fsm.core import observations as seen
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.testing.strategies.scripted import (
    GRAPHS,
    PROMPTS,
    SERVERS,
    TRUTH,
    VERSIONS,
    WINDOWS,
    Plan,
    Script,
    TrueRun,
)

__all__ = ["Source", "interleave", "mixtures", "source_of", "sources_of", "true_runs"]

Source = tuple[str | None, str | None, str]


def source_of(o: AnyObservation) -> Source:
    """Return the source of an observation, which keeps its order: a window's socket at a server, or a window's
    requests.
    """
    if isinstance(o, seen.Opened | seen.Closed | seen.Message | seen.Binary | seen.Undecodable):
        return o.window, o.server, "ws"
    return o.window, None, "http"


def sources_of(observations: Iterable[AnyObservation]) -> list[list[AnyObservation]]:
    found: dict[Source, list[AnyObservation]] = {}
    for o in observations:
        found.setdefault(source_of(o), []).append(o)
    return list(found.values())


def interleave(
    sources: Sequence[Sequence[AnyObservation]], dice: random.Random, lag: int | None = None
) -> list[AnyObservation]:
    """Merge the sources, each in its own order; with `lag`, none runs ahead of the oldest by more than that many."""
    order = {id(o): n for n, o in enumerate(sorted((o for s in sources for o in s), key=lambda o: o.at))}
    heads = [0] * len(sources)
    mixed: list[AnyObservation] = []
    while True:
        waiting = [n for n, source in enumerate(sources) if heads[n] < len(source)]
        if not waiting:
            return mixed
        if lag is not None:
            oldest = min(order[id(sources[n][heads[n]])] for n in waiting)
            waiting = [n for n in waiting if order[id(sources[n][heads[n]])] <= oldest + lag]
        chosen = dice.choice(waiting)
        mixed.append(sources[chosen][heads[chosen]])
        heads[chosen] += 1


# true runs


@st.composite
def true_runs(draw: st.DrawFn, *, windows: int = 2, servers: int = 2, prompts: int = 3) -> TrueRun:
    """Draw runs of some prompts as they could really happen, with what each source saw, and the truth."""
    own, at = _some(WINDOWS, windows, "windows"), _some(SERVERS, servers, "servers")
    profile = draw(st.sampled_from(VERSIONS))
    posted = _some(PROMPTS, prompts, "prompts")[: draw(st.integers(1, prompts))]
    plans = [draw(_plans(prompt_id, own, at)) for prompt_id in posted]
    script = Script(profile)
    for window in own:
        for server in at:
            script.open(window, server)
    for plan in plans:
        script.post(plan)
    for plan in plans:
        script.run(plan)
    for plan in plans:
        for _ in range(plan.looks):
            script.query(plan)
    for window, server in sorted(script.connected):
        script.close(window, server)
    return TrueRun(profile, plans, script.seen)


def _plans(prompt_id: str, windows: Sequence[str], servers: Sequence[str]) -> st.SearchStrategy[Plan]:
    return st.builds(
        Plan, prompt_id=st.just(prompt_id), window=st.sampled_from(windows), server=st.sampled_from(servers),
        graph=st.sampled_from(GRAPHS), outcome=st.sampled_from([*TRUTH]),
        cached=st.sampled_from(((), ("1",), ("1", "2"))), shows=st.booleans(),
        addressed=st.integers(0, 3).map(bool), own_id=st.booleans(),
        drop=st.one_of(st.none(), st.none(), st.integers(0, 12)), back=st.integers(0, 12),
        early_queries=st.integers(0, 2), looks=st.integers(0, 3),
    )  # fmt: skip


def _some(names: tuple[str, ...], count: int, what: str) -> tuple[str, ...]:
    if not 1 <= count <= len(names):
        raise ValueError(f"{what}={count}: the scripted server knows 1 to {len(names)}, so that they collide often")
    return names[:count]


def mixtures(run: TrueRun | Iterable[AnyObservation]) -> st.SearchStrategy[list[AnyObservation]]:
    """Draw merges of the sources of a run, each in its own order; shrinks towards one source after the other."""
    sources = sources_of(run.observations if isinstance(run, TrueRun) else run)
    turns = [n for n, source in enumerate(sources) for _ in source]

    def merge(order: Sequence[int]) -> list[AnyObservation]:
        streams = [iter(source) for source in sources]
        return [next(streams[n]) for n in order]

    return st.permutations(turns).map(merge)
