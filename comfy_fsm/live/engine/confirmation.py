"""A last look at what is to be posted again: often, so that servers that answer in turn show it, and over a new socket.

That a prompt is absent is only concluded, and to post it again where it is not is to run it twice (P11). A socket that
was just opened is told how many prompts wait or run, be the one of its window deaf (P3); one that is told nothing at
all proves nothing, and neither do answers that do not come.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from itertools import count

from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.fold.resubmission import LOOKS
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.registry.task import Task
from comfy_fsm.errors import HandshakeRefused, ServerUnreachable
from comfy_fsm.live.engine.exchange import Exchange
from comfy_fsm.live.engine.listener import Listener
from comfy_fsm.live.transport import requests

__all__ = ["is_still_absent"]

_TRIES = 3
"""How often what was answered may fall short: prompts of others come and go between two answers."""


async def is_still_absent(
    task: Task, board: Board, exchange: Exchange, policy: Policy, socket: Callable[[], Listener]
) -> bool:
    """Waits for a server that does not answer, for as long as for one of which tasks are open."""
    prompt_id, state, loop = task.prompt_id or "", task.state, asyncio.get_running_loop()
    limit = loop.time() + policy.expire_seconds * policy.unreachable_times
    fell_short = 0
    for tried in count(1):
        answered = await _look_often(task, exchange, policy, socket())
        if task.state is not state or board.task(prompt_id, task.server) is not task:
            return False
        if answered is not None and board.still_absent(task, answered):
            return True
        fell_short += answered is not None
        if fell_short >= _TRIES or loop.time() >= limit:
            return False
        await asyncio.sleep(policy.pause(tried + 3))
    return False


async def _look_often(task: Task, exchange: Exchange, policy: Policy, socket: Listener) -> float | None:
    """Since when it was asked for, if all was answered; the socket is open meanwhile."""
    state, prompt_id, since = task.state, task.prompt_id or "", exchange.now
    record = exchange.record_of(prompt_id, task)
    try:
        with suppress(HandshakeRefused, ServerUnreachable):
            await socket.ready(policy.open_seconds)
        for _ in range(LOOKS):
            await asyncio.sleep(policy.pause(1))
            # One after the other, and not as many each time: of servers that answer in turn, each is asked for each.
            records = [record] * random.randint(2, 3)
            async with exchange.at_length:
                answers = [await exchange.ask(request, task.window) for request in (*records, requests.queue())]
                await exchange.ask(requests.remaining())
            if any(answer is None or answer.status != 200 for answer in answers):
                return None
            if task.state is not state:
                break
        return since
    finally:
        await socket.close()
