"""Jobs while they wait: as the log holds them, and as the application does, under no server yet.

A friend of the client, among whose handles those of jobs are: whoever awaits a job notices nothing when it becomes a
task, or another one.
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
from comfy_fsm.live.client import Client
from comfy_fsm.live.log import Log, MemoryLog
from comfy_fsm.live.rows import MAX_LINE
from comfy_fsm.live.tasks import TaskHandle
from comfy_fsm.live.updates import Update
from comfy_fsm.live.windows import Workflow


def written(
    workflow: Workflow, prompt_id: str, priority: float, at: float, clean: Callable[[bytes], bytes]
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
    if clean(line) != line:
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

    def __init__(self, client: Client) -> None:
        self._client = client
        self._handles = client._handles

    def hold(
        self,
        prompt_id: str,
        on_progress: Callable[[Update], Any] | None = None,
        on_complete: Callable[[TaskHandle], Any] | None = None,
    ) -> TaskHandle:
        """The handle of this job; one that is held already stays as it is."""
        held = self._handles.get(("", prompt_id))
        return held or self._client._handle(prompt_id, "", "", on_progress, on_complete)

    def drop(self, handle: TaskHandle) -> None:
        self._handles.pop((handle.server, handle.prompt_id), None)

    async def release(self, prompt_id: str, server: str, client_id: str, ask: Ask) -> None:
        """Post it. Raises ServerUnreachable or HandshakeRefused: then nothing was sent, and it is held on."""
        client, handle = self._client, self.hold(prompt_id)
        self.become(handle, server, client_id, prompt_id)
        try:
            await client._runner.askings[server].meet()
            await client._post(handle, ask)
        except (Exception, asyncio.CancelledError):
            if client.board.task(prompt_id, server) is None:
                self.become(handle, "", "", prompt_id)
            raise

    def lift(self, server: str, prompt_id: str, new: str) -> TaskHandle:
        """It was posted there in vain, and is held again under a new id."""
        handle = self._handles.get((server, prompt_id)) or self._client._handle(prompt_id, "", server)
        self.become(handle, "", "", new)
        return handle

    def become(self, handle: TaskHandle, server: str, window: str, prompt_id: str) -> None:
        """The same handle stands for another task, or for a job again."""
        self._handles.pop((handle.server, handle.prompt_id), None)
        handle.server, handle.window, handle.prompt_id = server, window, prompt_id
        self._handles[server, prompt_id] = handle

    async def withdraw(self, handle: TaskHandle) -> bool:
        """Cancelled by our own word, since it was never sent anywhere; once posted, as every task is."""
        runner, prompt_id = self._client._runner, handle.prompt_id
        command = seen.Command(at=runner.clock(), data=seen.CommandData("withdraw", prompt_id))
        await runner.recorder.write(command)
        if handle.server:  # it was posted in this moment
            return await handle.cancel()
        self.drop(handle)
        await handle.settle(Result(prompt_id, None, "", str(State.CANCELLED)))
        await handle.close()
        return True
