"""Registry of task handles, keyed by server and prompt id.

A handle outlives its prompt: a server may give the prompt another id (P10), the workflow may be posted again, or a
recovery may find it elsewhere. Whoever awaits the handle notices nothing. A waiting job has no server yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Output, Result
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task, tag_value
from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.updates import image_update, prompt_of, update_of
from comfy_fsm.core.wire import codec, queues
from comfy_fsm.core.wire.bodies import Submission
from comfy_fsm.core.wire.refusals import FOR_NOW, is_refusal
from comfy_fsm.errors import ClientError, DownloadFailed
from comfy_fsm.live.client.image_spool import Spool
from comfy_fsm.live.client.progress import Paces, Track
from comfy_fsm.live.client.tags import NO_TAG, tagged
from comfy_fsm.live.client.task_handle import NOTHING, Attached, Dispatches, Origin, TaskHandle
from comfy_fsm.live.engine.cancellation import cancel
from comfy_fsm.live.engine.ingest import Noted
from comfy_fsm.live.engine.responsiveness import in_turns
from comfy_fsm.live.engine.runner import Runner
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.requests import HttpRequest
from comfy_fsm.log.store import Store

__all__ = ["Handles"]

_logger = logging.getLogger(__name__)


class Handles:
    """Registry of all handles; `free` is set when deliveries may begin."""

    def __init__(self, runner: Runner, on_resume: Callable[[TaskHandle], Any] | None = None) -> None:
        self.runner = runner
        self.dispatcher: Dispatches | None = None
        self.free = asyncio.Event()
        self._on_resume = on_resume
        self._spool = Spool()
        self._paces = Paces()
        self._handles: dict[tuple[str, str], TaskHandle] = {}

    @property
    def all(self) -> list[TaskHandle]:
        return list(self._handles.values())

    @property
    def loads(self) -> Counter[str]:
        """Number of handles at each server."""
        return Counter(server for server, _ in self._handles)

    def hold(
        self,
        prompt_id: str,
        window: str = "",
        server: str = "",
        attached: Attached = NOTHING,
    ) -> TaskHandle:
        """Return the handle of this task or job; an existing one is returned unchanged."""
        if (held := self._handles.get((server, prompt_id))) is not None:
            return held
        handle = self._handles[server, prompt_id] = TaskHandle(
            prompt_id, window, server, registry=self, attached=attached, resubmits=self.runner.policy.resubmits,
            track=Track(self._paces, attached.posting.draft.workflow if attached.posting is not None else None),
        )  # fmt: skip
        return handle

    def hold_again(self, task: Task) -> TaskHandle:
        """Return the handle of a task that this process did not submit, with the tag in the log."""
        value = tag_value(task.tag)
        attached = Attached(tag=NO_TAG._replace(value=value))
        return self.hold(task.prompt_id or "", task.window or "", task.server, attached)

    def resume(self, *handles: TaskHandle) -> None:
        """Call `on_resume` for tasks that this process did not submit."""
        for handle in handles:
            if self._on_resume is not None:
                handle.resume(self._on_resume)

    async def recall(self) -> None:
        """Read the graphs of tasks of an earlier process from their POSTs in the log: nodes and classes, without
        inputs.
        """
        for handle in self.all:
            task = self.task_of(handle)
            if task is not None and task.submission.position:
                graph = await asyncio.to_thread(_posted, self.runner.log, task.submission.position)
                handle.track.know(graph, task.remaining)

    def hold_job(self, job: Job) -> TaskHandle:
        """Return the handle of a waiting job, which has no server yet."""
        return self.hold(job.prompt_id, attached=Attached(tag=NO_TAG._replace(value=tag_value(job.tag))))

    def drop(self, handle: TaskHandle) -> None:
        self._handles.pop((handle.server, handle.prompt_id), None)

    def become(self, handle: TaskHandle, server: str, window: str, prompt_id: str) -> None:
        """Move the handle to another task, or back to a waiting job."""
        self.drop(handle)
        handle.server, handle.window, handle.prompt_id = server, window, prompt_id
        self._handles[server, prompt_id] = handle

    def task_of(self, handle: TaskHandle) -> Task | None:
        return self.runner.board.task(handle.prompt_id, handle.server)

    async def abandon(self, error: Exception) -> None:
        """End all handles with this error: the client closes before their tasks settle."""
        async for handle in in_turns(self.all):
            handle.abandon(error)
            await handle.close()

    # posting

    async def post(self, handle: TaskHandle, request: HttpRequest) -> None:
        handle.posted = asyncio.get_running_loop().create_future()
        answer = None
        try:
            if handle.tagged.full != NO_TAG.full:
                self._tag(handle)
            answer = await self.runner.post(handle.server, handle.window, handle.prompt_id, request)
        except BaseException as error:
            if self.task_of(handle) is None:  # not even the intent is in the log
                self.drop(handle)
            elif isinstance(error, Exception):
                handle.abandon(error)
            raise
        finally:
            handle.posted_at = asyncio.get_running_loop().time()
            handle.posted.set_result(answer)
        self._rename(handle)

    def _tag(self, handle: TaskHandle) -> None:
        """Write down the tag, before the POST."""
        data = seen.CommandData("submit", handle.prompt_id)
        command = seen.Command(at=self.runner.clock(), window=handle.window, server=handle.server, data=data)
        self.runner.note(*tagged(command, handle.tagged))

    async def _post_again(self, handle: TaskHandle) -> bool:
        """Post again a workflow that was never accepted, after its absence was confirmed (P11, F14)."""
        task = self.task_of(handle)
        if task is None or task.accepted:
            return False
        if handle.posting is None or not handle.resubmits:
            return await self._post_later(handle)
        if not await self._is_confirmed(handle, task):
            return False
        handle.resubmits -= 1
        return await self._post_anew(handle)

    async def _is_confirmed(self, handle: TaskHandle, task: Task) -> bool:
        if await self.runner.confirm(task):
            return True
        _logger.warning(
            "%s: task %s is not posted again: that its server never had it is not certain enough, and it would run "
            "twice; check there before you submit it again", handle.server, handle.prompt_id,
        )  # fmt: skip
        return False

    async def _post_later(self, handle: TaskHandle) -> bool:
        """Post again a workflow that was refused for now, at the time that the server named.

        A 429 says that nothing was queued. A 503 only says that the server was busy, so by then the absence was proved.
        """
        now = asyncio.get_running_loop().time()
        answer = await handle.posted if handle.posted is not None else None
        if handle.posting is None or answer is None or answer.status not in FOR_NOW or answer.retry_after is None:
            return False
        policy, proved = self.runner.policy, not is_refusal(answer.status)
        seconds, passed = max(answer.retry_after, policy.look_seconds), now - handle.posted_at
        if handle.waited + max(seconds, passed) > policy.refusal_seconds:
            return False
        handle.waited += max(seconds, passed)
        _logger.warning(
            "%s: refused task %s for now (HTTP %d), and %s: it is posted again in %.3g s",
            handle.server, handle.prompt_id, answer.status,
            "no sign of it was seen since" if proved else "nothing of it was queued", max(0.0, seconds - passed),
        )  # fmt: skip
        await asyncio.sleep(max(0.0, seconds - passed))
        task = self.task_of(handle)
        if proved and (task is None or not await self._is_confirmed(handle, task)):
            return False
        return await self._post_anew(handle)

    async def _post_anew(self, handle: TaskHandle) -> bool:
        """Post the workflow under a new id; False if it was cancelled meanwhile, or nothing could be sent."""
        if handle.posting is None:
            return False
        before, task = (handle.window, handle.prompt_id), self.task_of(handle)
        handle.doubtful = handle.doubtful or (task is not None and task.concluded and not task.unsent)
        window, prompt_id, request = handle.posting.new(handle.server)
        self.become(handle, handle.server, window, prompt_id)
        try:
            await self.post(handle, request)
        except ClientError:  # nothing was sent
            self.become(handle, handle.server, *before)
            return False
        return True

    def _rename(self, handle: TaskHandle) -> None:
        """Take over the id that the server gave the prompt, if it is another one (P10)."""
        task = self.task_of(handle)
        if task is not None and task.prompt_id not in (None, handle.prompt_id) and self._holds(handle):
            self.become(handle, handle.server, handle.window, task.prompt_id or "")

    def _holds(self, handle: TaskHandle) -> bool:
        return self._handles.get((handle.server, handle.prompt_id)) is handle

    # from the runner

    def observe(self, noted: Noted) -> None:
        observation = noted.observation
        if type(observation) is seen.Binary and (imaged := self.runner.board.imaged) is not None:
            return self._keep_image(*imaged, noted)
        if type(observation) is seen.Command:
            self._take_up(observation)
        prompt_id = prompt_of(observation)
        if prompt_id is None:
            return
        handle = self._handles.get((observation.server or "", prompt_id))
        if handle is None or observation.window != handle.window:  # not ours (P2)
            return
        handle.track.take(observation, noted.line)
        update = update_of(prompt_id, observation, noted.line, noted.image) if handle.listens else None
        if update is not None:
            handle.push(handle.track.described(update))

    def _keep_image(self, task: Task, output: Output, noted: Noted) -> None:
        """Keep an image that is a result and came over the socket, where it will never come again; report it to all who
        follow the task.
        """
        place = task.server, task.prompt_id or ""
        if place not in self._handles:
            for handle in self.all:
                self._rename(handle)
        held = self._handles.get(place)
        if held is not None and noted.image:
            held.push(image_update(place[1], output, noted.observation.at), self._spool.keep(noted.image))

    def _take_up(self, command: seen.Command) -> None:
        """Hold a task that a recovery reopened until it is delivered, under the server that has it now."""
        server, prompt_id = command.server or "", command.data.prompt_id or ""
        here = (command.data.to if command.data.name == "adopt" else None) or server
        task = self.runner.board.task(prompt_id, here)
        if command.data.name in ("recover", "adopt") and task is not None and not task.settled:
            handle = self._handles.get((server, prompt_id))
            if handle is None:
                handle = self.hold_again(task)
                self.resume(handle)
            self.become(handle, here, handle.window, prompt_id)

    def _holder(self, result: Result) -> TaskHandle:
        """Return the handle for this result; a new one if the task was taken for lost or expired and was not."""
        prompt_id = result.prompt_id or ""
        if (held := self._handles.get((result.server, prompt_id))) is not None:
            return held
        attached = Attached(tag=NO_TAG._replace(value=result.tag))
        handle = self.hold(prompt_id, result.window or "", result.server, attached)
        self.resume(handle)
        return handle

    async def deliver(self, result: Result) -> None:
        await self.free.wait()
        prompt_id = result.prompt_id or ""
        if (result.server, prompt_id) not in self._handles:
            for handle in self.all:
                self._rename(handle)
        if self.dispatcher is not None and await self.dispatcher.moves(result):
            return
        handle = self._holder(result)
        if result.state == State.LOST and await self._post_again(handle):
            return
        if result.state == State.REJECTED and await self._post_later(handle):
            return
        if handle.doubtful and result.state == State.REJECTED:  # an earlier POST of it may have run all the same
            result = replace(result, concluded=True)
        if result.state is State.COMPLETED:
            handle.track.learn()
        try:
            await handle.settle(result)
        finally:
            self._handles.pop((result.server, prompt_id), None)
            await handle.close()

    # what a handle asks for

    def state_of(self, handle: TaskHandle) -> State:
        task = self.task_of(handle)
        return task.state if task is not None else State.SUBMITTING

    async def position_in_queue(self, handle: TaskHandle) -> int | None:
        """Ask the server each time: what is known of a queue is out of date when the next prompt ends."""
        if not handle.server:
            return None
        answer = await self.runner.exchanges[handle.server].send(requests.queue(), handle.window)
        if answer is None or answer.status != 200:
            return None
        return queues.position_in_queue(Raw(answer.body), handle.prompt_id)

    async def cancel(self, handle: TaskHandle) -> bool:
        """Cancel the prompt by its id, then query its state: the server's answer is not yet the end of the task."""
        handle.posting = None  # nobody wants it posted again
        if not handle.server:
            return self.dispatcher is not None and await self.dispatcher.withdraw(handle)
        exchange, prompt_id, window = self.runner.exchanges[handle.server], handle.prompt_id, handle.window
        await self.runner.command("cancel", prompt_id, window, handle.server)
        done = await cancel(exchange, prompt_id, window)
        if not exchange.hits_one and self.state_of(handle) is State.IN_PROGRESS:
            done = False
        self.runner.pollers[handle.server].schedule(prompt_id, self.runner.clock(), queue_first=True)
        return done

    def note_cut(self, handle: TaskHandle) -> None:
        data, now = seen.CommandData("callback-cut", handle.prompt_id), self.runner.clock()
        self.runner.note(seen.Command(at=now, window=handle.window, server=handle.server, data=data))

    @contextlib.asynccontextmanager
    async def fetch(self, origin: Origin, output: Output) -> AsyncGenerator[AsyncIterator[bytes], None]:
        if output.by_socket:
            yield _one_piece(origin, output)
            return
        exchange, found = self.runner.exchanges[origin.server], contextlib.AsyncExitStack()
        async with found:
            try:
                folder = output.type or "output"  # "" is no folder of a server
                ask = requests.view(output.filename, output.subfolder, folder)
                stream = await found.enter_async_context(exchange.stream(ask, origin.window))
            except DownloadFailed as error:
                if not output.id or error.status not in (400, 403, 404):
                    raise
                stream = await found.enter_async_context(exchange.stream(requests.asset(output.id), origin.window))
            yield stream.chunks


def _posted(log: Store, position: int) -> dict[str, Any]:
    """Return the graph in the POST at this position of the log."""
    with contextlib.closing(log.read(position - 1)) as records:
        record = next(records, None)
    o = codec.read(record.line) if record is not None and record.line is not None else None
    body = codec.body(o.data.body, Submission) if isinstance(o, seen.Request) else None
    return {name: {"class_type": node.class_type} for name, node in body.prompt.items()} if body is not None else {}


async def _one_piece(origin: Origin, output: Output) -> AsyncIterator[bytes]:
    """Yield an image that came over the socket, from where this process keeps it."""
    name = f"{origin.server}: the image {output.filename!r:.200} came over the socket"
    kept = origin.image(output)
    if kept is None:
        raise DownloadFailed(
            f"{name} to a process that is gone, so it cannot be fetched again, and the log has its size and digest "
            "alone; submit the workflow again",
            origin.server,
            gone=True,
        )
    content = b""
    try:
        content = await asyncio.to_thread(kept.read)
    except OSError as error:
        kept.lost = f"the disk took it away: {error.strerror or error}"
    if kept.lost:
        said = f"{name}, and {kept.lost}; make room, and submit the workflow again"
        raise DownloadFailed(said, origin.server, gone=True)
    yield content
