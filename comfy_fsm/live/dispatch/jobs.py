"""Jobs while they wait: as the log holds them, and as the application does, under no server yet.

Whoever awaits a job notices nothing when it becomes a task, or another one.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from msgspec import Raw

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Result
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.scheduling.backlog import MOST_PRIORITY, Job, graph_of, is_priority
from comfy_fsm.core.wire import codec
from comfy_fsm.core.wire.bodies import MARK
from comfy_fsm.errors import BadWorkflow, ClientError, SecretInWorkflow
from comfy_fsm.live.client.handles import Handles
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.live.redaction.withholding import withheld
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.log.reader import MAX_LINE
from comfy_fsm.log.store import Store

__all__ = ["WaitingJobs", "written"]

_logger = logging.getLogger(__name__)
_MOST_NAMES = 5
_MOST_TOLD = 100


def written(
    workflow: Mapping[str, Any],
    prompt_id: str,
    priority: float,
    at: float,
    hides: Callable[[str], bool],
    beside: bool = False,
) -> seen.Command:
    """The entry of a job, which holds its workflow: nothing else could post it after a crash.

    Inputs that hold secrets are left out of it, and named; `beside`: so is what is told beside the workflow.
    Raises BadWorkflow or SecretInWorkflow where the log cannot hold it, or may not.
    """
    if not is_priority(priority):
        raise ClientError(f"a priority lies between ±{MOST_PRIORITY:g}, so nothing was enqueued; give another")
    requests.post(workflow)
    kept, names = withheld(workflow, hides)
    text = json.dumps(kept)
    if hides(text):
        raise SecretInWorkflow(
            "a registered secret stands in the workflow where it is no input: in the name, class or title of a node; a "
            "job that waits is written down, so it was not enqueued; submit it at once, by a window"
        )
    names = (*names, *(("extra_data",) if beside else ()))
    for raw in (Raw(text.encode()), Raw(json.dumps(text).encode())):  # as a text, where strict JSON has no such values
        data = seen.CommandData(
            "enqueue", prompt_id, priority=priority, graph=graph_of(kept), workflow=raw, withheld=names
        )
        command = seen.Command(at=at, data=data)
        line = codec.encode(command)
        if len(line) <= MAX_LINE and json.dumps(_workflow_of(line)[0]) == text:
            return command
    raise BadWorkflow("the log cannot hold this workflow unchanged, so it was not enqueued; make it smaller")


def _read_back(log: Store, position: int) -> dict[str, Any]:
    """The workflow that stands there: one path for what was enqueued a second and a crash ago.

    Raises BadWorkflow where it is damaged, SecretInWorkflow where it is without its secrets.
    """
    with closing(log.read(position - 1)) as records:
        record = next(records, None)
    workflow, missing = _workflow_of(record.line) if record is not None and record.line is not None else (None, ())
    if not isinstance(workflow, dict):
        raise BadWorkflow(f"position {position} of the log is damaged, and held this workflow; enqueue it again")
    if missing:
        raise SecretInWorkflow(
            f"{', '.join(missing[:_MOST_NAMES])} of this job was not written down, since it holds a secret, and the "
            "process that had it is gone, so the job was withdrawn; it was never sent: it is safe to enqueue it again"
        )
    return workflow


def _workflow_of(line: bytes) -> tuple[object, tuple[str, ...]]:
    """The workflow in this line, and what it is without."""
    command = codec.read(line)
    if not isinstance(command, seen.Command):
        return None, ()
    value = json.loads(bytes(command.data.workflow))
    return json.loads(value) if isinstance(value, str) else value, command.data.withheld


class WaitingJobs:
    """The handles of what waits; their server is empty, and so is their window."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._told: set[tuple[str, ...]] = set()

    def keep(
        self, handle: TaskHandle, workflow: Mapping[str, Any], extra_data: Mapping[str, Any], missing: tuple[str, ...]
    ) -> None:
        """In memory, what the log may not hold; said once for each set of names, the same in all jobs of one kind."""
        if not missing:
            return
        handle.job = workflow, extra_data
        if missing not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(missing)
            _logger.warning(
                "%s of a job is not written down, since it holds a secret; if this process ends before the job is "
                "posted, no other can post it: then it is to be enqueued again", ", ".join(missing[:_MOST_NAMES])
            )  # fmt: skip

    async def request_for(self, job: Job, client_id: str, extra_data: Mapping[str, Any]) -> HttpRequest:
        """How to post it: with what is in memory, else as the log has it. Raises BadWorkflow or SecretInWorkflow."""
        handle = self._handles.hold(job.prompt_id)
        workflow, extra = handle.job or (
            await asyncio.to_thread(_read_back, self._handles.runner.log, job.position), {}
        )  # fmt: skip
        handle.track.know(workflow)
        return requests.post(workflow, client_id, job.prompt_id, {**extra_data, **extra, MARK: job.prompt_id})

    async def fail(self, prompt_id: str, error: ClientError) -> None:
        """It never can be sent. Where a secret is missing, it waits for nobody any more."""
        handle = self._handles.hold(prompt_id)
        handle.abandon(error)
        if isinstance(error, SecretInWorkflow):
            await self._handles.runner.command("withdraw", prompt_id, None, None)
            self._handles.drop(handle)

    async def release(self, prompt_id: str, server: str, client_id: str, request: HttpRequest) -> None:
        """Post it. Raises ServerUnreachable or HandshakeRefused: then nothing was sent, and it is held on."""
        handles, handle = self._handles, self._handles.hold(prompt_id)
        handles.become(handle, server, client_id, prompt_id)
        try:
            await handles.runner.exchanges[server].detect_features()
            await handles.post(handle, request)
        except (Exception, asyncio.CancelledError):
            if handles.runner.board.task(prompt_id, server) is None:
                handles.become(handle, "", "", prompt_id)
            raise

    def requeue(self, task: Task, new: str) -> TaskHandle:
        """It was posted there in vain, and is held again under a new id."""
        handle = self._handles.hold(task.prompt_id or "", "", task.server)
        handle.doubtful = handle.doubtful or (task.concluded and not task.unsent)
        self._handles.become(handle, "", "", new)
        return handle

    async def withdraw(self, handle: TaskHandle) -> bool:
        """Cancelled by our own word, since it was never sent anywhere; once posted, as every task is."""
        prompt_id = handle.prompt_id
        await self._handles.runner.command("withdraw", prompt_id, None, None)
        if handle.server:  # it was posted in this moment
            return await handle.cancel()
        self._handles.drop(handle)
        await handle.settle(Result(prompt_id, None, "", State.CANCELLED))
        await handle.close()
        return True
