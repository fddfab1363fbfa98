"""Scenarios about clocks that are set, processes that are suspended, and processes that die."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from tests.faults import troubles
from tests.faults.proxy import Answer, Exchange, Go
from tests.faults.rig import Rig, scenario, worker
from tests.faults.troubles import LOOKS, RECORDS, dropped, ends, everything, on

COMPLETES = "it runs, and completes"
HOUR = 3600.0


@scenario("the wall clock is set an hour forward in mid-run", COMPLETES, "completed", within=5)
async def clock_forward(rig: Rig) -> None:
    await rig.submit(20)
    await rig.ran()
    rig.step_clock(HOUR)


@scenario("the wall clock is set an hour back in mid-run; no frame tells of the end", COMPLETES, "completed", within=5)
async def clock_back(rig: Rig) -> None:
    rig.proxy.frame_rules.append(dropped(ends))
    await rig.submit(10)
    await rig.ran()
    rig.step_clock(-HOUR)


@scenario("the wall clock is set an hour forward while looks hang and no frame is heard", COMPLETES, "completed")
async def clock_forward_while_nothing_answers(rig: Rig) -> None:
    deaf = [True]
    rig.proxy.frame_rules.append(dropped(everything, lambda: bool(deaf)))
    rig.proxy.rules.append(on(LOOKS, troubles.hanging, when=lambda: bool(deaf)))
    await rig.submit(20)
    await rig.ran()
    rig.step_clock(HOUR)
    await rig.sleep(10)
    deaf.clear()
    rig.known()


@scenario("the wall clock is set a day back, then two days forward, in mid-run", COMPLETES, "completed", within=5)
async def clock_back_and_forward(rig: Rig) -> None:
    await rig.submit(12)
    await rig.ran()
    rig.step_clock(-24 * HOUR)
    await rig.sleep(4)
    rig.step_clock(48 * HOUR)


@scenario("the wall clock is set an hour forward while a proof of absence is under way", "it was deleted",
          "cancelled", runs=0)  # fmt: skip
async def clock_forward_during_a_proof(rig: Rig) -> None:
    await rig.server.stranger(rig.truth.tag, 600 * rig.scale)
    task = await rig.submit()
    await rig.sleep(5)
    await rig.server.delete(task.prompt_id)
    rig.known()
    await rig.sleep(0.5)
    rig.step_clock(HOUR)


# a process of its own


async def _told(rig: Rig, process: asyncio.subprocess.Process) -> None:
    """What the worker delivers, until it ends."""
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    _deliver(rig, line)
    await process.wait()


def _deliver(rig: Rig, state: str) -> None:
    if state:
        rig.told[0] = (asyncio.get_running_loop().time(), state, False)
        rig.delivered.append("the task")


@scenario("the client is suspended for 60 s; the run ends meanwhile", COMPLETES, "completed", client=False)
async def suspended(rig: Rig) -> None:
    process = await worker(rig, 8)
    await rig.ran()
    process.send_signal(signal.SIGSTOP)
    await rig.sleep(60)
    process.send_signal(signal.SIGCONT)
    rig.known()
    await _told(rig, process)


@scenario("the client is suspended for 400 s, longer than every tier; the run goes on", COMPLETES, "completed",
          client=False, limit=900)  # fmt: skip
async def suspended_for_longer_than_every_tier(rig: Rig) -> None:
    process = await worker(rig, 410)
    await rig.ran()
    process.send_signal(signal.SIGSTOP)
    await rig.sleep(400)
    process.send_signal(signal.SIGCONT)
    await _told(rig, process)


async def _killed_at(rig: Rig, arm: Callable[[asyncio.Event], None], seconds: float = 6.0) -> None:
    """A worker that dies by -9 where it is armed; then a client takes up its log."""
    now = asyncio.Event()
    arm(now)
    process = await worker(rig, seconds)
    waiting = [asyncio.create_task(now.wait()), asyncio.create_task(process.wait())]
    await asyncio.wait(waiting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()
    assert now.is_set(), "it was over before it could be killed"
    process.kill()
    await process.wait()
    rig.proxy.rules.clear()
    rig.proxy.frame_rules.clear()
    rig.known()
    await rig.open()
    for task in rig.client.tasks:
        rig.hold(task, resumed=True)
    if not rig.tasks:
        rig.told[0] = (asyncio.get_running_loop().time(), "not submitted", True)


def _kill_and_lose(now: asyncio.Event) -> troubles.Rule:
    async def rule(exchange: Exchange, go: Go) -> Answer:
        now.set()
        return await troubles.hanging(exchange, go)

    return rule


def _kill_after(now: asyncio.Event) -> troubles.Rule:
    async def rule(exchange: Exchange, go: Go) -> Answer:
        answer = await go(exchange)
        if exchange.method == "POST" or b'"success"' in answer.body or b'"completed"' in answer.body:
            now.set()
            return await troubles.hanging(exchange, go)
        return answer

    return rule


@scenario("killed -9 with the POST on its way, which is lost; resumed", "it is never accepted", "lost not-submitted",
          runs=0, client=False)  # fmt: skip
async def killed_before_the_post(rig: Rig) -> None:
    await _killed_at(rig, lambda now: rig.proxy.rules.append(on("POST /prompt", _kill_and_lose(now))))


@scenario("killed -9 after the POST, before its answer; resumed", COMPLETES, "completed", client=False)
async def killed_before_the_answer(rig: Rig) -> None:
    await _killed_at(rig, lambda now: rig.proxy.rules.append(on("POST /prompt", _kill_after(now))))


@scenario("killed -9 while it runs; resumed", COMPLETES, "completed", client=False)
async def killed_while_it_runs(rig: Rig) -> None:
    def arm(now: asyncio.Event) -> None:
        async def rule(_wire: object, frame: str | bytes, _arrived: float) -> list[str | bytes]:
            if troubles.kind_of(frame) == "executing":
                now.set()
            return [frame]

        rig.proxy.frame_rules.append(rule)

    await _killed_at(rig, arm)


@scenario("killed -9 after the end, before it was delivered; resumed", COMPLETES, "completed", client=False)
async def killed_before_the_delivery(rig: Rig) -> None:
    await _killed_at(rig, lambda now: rig.proxy.rules.append(on(RECORDS, _kill_after(now))))
