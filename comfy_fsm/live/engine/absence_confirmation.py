"""Confirmation that a prompt is absent, before it is posted again: frequent queries, while a new socket is open.

Absence is only concluded, and to post a prompt again that is not absent is to run it twice (P11). Frequent queries
reach each of several servers that answer in turn. A new socket is told how many prompts wait or run, even if that of
its window is deaf (P3). One that receives nothing proves nothing, nor do missing answers.
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
    """Return whether everything still denies the task; waits for a server that does not answer, as long as for one with
    open tasks.
    """
    prompt_id, state, loop = task.prompt_id or "", task.state, asyncio.get_running_loop()
    limit = loop.time() + policy.expire_seconds * policy.unreachable_times
    fell_short = 0
    for tried in count(1):
        answered = await _poll_repeatedly(task, exchange, policy, socket())
        if task.state is not state or board.task(prompt_id, task.server) is not task:
            return False
        if answered is not None and board.still_absent(task, answered):
            return True
        fell_short += answered is not None
        if fell_short >= _TRIES or loop.time() >= limit:
            return False
        await asyncio.sleep(policy.pause(tried + 3))
    return False


async def _poll_repeatedly(task: Task, exchange: Exchange, policy: Policy, socket: Listener) -> float | None:
    """Query several times with the socket open; returns the time of the first query, or None if one was not
    answered.
    """
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
                answers = [await exchange.send(request, task.window) for request in (*records, requests.queue())]
                await exchange.send(requests.remaining())
            if any(answer is None or answer.status != 200 for answer in answers):
                return None
            if task.state is not state:
                break
        return since
    finally:
        await socket.close()
