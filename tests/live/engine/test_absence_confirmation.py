"""Tests of days of lies and other windows' acts, on a virtual clock: what is only concluded is never called safe.

One address, behind it one server or two; queues that hide, histories that forget, sockets that are stolen, queues that
others clear. What a task is told to be may be wrong where its server lied for longer than any grace, and then it is
marked as concluded: it ran once at the most, and nobody was told that it may run again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from unittest import mock

import pytest

from comfy_fsm import Policy
from comfy_fsm.errors import TaskError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.engine import runner
from comfy_fsm.live.transport.arrivals import Answer, Unanswered
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.testing import picture
from tests.support.virtual import Virtual, _json, _Pipe, play

SEEDS = 60
PATIENCE = 3_600.0
EMPTY = {"queue_running": [], "queue_pending": []}


class Liar(Virtual):
    """Two servers at one address; which of them answers, what it hides and what it loses is turned by the day."""

    def __init__(self, url: str, step_seconds: float) -> None:
        super().__init__(url, step_seconds)
        self.other = Virtual(url, step_seconds)
        self.choose: Callable[[HttpRequest], int] = lambda ask: 0
        self.hidden: set[str] = set()
        self.late: list[float] = []
        """After how long a POST whose connection is cut reaches the server."""

    async def answer(self, ask: HttpRequest) -> Answer:
        path = ask.path.partition("?")[0]
        if (ask.method, path) == ("POST", "/prompt") and self.late:
            self._jobs.append(asyncio.create_task(self._arrive(self.late.pop(), ask)))
            raise Unanswered("ReadError")
        server = self.other if self.choose(ask) else self
        if (ask.method, path) == ("GET", "/prompt"):
            waiting = len(server.state.queue) + len(server.state.running)
            return _json({"exec_info": {"queue_remaining": 0 if "count" in self.hidden else waiting}})
        if server is self.other:
            answer = await server.answer(ask)
        else:
            answer = await super().answer(ask)
        if ask.method == "GET" and path == "/queue" and "queue" in self.hidden:
            return _json(EMPTY)
        return _json({}) if path.startswith("/history") and "history" in self.hidden else answer

    async def _arrive(self, seconds: float, ask: HttpRequest) -> None:
        await asyncio.sleep(seconds)
        with suppress(Exception):
            self.execution.submit(json.loads(json.dumps(ask.body)))

    async def hide(self, seconds: float, *what: str) -> None:
        self.hidden |= {*what}
        await asyncio.sleep(seconds)
        self.hidden -= {*what}

    def steal(self) -> None:
        """Somebody opens sockets under the ids of ours: ours stay open, and hear nothing more (P3)."""
        for name in self.publisher.sockets:
            self.publisher.sockets[name] = _Pipe(asyncio.Queue())

    async def restart(self, seconds: float) -> None:
        self.kill()
        await asyncio.sleep(seconds)
        self.start()


async def _mute(server: Liar, seconds: float) -> None:
    server.faults.mute = True
    await asyncio.sleep(seconds)
    server.faults.mute = False


def _in_turn(server: Liar, dice: random.Random) -> None:
    numbers = iter(range(10**9))
    server.choose = dice.choice((lambda ask: next(numbers) % 2, lambda ask: dice.randrange(2)))


def _apart(server: Liar, dice: random.Random) -> None:
    start = dice.choice(("/", "/history"))
    server.choose = lambda ask: int(ask.method == "GET" and ask.path.startswith(start))


def _cut_late(server: Liar, dice: random.Random) -> None:
    server.late = [dice.uniform(0.0, 27.0) for _ in range(dice.choice((1, 2)))]


AT_FIRST: dict[str, Callable[[Liar, random.Random], None]] = {
    "in turn": _in_turn, "apart": _apart, "cut late": _cut_late,
}  # fmt: skip
LATER: dict[str, Callable[[Liar, random.Random], Any]] = {
    "hides its queue": lambda server, dice: server.hide(dice.choice((5, 10, 20)), "queue", "history"),
    "hides all": lambda server, dice: server.hide(dice.choice((2, 8)), "queue", "history", "count"),
    "hides records": lambda server, dice: server.hide(dice.choice((3, 10)), "history"),
    "restarts": lambda server, dice: server.restart(dice.choice((0.5, 5, 20))),
    "mute": lambda server, dice: _mute(server, dice.choice((3, 30))),
    "thief": lambda server, dice: server.steal(),
    "queue cleared": lambda server, dice: server.execution.remove(),
    "queue forgotten": lambda server, dice: server.state.queue.clear(),
    "history cleared": lambda server, dice: server.state.history.clear(),
    "interrupted": lambda server, dice: server.execution.interrupt(),
}


class Told(NamedTuple):
    state: str
    safe: bool
    confidence: str | None


def live_through(seed: int) -> tuple[set[str], list[Told], Counter[int], set[str]]:
    """What went wrong, what was told of each workflow, how often each ended, and what was found."""
    dice = random.Random(seed)
    kinds = set(dice.sample(sorted(AT_FIRST | LATER), dice.choice((1, 2, 2, 3))))
    if "cut late" in kinds:
        kinds -= {"apart", "in turn", "restarts"}  # who looks elsewhere cannot know what is still under way
    days: list[tuple[list[Told], Counter[int], set[str]]] = []

    async def trouble(server: Liar, kind: str) -> None:
        await asyncio.sleep(dice.choice((0.3, 2.0, 6.0, 15.0)))
        done = LATER[kind](server, dice)
        if done is not None:
            await done

    async def tell(window: Any, color: int) -> Told:
        try:
            async with asyncio.timeout(PATIENCE):
                result = await (await window.submit(_sleeping(color, dice.choice((0.5, 5.0, 20.0)))))
            return Told(str(result.state), False, result.confidence)
        except TaskError as error:
            return Told(str(error.result.state), error.safe_to_retry, error.result.confidence)
        except TimeoutError:
            return Told("unsaid", False, None)

    async def story(servers: list[Liar]) -> None:
        (server,) = servers
        for kind in sorted(kinds & AT_FIRST.keys()):
            AT_FIRST[kind](server, dice)
        if stranger := dice.choice((0, 6, 30)):
            server.execution.submit({"prompt": _sleeping(0xFFFFFF, stranger), "client_id": "somebody"})
        async with Client(server.url, policy=Policy(resubmits=dice.choice((0, 1, 3)))) as client:
            window = client.window()
            troubles = [asyncio.create_task(trouble(server, kind)) for kind in sorted(kinds & LATER.keys())]
            told = await asyncio.gather(*(tell(window, color) for color in range(dice.choice((1, 2, 4)))))
            await asyncio.gather(*troubles, asyncio.sleep(120))
            ended = Counter[int]()
            for each in (server, server.other):
                ended.update(_color(record) for record in each.state.history.values())
            days.append((told, ended, {finding.code for finding in client.board.findings}))

    logging.disable(logging.ERROR)
    try:
        play(story, [dice.choice((0.2, 1.0))], Liar)
    finally:
        logging.disable(logging.NOTSET)
    return kinds, *days[0]


def _sleeping(color: int, seconds: float) -> dict[str, Any]:
    return picture(color) | {
        "2": {"class_type": "FakeSleep", "inputs": {"image": ["1", 0], "seconds": seconds}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def _color(record: Any) -> int:
    graph = record["prompt"][2]
    color: int = graph["1"]["inputs"]["color"]
    return color


@pytest.mark.parametrize("seed", range(SEEDS))
def test_under_lies_nothing_runs_twice_or_hangs_and_nothing_that_is_concluded_is_called_safe(seed: int) -> None:
    with mock.patch.object(runner, "_PULSE", 5.0):
        kinds, told, ended, found = live_through(seed)
    for color, (state, safe, confidence) in enumerate(told):
        said = f"{kinds}: workflow {color} was told {state}, and ended {ended[color]} times"
        assert ended[color] <= 1, said
        assert state != "unsaid", said
        if state in ("lost", "expired"):
            assert confidence == "inferred", said
        assert not (safe and ended[color] and confidence == "inferred"), said
    assert "double-delivery" not in found
