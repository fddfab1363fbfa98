"""Waiting jobs: their log entries, and their handles before they have a server.

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
from msgspec.structs import replace

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
from comfy_fsm.live.redaction.job_inputs import withheld
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.log.chain import MAX_LINE
from comfy_fsm.log.store import Store

__all__ = ["WaitingJobs", "written"]

_logger = logging.getLogger(__name__)
_MOST_NAMES = 5
_MOST_TOLD = 100


def written(
    workflow: Mapping[str, Any], job: seen.CommandData, at: float, hides: Callable[[str], bool]
) -> seen.Command:
    """Return the log entry of a job, with its workflow, so that it can be posted after a crash.

    Inputs that hold secrets are left out, and named with what the job withholds already. Raises BadWorkflow or
    SecretInWorkflow if the log cannot or must not hold it.
    """
    if not is_priority(job.priority):
        raise ClientError(f"a priority lies between ±{MOST_PRIORITY:g}, so nothing was enqueued; give another")
    requests.post(workflow)
    kept, names = withheld(workflow, hides)
    text = json.dumps(kept)
    if hides(text):
        raise SecretInWorkflow(
            "a registered secret stands in the workflow where it is no input: in the name, class or title of a node; a "
            "job that waits is written down, so it was not enqueued; submit it at once, by a window"
        )
    for raw in (Raw(text.encode()), Raw(json.dumps(text).encode())):  # as a text, where strict JSON has no such values
        data = replace(job, graph=graph_of(kept), workflow=raw, withheld=(*names, *job.withheld))
        command = seen.Command(at=at, data=data)
        line = codec.encode(command)
        if len(line) <= MAX_LINE and json.dumps(_workflow_of(line)[0]) == text:
            return command
    raise BadWorkflow("the log cannot hold this workflow unchanged, so it was not enqueued; make it smaller")


def _read_back(log: Store, position: int) -> dict[str, Any]:
    """Read the workflow at this position: the same path for one enqueued a second ago and one from before a crash.

    Raises BadWorkflow if it is damaged, SecretInWorkflow if its secrets are not in the log.
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
    """Return the workflow in this line, and the names of what was left out."""
    command = codec.read(line)
    if not isinstance(command, seen.Command):
        return None, ()
    value = json.loads(bytes(command.data.workflow))
    return json.loads(value) if isinstance(value, str) else value, command.data.withheld


class WaitingJobs:
    """Handles of waiting jobs; their server and window are empty."""

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._told: set[tuple[str, ...]] = set()

    def keep(
        self, handle: TaskHandle, workflow: Mapping[str, Any], extra_data: Mapping[str, Any], missing: tuple[str, ...]
    ) -> None:
        """Keep in memory what the log must not hold; warns once for each set of names."""
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
        """Build the POST of a job, from memory or from the log; raises BadWorkflow or SecretInWorkflow."""
        handle = self._handles.hold(job.prompt_id)
        workflow, extra = handle.job or (
            await asyncio.to_thread(_read_back, self._handles.runner.log, job.position), {}
        )  # fmt: skip
        handle.track.know(workflow)
        return requests.post(workflow, client_id, job.prompt_id, {**extra_data, **extra, MARK: job.prompt_id})

    async def fail(self, prompt_id: str, error: ClientError) -> None:
        """End a job that can never be sent. If a secret is missing, it is withdrawn as well."""
        handle = self._handles.hold(prompt_id)
        handle.abandon(error)
        if isinstance(error, SecretInWorkflow):
            await self._handles.runner.command("withdraw", prompt_id, None, None)
            self._handles.drop(handle)

    async def release(self, prompt_id: str, server: str, client_id: str, request: HttpRequest) -> None:
        """Post a job; raises ServerUnreachable or HandshakeRefused if nothing was sent: then it waits on."""
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
        """Let the job of a task that came to nothing wait again, under a new id."""
        handle = self._handles.hold(task.prompt_id or "", "", task.server)
        handle.doubtful = handle.doubtful or (task.concluded and not task.unsent)
        self._handles.become(handle, "", "", new)
        return handle

    async def withdraw(self, handle: TaskHandle) -> bool:
        """Cancel a waiting job; if it was posted meanwhile, cancel it as a task."""
        prompt_id = handle.prompt_id
        await self._handles.runner.command("withdraw", prompt_id, None, None)
        if handle.server:  # it was posted in this moment
            return await handle.cancel()
        self._handles.drop(handle)
        await handle.settle(Result(prompt_id, None, "", State.CANCELLED))
        await handle.close()
        return True
