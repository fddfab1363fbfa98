"""Laws of dispatching, under any schedule of arrivals and faults that Hypothesis draws.

The real dispatcher, client and log against servers on a clock that only jumps (`virtual.py`). What a server ran is the
truth that the proofs of `core/fold/resubmission.py` are held against: whatever was believed, no workflow ran twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from typing import Any, NamedTuple
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfy_fsm import Entry, Policy, read
from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.scheduling.scheduler import Scheduler
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.dispatch.dispatcher import Dispatcher
from comfy_fsm.log.memory import MemoryLog
from comfy_fsm.testing import Faults, picture
from tests.support.stage import outcome
from tests.support.virtual import Virtual, play

POLICY = Policy(resubmits=1, expire_seconds=1e6, deadline_seconds=8, open_seconds=4, look_limit_seconds=10)
CAPACITY = 2
HORIZON = 240.0  # seconds of trouble, then all is mended
HEALED = 2_000.0  # and by then all must be over: longer than the longest backoff, the longest wait and all the work
AGEING = 60.0


class Arrival(NamedTuple):
    at: float
    priority: int


class Trouble(NamedTuple):
    at: float
    server: int
    kind: str


def lag(server: Virtual) -> None:
    server.lag = 0.0 if server.lag else 20.0


def restart(server: Virtual) -> None:
    server.kill()
    server.start()


def cut(server: Virtual) -> None:
    for pipe in server.pipes.values():
        pipe.put_nowait(None)


def refuse(status: int) -> Any:
    return lambda server: server.refusals.extend([status] * 2)


def fault(**knobs: object) -> Any:
    def turn(server: Virtual) -> None:
        for name, value in knobs.items():
            setattr(server.faults, name, value)

    return turn


TROUBLES: dict[str, Any] = {
    "away": Virtual.kill,
    "back": lambda server: None if server.up else server.start(),
    "restarted": restart,
    "slow": lag,
    "cut": cut,
    "drops": fault(drop_post=2),
    "swallows": fault(swallow_post=2),
    "wedged": fault(dead_worker=True),
    "working": fault(dead_worker=False),
    **{f"says {status}": refuse(status) for status in (401, 429, 503)},
}
MOVING = {"drained", "undrained"}
SECONDS = st.floats(0.0, HORIZON, allow_nan=False).map(lambda at: round(at, 1))
ARRIVALS = st.lists(st.builds(Arrival, SECONDS, st.integers(-2, 2)), min_size=1, max_size=10)
WORRIES = st.lists(st.builds(Trouble, SECONDS, st.integers(0, 2), st.sampled_from([*TROUBLES, *MOVING])), max_size=12)


class Day(NamedTuple):
    outcomes: list[str]
    servers: list[Virtual]
    lines: list[bytes]


def live_through(arrivals: list[Arrival], troubles: list[Trouble]) -> Day:
    day: list[Day] = []

    async def story(servers: list[Virtual]) -> None:
        log = MemoryLog()
        with mock.patch("comfy_fsm.live.client.client.MemoryLog", return_value=log):
            async with (
                Client([server.url for server in servers], policy=POLICY) as client,
                Dispatcher(client, capacity=CAPACITY, ageing_seconds=AGEING, still_seconds=30.0) as dispatcher,
            ):
                waits = [asyncio.create_task(arrive(dispatcher, color, one)) for color, one in enumerate(arrivals)]
                for trouble in sorted(troubles):
                    await asyncio.sleep(max(trouble.at - (clock() - began), 0.0))
                    server = servers[trouble.server]
                    if trouble.kind in MOVING:
                        await getattr(dispatcher, trouble.kind.removesuffix("ed"))(server.url)
                    else:
                        TROUBLES[trouble.kind](server)
                await asyncio.sleep(max(HORIZON - (clock() - began), 0.0))
                for server in servers:
                    server.lag, server.refusals = 0.0, []
                    for knob in ("drop_post", "swallow_post", "dead_worker"):
                        setattr(server.faults, knob, getattr(Faults(), knob))
                    TROUBLES["back"](server)
                    await dispatcher.undrain(server.url)
                async with asyncio.timeout(HEALED):
                    ends = await asyncio.gather(*waits)
                assert not dispatcher.waiting
                day.append(Day(ends, servers, [line for _, line, _ in log.read() if line is not None]))

    async def arrive(dispatcher: Dispatcher, color: int, one: Arrival) -> str:
        await asyncio.sleep(one.at)
        return await outcome(await dispatcher.enqueue(picture(color), priority=one.priority))

    def clock() -> float:
        return asyncio.get_running_loop().time()

    began = 1_000.0
    play(story, [1.0, 2.0, 5.0])
    return day[0]


def keeping_turns(next_one: Any) -> Any:
    """The law of priorities, held at each choice."""

    def checked(scheduler: Scheduler, now: float) -> Any:
        chosen = next_one(scheduler, now)
        if chosen is not None:
            job, place = chosen
            passed = [one for one in scheduler._left() if scheduler.level(one) < scheduler.level(job)]
            assert not passed, "a job of a higher level could have been placed there"
            assert place.jobs.keys() >= {job.prompt_id}
            assert len(place.jobs) <= place.breaker.room(place.capacity)
            assert not place.drained
        return chosen

    return checked


def posts_of(lines: list[bytes]) -> list[tuple[str, str]]:
    """Server and id of each POST that the log tells of."""
    found = []
    for line in lines:
        o = read(line)
        if isinstance(o, seen.Request) and (o.data.method, o.data.path) == ("POST", "/prompt"):
            body = json.loads(bytes(o.data.body))
            found.append((o.server or "", body["prompt_id"]))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ARRIVALS, WORRIES)
def test_nothing_starves_runs_twice_or_passes_a_limit_under_any_schedule(
    arrivals: list[Arrival], troubles: list[Trouble]
) -> None:
    logging.disable(logging.WARNING)
    try:
        with mock.patch.object(Scheduler, "next", keeping_turns(Scheduler.next)):
            day = live_through(arrivals, troubles)
    finally:
        logging.disable(logging.NOTSET)
    colors = {prompt: color for server in day.servers for _, prompt, color in server.seen}
    ran: Counter[int] = Counter()
    for server in day.servers:
        for prompt, count in server.state.runs.items():
            ran[colors[prompt]] += count
        assert server.most <= CAPACITY, "more of ours at a server than it may hold"
    assert max(ran.values(), default=0) <= 1, "a workflow ran twice"
    kinds = {trouble.kind for trouble in troubles}
    for color, end in enumerate(day.outcomes):
        assert end == "completed" or kinds & {"away", "restarted", "cut"}, "only who may have forgotten loses a task"
        assert end != "completed" or ran[color] == 1
        assert end in ("completed", "lost", "cancelled")

    board, bound, rebound = Board(), dict[str, str](), 0
    for position, line in enumerate(day.lines, 1):
        board.fold(Entry(position, o := read(line)))
        if isinstance(o, seen.Command) and o.data.name == "rebind":
            rebound += o.data.to in board.backlog.waiting  # else its server was lost in that moment: not believed
    assert not board.backlog.waiting
    for server_url, prompt in posts_of(day.lines):
        assert bound.setdefault(prompt, server_url) == server_url, "one id at two servers"
    assert len(posts_of(day.lines)) == len(bound), "one id posted twice"
    assert len(bound) == len(arrivals) + rebound, "a second POST of a job without a recorded rebind"
