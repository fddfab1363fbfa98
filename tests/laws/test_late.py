"""Law 1, come late: frames that arrive within the grace, stamped with their arrival, change no outcome.

Time passes here as in a client: the looks are as far apart as looks are, and the board gets the ticks that it asks for.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Deliver
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.observations import AnyObservation, Entry
from comfy_fsm.core.policy import DEFAULT
from comfy_fsm.testing.strategies.runs import Source, source_of, true_runs
from comfy_fsm.testing.strategies.scripted import GRAPHS, OLDEST, PROMPTS, SERVERS, VERSIONS, WINDOWS, Script, TrueRun
from tests.laws.test_laws import decided

law = settings(max_examples=max(300, settings().max_examples))
GRACE = DEFAULT.settle_seconds
GAPS = (1 / 128, 1 / 128, 0.25, 1.0, 1.5)  # between two observations, exact in binary
LOOKS = 6


def forgotten(line: Iterable[AnyObservation]) -> list[AnyObservation]:
    """The same run at a server that keeps no record of anything."""
    paths: dict[str, str] = {}
    kept: list[AnyObservation] = []
    for o in line:
        if isinstance(o, seen.Request):
            paths[o.data.id] = o.data.path
        if isinstance(o, seen.Response) and paths[o.data.id].startswith("/history"):
            o = msgspec.structs.replace(o, data=msgspec.structs.replace(o.data, body=Raw(b"{}")))
        kept.append(o)
    return kept


def looked_at_again(run: TrueRun, *, forget: bool) -> list[AnyObservation]:
    """After the run, each prompt a few times more: the last answers of its server are what it goes on answering."""
    line = forgotten(run.observations) if forget else list(run.observations)
    closed = [o for o in line if isinstance(o, seen.Closed)]
    end = next((n for n, o in enumerate(line) if all(isinstance(each, seen.Closed) for each in line[n:])), len(line))
    answers: dict[str, Raw] = {}
    asked = {o.data.id: o.data.path for o in line if isinstance(o, seen.Request)}
    for o in line:
        if isinstance(o, seen.Response):
            answers[asked[o.data.id]] = o.data.body
    more: list[AnyObservation] = []
    queue = Raw(b'{"queue_running": [], "queue_pending": []}')
    for number in range(LOOKS):
        for plan in run.plans:
            history = f"/history/{plan.prompt_id}"
            known = answers.get(history)
            if known is None and not forget and plan.outcome != "deleted":
                continue  # nobody looked while there was a record: what it says is not known here
            for path, body in (("/queue", queue), (history, known or Raw(b"{}"))):
                name = f"again-{number}-{plan.prompt_id}-{path}"
                request, response = seen.RequestData(name, "GET", path), seen.ResponseData(name, 200, body)
                place: Any = {"at": 0.0, "window": plan.window, "server": plan.server}
                more += [seen.Request(**place, data=request), seen.Response(**place, data=response)]
    return [*line[:end], *more, *(closed[-1:] and line[end:])]


def timed(line: Sequence[AnyObservation], gaps: Sequence[float]) -> list[AnyObservation]:
    """With these pauses between them."""
    at, told = line[0].at if line else 0.0, []
    for o, gap in zip(line, gaps, strict=True):
        at += gap
        told.append(msgspec.structs.replace(o, at=at))
    return told


def late(line: Sequence[AnyObservation], delays: Sequence[float]) -> list[AnyObservation]:
    """What a socket brings comes so much later, in its order; answers come at once."""
    arrived: dict[Source, float] = {}
    told: list[tuple[float, int, AnyObservation]] = []
    for n, (o, delay) in enumerate(zip(line, delays, strict=True)):
        at, source = o.at, source_of(o)
        if source[2] == "ws":
            at = arrived[source] = max(at + delay, arrived.get(source, at))
        told.append((at, n, msgspec.structs.replace(o, at=at)))
    return [o for _, _, o in sorted(told, key=lambda each: each[:2])]


def live(line: Iterable[AnyObservation]) -> tuple[Board, list[str]]:
    """Folded as a client does, with the ticks that the board asks for; and what was delivered."""
    board, position, delivered = Board(), 0, list[str]()

    def fold(o: AnyObservation) -> None:
        nonlocal position
        position += 1
        board.fold(Entry(position, o))
        delivered.extend(f"{e.result.prompt_id} {e.result.state}" for e in board.drain() if isinstance(e, Deliver))

    for o in line:
        while board.due < o.at:
            fold(seen.Tick(at=board.due))
        fold(o)
    board.finish()
    return board, sorted(delivered)


@st.composite
def arrivals(draw: st.DrawFn, *, forget: bool) -> tuple[TrueRun, list[AnyObservation], list[AnyObservation]]:
    """A run, told as it was and told late; how late each frame is, dice say, since a list of draws takes long."""
    run = draw(true_runs())
    line = looked_at_again(run, forget=forget)
    dice = random.Random(draw(st.integers(0, 2**32)))
    slowest = dice.choice((0.0, 0.1, GRACE, GRACE))
    prompt = timed(line, [dice.choice(GAPS) for _ in line])
    return run, prompt, late(prompt, [dice.choice((0.0, dice.uniform(0.0, slowest), slowest)) for _ in line])


@law
@given(arrivals(forget=False))
def test_frames_that_come_late_within_the_grace_give_the_same_outcomes(
    told: tuple[TrueRun, list[AnyObservation], list[AnyObservation]],
) -> None:
    run, prompt, delayed = told
    (here, _), (there, delivered) = live(prompt), live(delayed)
    assert decided(run, there) == decided(run, here)
    assert len(delivered) == len(set(delivered))


@law
@given(arrivals(forget=True))
def test_frames_that_come_late_within_the_grace_say_the_same_where_no_record_does(
    told: tuple[TrueRun, list[AnyObservation], list[AnyObservation]],
) -> None:
    run, prompt, delayed = told
    (here, before), (there, after) = live(prompt), live(delayed)
    assert decided(run, there) == decided(run, here)
    if run.profile is not OLDEST:
        assert after == before


@pytest.mark.parametrize("told_last", WINDOWS[:2])
def test_a_count_that_an_open_socket_told_is_in_force_though_one_that_is_closed_told_later(told_last: str) -> None:
    """Found once in ten thousand runs: whose `status` came last decided whether anything agreed with an absence."""
    told_first = next(window for window in WINDOWS[:2] if window != told_last)
    script, server, prompt = Script(VERSIONS[2]), SERVERS[0], PROMPTS[0]
    for window in (told_first, told_last):
        script.open(window, server)
    accepted = {"prompt_id": prompt, "number": 1, "node_errors": {}}
    script.ask("POST", "/prompt", WINDOWS[1], server, {"prompt": GRAPHS[0]}, 200, accepted)
    for window in (told_first, told_last):
        script.frame("status", {"status": {"exec_info": {"queue_remaining": 0}}}, window, server)
    script.close(WINDOWS[1], server)
    for _ in range(LOOKS):
        script.ask("GET", "/queue", WINDOWS[1], server, None, 200, {"queue_running": [], "queue_pending": []})
        script.ask("GET", f"/history/{prompt}", WINDOWS[1], server, None, 200, {})
    board, delivered = live(timed(script.seen, [0.5] * len(script.seen)))
    assert delivered == [f"{prompt} cancelled"]
    assert board.tasks[0].concluded
