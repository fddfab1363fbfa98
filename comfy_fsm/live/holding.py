"""Jobs while they wait: as the log holds them, and as the application does, under no server yet.

Whoever awaits a job notices nothing when it becomes a task, or another one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core import wire
from comfy_fsm.core.backlog import MOST_PRIORITY, graph_of, is_priority
from comfy_fsm.core.effects import Result
from comfy_fsm.core.machine import State
from comfy_fsm.errors import BadWorkflow, ClientError, SecretInWorkflow
from comfy_fsm.live import asks
from comfy_fsm.live.asks import Ask
from comfy_fsm.live.hands import Hands
from comfy_fsm.live.log import Log, MemoryLog
from comfy_fsm.live.rows import MAX_LINE
from comfy_fsm.live.tasks import TaskHandle
from comfy_fsm.live.windows import Workflow


def written(
    workflow: Workflow, prompt_id: str, priority: float, at: float, clean: Callable[[str], str]
) -> seen.Command:
    """The entry of a job, which holds its workflow unchanged: nothing else could post it after a crash.

    Raises BadWorkflow or SecretInWorkflow where the log cannot hold it, or may not.
    """
    if not is_priority(priority):
        raise ClientError(f"a priority lies between ±{MOST_PRIORITY:g}, so nothing was enqueued; give another")
    asks.post(workflow)
    try:
        text = json.dumps(workflow, allow_nan=False)
    except ValueError as error:
        raise BadWorkflow(f"what is to wait cannot be written as JSON ({error}); nothing was enqueued") from None
    graph, raw = graph_of(workflow), Raw(text.encode())
    data = seen.CommandData("enqueue", prompt_id, priority=priority, graph=graph, workflow=raw)
    command = seen.Command(at=at, data=data)
    line = wire.encode(command)
    if clean(text) != text:
        raise SecretInWorkflow(
            "the workflow holds a registered secret, or what looks like a login or a token in an address; a job that "
            "waits is written down whole, so it was not enqueued; give the secret as extra_data of the dispatcher or "
            "as a header of the client, or submit the workflow at once, by a window"
        )
    if len(line) > MAX_LINE or _workflow_of(line) != json.loads(text):
        raise BadWorkflow("the log cannot hold this workflow unchanged, so it was not enqueued; make it smaller")
    return command


def read_back(log: Log | MemoryLog, position: int) -> dict[str, Any]:
    """The workflow that stands there: one path for what was enqueued a second and a crash ago. Raises BadWorkflow."""
    with closing(log.read(position - 1)) as records:
        record = next(records, None)
    workflow = _workflow_of(record.line) if record is not None and record.line is not None else None
    if not isinstance(workflow, dict):
        raise BadWorkflow(f"position {position} of the log is damaged, and held this workflow; enqueue it again")
    return workflow


def _workflow_of(line: bytes) -> object:
    command = wire.read(line)
    return json.loads(bytes(command.data.workflow)) if isinstance(command, seen.Command) else None


class Held:
    """The handles of what waits; their server is empty, and so is their window."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def release(self, prompt_id: str, server: str, client_id: str, ask: Ask) -> None:
        """Post it. Raises ServerUnreachable or HandshakeRefused: then nothing was sent, and it is held on."""
        hands, handle = self._hands, self._hands.hold(prompt_id)
        hands.become(handle, server, client_id, prompt_id)
        try:
            await hands.runner.askings[server].meet()
            await hands.post(handle, ask)
        except (Exception, asyncio.CancelledError):
            if hands.runner.board.task(prompt_id, server) is None:
                hands.become(handle, "", "", prompt_id)
            raise

    def lift(self, server: str, prompt_id: str, new: str) -> TaskHandle:
        """It was posted there in vain, and is held again under a new id."""
        handle = self._hands.hold(prompt_id, "", server)
        self._hands.become(handle, "", "", new)
        return handle

    async def withdraw(self, handle: TaskHandle) -> bool:
        """Cancelled by our own word, since it was never sent anywhere; once posted, as every task is."""
        prompt_id = handle.prompt_id
        await self._hands.runner.command("withdraw", prompt_id, None, None)
        if handle.server:  # it was posted in this moment
            return await handle.cancel()
        self._hands.drop(handle)
        await handle.settle(Result(prompt_id, None, "", str(State.CANCELLED)))
        await handle.close()
        return True
