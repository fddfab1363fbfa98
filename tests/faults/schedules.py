"""Schedules of POSTs that are slow, late, cut, refused or queued, on a virtual clock (`support/virtual.py`).

Whatever the schedule and however often the policy posts again: no workflow runs twice, and nobody is left unsaid. Nor
where looks are answered by another server than the one that took the POST, and sockets are mute, from whenever on;
nor where a dispatcher moves them to another address.

python -m tests.faults.schedules --count 100000 --seed 0
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple
from unittest import mock

from comfy_fsm import Policy
from comfy_fsm.errors import TaskError
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.dispatch.dispatcher import Dispatcher
from comfy_fsm.live.engine import runner
from comfy_fsm.live.transport.arrivals import Answer, Unanswered
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.testing import picture
from comfy_fsm.testing.execution.validation import Crash
from tests.support.virtual import Virtual, _json, play

GRACE: float = getattr(Policy(), "post_seconds", 30.0)
"""After a POST was cut off: how long its server may still take it up."""
NEVER = None
PATIENCE = 3_600.0  # seconds on that clock by which every task must have been told
AFTER = 400.0  # and so long it goes on, for what comes late
SILENT = {429: b"", 503: b"<h1>503</h1>", 401: b"", 413: b"", 400: b'{"error": {"type": "no", "message": "no"}}'}


class Plan(NamedTuple):
    """What becomes of one POST: when the server has it, when its client is cut off, what is answered, and when."""

    arrives: float | None
    cut: float | None
    says: int
    answered: float

    def __str__(self) -> str:
        arrives = "never arrives" if self.arrives is None else f"arrives after {self.arrives:.1f} s"
        cut = "" if self.cut is None else f", cut after {self.cut:.1f} s"
        return f"{arrives}{cut}, {self.says} after {self.answered:.1f} s"


@dataclass
class Schedule:
    """One draw: how many workflows, how often each may be posted again, and the dice for the plans."""

    seed: int
    policy: Policy = field(init=False)
    late: bool = field(init=False)
    """A POST may arrive long after its connection ended, later than any grace. It may then not be posted again, for who
    posts again after the grace cannot know."""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.late = self.dice.random() < 0.15
        resubmits = 0 if self.late else self.dice.choice((0, 1, 1, 2, 3))
        self.policy = Policy(resubmits=resubmits, expire_seconds=1e6)
        self.workflows = self.dice.choice((1, 1, 1, 2, 3))
        self.deaf = self.dice.random() < 0.3 and not self.late  # of what comes that late, frames alone can tell
        self.busy = self.dice.choice((0.0, 0.0, 5.0, 40.0))
        self.step = self.dice.choice((0.2, 1.0, 6.0))
        self.lag = self.dice.choice((0.0, 0.0, 0.5, 3.0))
        self.plans: list[Plan] = []
        self._send_elsewhere(random.Random(-1 - self.seed))

    def _send_elsewhere(self, dice: random.Random) -> None:
        """Which of two servers answers, by dice of their own: those of the plans fall as they fall without it."""
        self.sent = dice.choice(("", "", "", "looks apart", "in turn", "by chance"))
        self.deaf_from = 0.0 if self.deaf else NEVER
        self.busy_elsewhere = dice.choice((0.0, 0.0, 20.0, 90.0))
        if self.sent:
            self.policy = Policy(resubmits=self.policy.resubmits)  # who cannot tell is told so, after a while
            self.deaf_from = dice.choice((NEVER, 0.0, 0.0, 12.0, 40.0))
        self.dispatched = dice.random() < 0.25
        """A dispatcher posts them, to either of two addresses."""
        self._turns = dice

    def chooses(self, what: str, number: int) -> bool:
        """Whether the other server answers this one: a POST, a look, or a socket."""
        if self.sent == "looks apart":
            return what == "look"
        if self.sent == "in turn":
            return bool(number % 2)
        return self.sent == "by chance" and self._turns.random() < 0.5

    def plan(self) -> Plan:
        """What becomes of the next POST."""
        plan = self._drawn(self.policy.deadline_seconds)
        self.plans.append(plan)
        return plan

    def _drawn(self, deadline: float) -> Plan:
        dice = self.dice
        beyond = 10 * GRACE if self.late else 0.9 * GRACE
        match dice.choice(("well", "slow", "late", "lost", "cut", "refused", "queued", "gateway")):
            case "well":
                return Plan(dice.uniform(0, 1), NEVER, 200, dice.uniform(0, 1))
            case "slow":  # it is answered in time, or not
                return Plan(dice.uniform(0, 1), NEVER, 200, dice.uniform(0, 2 * deadline))
            case "late":  # the body is under way for longer than its client waits
                return Plan(dice.uniform(0, deadline + beyond), NEVER, 200, dice.uniform(0, 5))
            case "lost":
                return Plan(NEVER, dice.choice((NEVER, dice.uniform(0, deadline))), 200, 0.0)
            case "cut":
                cut = dice.uniform(0, deadline)
                return Plan(cut + dice.uniform(-cut, beyond), cut, 200, deadline)
            case "refused":
                return Plan(NEVER, NEVER, dice.choice([*SILENT]), dice.uniform(0, 5))
            case "queued":
                return Plan(0.0, NEVER, 500, dice.uniform(0, 5))
            case _:  # somebody in between answers, and passes it on later
                answered = dice.uniform(0, 5)
                return Plan(answered + dice.uniform(-answered, beyond), NEVER, dice.choice((502, 504)), answered)


class Postal(Virtual):
    """A server whose POSTs are as a schedule has them; what is under way arrives, whoever still waits for it."""

    schedule: Schedule

    def __init__(self, url: str, step_seconds: float) -> None:
        super().__init__(url, step_seconds)
        self.other = Virtual(url, step_seconds)
        self.numbers = count()

    def begin(self, schedule: Schedule) -> None:
        self.schedule = schedule
        for server, busy in ((self, schedule.busy), (self.other, schedule.busy_elsewhere)):
            server.lag = schedule.lag
            if busy:
                server.execution.submit({"prompt": _sleeping(busy), "client_id": "somebody"})
        if schedule.deaf_from is not None:
            self._jobs.append(asyncio.create_task(self._go_deaf(schedule.deaf_from)))

    async def _go_deaf(self, seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)
        self.faults.mute = self.other.faults.mute = True

    def _chosen(self, what: str) -> Virtual:
        return self.other if self.schedule.chooses(what, next(self.numbers)) else self

    def of_socket(self) -> Virtual:
        return self._chosen("socket")

    async def answer(self, ask: HttpRequest) -> Answer:
        if ask[:2] != ("POST", "/prompt"):
            server = self._chosen("look")
            return await (super().answer(ask) if server is self else server.answer(ask))
        plan, loop, server = self.schedule.plan(), asyncio.get_running_loop(), self._chosen("POST")
        arrived: asyncio.Future[Answer] = loop.create_future()
        if plan.arrives is not None:
            self._jobs.append(asyncio.create_task(self._arrive(server, plan.arrives, ask, arrived)))
        return await self._answered(plan, arrived)

    async def _arrive(self, server: Virtual, seconds: float, ask: HttpRequest, arrived: asyncio.Future[Answer]) -> None:
        await asyncio.sleep(seconds)
        assert isinstance(ask.body, dict)
        try:
            status, body = server.execution.submit(dict(ask.body))
            answer = _json(body, status)
        except Crash:
            answer = Answer(500, b"")
        if not arrived.done():  # else nobody waits any more
            arrived.set_result(answer)

    async def _answered(self, plan: Plan, arrived: asyncio.Future[Answer]) -> Answer:
        if plan.cut is not None:
            await asyncio.sleep(plan.cut)
            raise Unanswered("ReadError")
        if plan.says in SILENT:
            await asyncio.sleep(plan.answered)
            return Answer(plan.says, SILENT[plan.says], 2.0 if plan.says == 429 else None)
        if plan.says != 200:
            await asyncio.sleep(plan.answered)
            return Answer(plan.says, b"<h1>error</h1>", None, "text/html")
        answer = await arrived
        await asyncio.sleep(plan.answered)
        return answer


class Told(NamedTuple):
    """What the application was told of one workflow."""

    state: str
    safe: bool


@dataclass
class Ended:
    """How a schedule ended."""

    told: list[Told]
    runs: Counter[int]
    logged: dict[int, set[str]]
    """By workflow: how the log has its tasks in the end."""
    sent: bool = False
    """Which of two servers answers is not for the client to know: that is told, and nothing has to be found out."""


def play_one(schedule: Schedule) -> Ended:
    """One schedule, on a clock that takes no time."""
    ended: list[Ended] = []

    async def story(servers: list[Postal]) -> None:
        for server in servers:
            server.begin(schedule)
        async with AsyncExitStack() as opened:
            client = await opened.enter_async_context(Client([s.url for s in servers], policy=schedule.policy))
            submit: Any = client.window().submit
            if schedule.dispatched:
                submit = (await opened.enter_async_context(Dispatcher(client))).enqueue
            told = await asyncio.gather(*(_tell(submit, number) for number in range(schedule.workflows)))
            await asyncio.sleep(AFTER)
            each = [server for pair in servers for server in (pair, pair.other)]
            colours = dict([found for server in each for found in _colours(server)])
            runs = Counter[int]()
            for prompt, times in [found for server in each for found in server.state.runs.items()]:
                if prompt in colours:
                    runs[colours[prompt]] += times
            logged: dict[int, set[str]] = {}
            for task in client.board.tasks:
                if task.prompt_id in colours:
                    logged.setdefault(colours[task.prompt_id], set()).add(str(task.state))
            ended.append(Ended(told, runs, logged, bool(schedule.sent)))

    with mock.patch.object(runner, "_PULSE", 5.0):
        play(story, [schedule.step] * (1 + schedule.dispatched), Postal)
    return ended[0]


def _sleeping(seconds: float) -> dict[str, Any]:
    return picture(0xFFFFFF) | {
        "2": {"class_type": "FakeSleep", "inputs": {"image": ["1", 0], "seconds": seconds}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


def _colours(server: Virtual) -> list[tuple[str, int]]:
    state = server.state
    items = [*((item.prompt_id, item.graph) for item in (*state.queue, *state.running))]
    for record in state.history.values():
        prompt: Any = record["prompt"]
        items.append((prompt[1], prompt[2]))
    return [(prompt_id, graph["1"]["inputs"]["color"]) for prompt_id, graph in items if "3" not in graph]


async def _tell(submit: Any, number: int) -> Told:
    task = await submit(picture(number))
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            try:
                return Told(str((await task).state), False)
            except TaskError as error:
                return Told(str(error.result.state), error.safe_to_retry)
    return Told("unsaid", False)


def wrong_with(ended: Ended) -> list[str]:
    """What must not be: run twice, unsaid, said to be done and not run, called safe and run."""
    wrong = []
    for number, told in enumerate(ended.told):
        runs, logged = ended.runs[number], ended.logged.get(number, set())
        if runs > 1:
            wrong.append(f"workflow {number} ran {runs} times")
        if told.state == "unsaid" or (told.state == "expired" and not ended.sent):
            wrong.append(f"workflow {number} was left {told.state}")
        if told.state == "completed" and not runs:
            wrong.append(f"workflow {number} completed, and never ran")
        if runs and told.safe:
            wrong.append(f"workflow {number} was {told.state}, called safe to submit again, and ran")
        if runs and "completed" not in logged and not ended.sent:
            wrong.append(f"workflow {number} ran, and the log says {', '.join(sorted(logged))} in the end")
    return wrong


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.schedules", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule; each has the number after it")
    parser.add_argument("--show", type=int, default=5, help="how many of those that came out wrong are told whole")
    given = parser.parse_args(words)
    logging.disable(logging.ERROR)
    began, kinds, posts, bad = time.monotonic(), Counter[str](), 0, 0
    for seed in range(given.seed, given.seed + given.count):
        schedule = Schedule(seed)
        ended = play_one(schedule)
        posts += len(schedule.plans)
        kinds.update(told.state for told in ended.told)
        if found := wrong_with(ended):
            bad += 1
            if bad <= given.show:
                plans = "; ".join(map(str, schedule.plans))
                sent = f"{schedule.sent or 'one server'}{' of two addresses' * schedule.dispatched}"
                where = f", {sent}, deaf from {schedule.deaf_from}"
                print(
                    f"seed {seed}, {schedule.policy.resubmits} resubmits{where}: {'; '.join(found)}: {plans}",
                    flush=True,
                )
    told = ", ".join(f"{count:,} {state}" for state, count in kinds.most_common())
    seconds = time.monotonic() - began
    print(f"{given.count:,} schedules from seed {given.seed}, {posts:,} POSTs: {bad:,} wrong; {told}; {seconds:,.0f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
