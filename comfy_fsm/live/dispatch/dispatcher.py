"""Dispatcher: a priority queue on the client's side that survives a crash, and posts its jobs to servers.

    enqueue ─► log ─► backlog ─► scheduler ─► POST ─► a task like any other ─► its result
      ▲                     └─► proved not to have run: rebind ─┐
      └─────────────────────────────────────────────────────────┘

Waiting jobs are those in the log, and what is posted is what was logged. `core/scheduling/scheduler.py` decides which
job goes where, `core/fold/resubmission.py` what may be moved; this module carries it out.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Literal, NamedTuple, Self

from comfy_fsm.core import observations as seen
from comfy_fsm.core.effects import Result
from comfy_fsm.core.machine import State
from comfy_fsm.core.registry.task import Task
from comfy_fsm.core.scheduling.backlog import Job
from comfy_fsm.core.scheduling.breaker import Breaker, Standing
from comfy_fsm.core.scheduling.scheduler import Scheduler, ServerLoad
from comfy_fsm.core.updates import Update
from comfy_fsm.core.wire.refusals import ELSEWHERE
from comfy_fsm.errors import BacklogFull, BadServerUrl, BadWorkflow, ClientClosed, ClientError, SecretInWorkflow
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.tags import checked, tagged
from comfy_fsm.live.client.task_handle import Attached, TaskHandle
from comfy_fsm.live.dispatch.capacity import loads_of, must_be_positive
from comfy_fsm.live.dispatch.health_checks import HealthCheck
from comfy_fsm.live.dispatch.waiting_jobs import WaitingJobs, written
from comfy_fsm.live.engine.closing import Closing, finish
from comfy_fsm.live.transport import requests
from comfy_fsm.live.transport.addresses import address_of

__all__ = ["Dispatcher", "Stuck"]

_logger = logging.getLogger(__name__)
_PULSE = 1.0  # seconds after which placing is thought over without any news: a server that is late looks worse


class Stuck(NamedTuple):
    """Task bound to a server that does not answer or makes no progress."""

    prompt_id: str
    server: str
    state: State
    why: str


class Dispatcher:
    """Dispatcher of a client, at most one each: `async with Client(urls, log=…) as client, Dispatcher(client) as
    dispatcher:`.

    `capacity` is the number of our tasks that a server may hold, for all servers or by address. A server of weight 2 is
    taken to be twice as fast as measured. `affinity` is how much longer a job may take at a server that has its models
    loaded; 1.0 ignores that. `extra_data` is sent with every POST and never recorded.
    """

    def __init__(
        self,
        client: Client,
        *,
        capacity: int | Mapping[str, int] = 2,
        weights: Mapping[str, float] | None = None,
        affinity: float = 1.1,
        ageing_seconds: float = 60.0,
        round_seconds: float = 10.0,
        retry_seconds: tuple[float, float] = (1.0, 60.0),
        still_seconds: float | None = None,
        look_seconds: float = 5.0,
        extra_data: Mapping[str, Any] | None = None,
    ) -> None:
        must_be_positive(affinity=affinity, ageing_seconds=ageing_seconds, look_seconds=look_seconds)
        first, limit = retry_seconds
        still = client.policy.warn_seconds if still_seconds is None else still_seconds
        # Out until it answers a first time: who is away from the beginning should be given nothing.
        breaker = Breaker(first_seconds=first, limit_seconds=limit, still_seconds=still, standing=Standing.OUT)
        loads = loads_of(client, capacity, weights or {}, breaker)
        self._client = client
        self._scheduler = Scheduler(
            loads, ageing_seconds=ageing_seconds, round_seconds=round_seconds, affinity=affinity
        )
        self._extra = client.extra_data | dict(extra_data or {})
        self._look = look_seconds
        self._held = WaitingJobs(client.handles)
        self._window = client.window()
        self._checks: list[HealthCheck] = []
        self._ended_at: dict[str, float] = {}
        self._moved: set[tuple[str, str | None]] = set()
        self._news = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._posting: set[asyncio.Task[None]] = set()
        self._closing = Closing(self._close)
        self._closed = True

    async def __aenter__(self) -> Self:
        """Continue from the log: waiting jobs wait in their old order, posted ones are followed."""
        client = self._client
        if client.handles.dispatcher is not None:
            raise ClientError("this client has a dispatcher already, so none was opened; use that one, or close it")
        client.handles.dispatcher, self._closed, self._closing = self, False, Closing(self._close)
        try:
            await self._begin()
        except BaseException:
            await self.close()
            raise
        return self

    async def _begin(self) -> None:
        runner = self._client.runner
        for url in runner.board.backlog.drained:
            if url in self._scheduler.loads:
                self._scheduler.loads[url].drained = True
        for job in runner.board.backlog.waiting.values():
            self._client.handles.resume(self._client.handles.hold_job(job))
            self._scheduler.wait(job)
        for task in [task for task in runner.board.tasks if task.job is not None]:
            await self._take_up(task)
        self._checks = [
            HealthCheck(runner, load, self._look, self._scheduler, self._news)
            for load in self._scheduler.loads.values()
        ]
        self._loops = [asyncio.create_task(check.run()) for check in self._checks]
        self._loops.append(asyncio.create_task(self._place()))
        for loop in self._loops:
            loop.add_done_callback(_report)

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop posting jobs. Waiting jobs stay in the log; posted ones go on, followed by the client.

        Cancelling the call does not stop the closing; another call waits for its end.
        """
        self._closed = True
        if self._client.handles.dispatcher is self:
            await self._closing()

    async def _close(self) -> None:
        for loop in self._loops:
            loop.cancel()
        await finish(*self._loops, *self._posting)  # a POST in flight gets its answer
        self._client.handles.dispatcher = None
        for handle in self.waiting:
            handle.abandon(ClientClosed("the dispatcher was closed before this job was placed; it waits in the log"))
            self._client.handles.drop(handle)
            await finish(handle.close())

    # what an application asks for

    async def enqueue(
        self,
        workflow: Mapping[str, Any],
        *,
        priority: float = 0.0,
        extra_data: Mapping[str, Any] | None = None,
        tag: Any = None,
        on_progress: Callable[[Update], Any] | None = None,
        on_complete: Callable[[TaskHandle], Any] | None = None,
    ) -> TaskHandle:
        """Queue a workflow to run when its turn comes; higher priorities go first. The job is in the log on return.

        Inputs that hold secrets, and `extra_data`, are not logged: no other process can post a job that has any. Raises
        BadWorkflow, BadTag, SecretInWorkflow or BacklogFull, and then nothing was enqueued.
        """
        runner = self._client.runner
        if self._closed:
            raise ClientClosed("the dispatcher is closed, so nothing was enqueued; open another")
        prompt_id = str(uuid.uuid4())
        tagging = checked(tag, runner.ingest)
        data = seen.CommandData("enqueue", prompt_id, priority=priority, withheld=("extra_data",) if extra_data else ())
        command = written(workflow, data, runner.clock(), runner.ingest.hides)
        if runner.board.backlog.full:
            limit = runner.policy.jobs
            raise BacklogFull(f"{limit} jobs wait, so this one was not enqueued; await some, or raise Policy(jobs=…)")
        attached = Attached(on_progress, on_complete, tagging.of_job)
        handle = self._client.handles.hold(prompt_id, attached=attached)
        self._held.keep(handle, workflow, extra_data or {}, command.data.withheld)
        try:
            await runner.ingest.write(*tagged(command, tagging))
        finally:
            job = runner.board.backlog.waiting.get(prompt_id)
            if job is None:  # the log refused it, or others filled the backlog meanwhile
                self._client.handles.drop(handle)
            else:
                self._scheduler.wait(job)
                self._news.set()
        if job is None:
            raise BacklogFull("as many jobs wait as may, so this one was not enqueued; await some first")
        return handle

    async def drain(self, server: str) -> None:
        """Give this server no more jobs, and take back those it has not begun, if another server can take them."""
        await self._turn("drain", server)

    async def undrain(self, server: str) -> None:
        await self._turn("undrain", server)

    async def _turn(self, name: Literal["drain", "undrain"], server: str) -> None:
        url, _ = address_of(server)
        if url not in self._scheduler.loads:
            raise BadServerUrl(f"{url} is not among the servers of this client ({', '.join(self._client.servers)})")
        runner = self._client.runner
        await runner.command(name, None, None, url)
        self._scheduler.loads[url].drained = url in runner.board.backlog.drained
        for check in self._checks:
            check.hurry()
        self._news.set()

    async def withdraw(self, handle: TaskHandle) -> bool:
        """Cancel a waiting job, for this process and all later ones."""
        withdrawn = await self._held.withdraw(handle)
        self._scheduler.withdraw(handle.prompt_id)
        return withdrawn

    @property
    def waiting(self) -> list[TaskHandle]:
        """Jobs that are not posted yet, in the order in which they were enqueued, including those of an earlier
        process.
        """
        return [self._client.handles.hold(prompt_id) for prompt_id in self._client.board.backlog.waiting]

    @property
    def stuck(self) -> list[Stuck]:
        """Tasks at servers that do not answer or make no progress: they may have run, so they are not moved."""
        whys = {Standing.OUT: "its server does not answer", Standing.STILL: "nothing moves at its server"}  # P34
        return [
            Stuck(task.prompt_id or "", task.server, task.state, whys[check.load.breaker.standing])
            for check in self._checks
            if check.load.breaker.standing in whys
            for task in check.tasks
        ]

    @property
    def standings(self) -> dict[str, str]:
        """Standing of each server: `up`, `trial`, `out` or `still`."""
        return {url: str(load.breaker.standing) for url, load in self._scheduler.loads.items()}

    # placing

    async def _place(self) -> None:
        """Post the jobs that the scheduler chooses, whenever something changed, and from time to time."""
        while True:
            self._news.clear()
            while (chosen := self._scheduler.next(self._client.runner.clock())) is not None:
                self._spawn(self._post(*chosen))
            try:
                async with asyncio.timeout(_PULSE):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _post(self, job: Job, load: ServerLoad) -> None:
        if (prompt_id := job.prompt_id) not in self._client.board.backlog.waiting:  # withdrawn in this moment
            return self._free(prompt_id, load.url)
        client_id = self._window.id_at(load.url)
        try:
            request = await self._held.request_for(job, client_id, self._extra)
            await self._held.release(prompt_id, load.url, client_id, request)
        except ClientError as error:
            await self._failed(job, load, error)
        else:
            await self._posted(prompt_id, load)
        self._news.set()

    async def _failed(self, job: Job, load: ServerLoad, error: ClientError) -> None:
        """Handle a POST that was not sent: the job waits again, unless it can never be sent."""
        self._free(job.prompt_id, load.url)
        if isinstance(error, BadWorkflow | SecretInWorkflow):
            await self._held.fail(job.prompt_id, error)
        elif job.prompt_id in self._client.board.backlog.waiting:
            load.breaker.fail(self._client.runner.clock())
            self._scheduler.wait(job)

    async def _posted(self, prompt_id: str, load: ServerLoad) -> None:
        """Judge the server by the answer to the POST; what the answer says about the task is folded elsewhere."""
        task = self._client.board.task(prompt_id, load.url)
        if task is None:
            return
        if task.unanswered or task.answer.refused in ELSEWHERE:
            load.breaker.fail(self._client.runner.clock())
        else:
            load.breaker.accept()
        if task.job is None:  # withdrawn while it was posted, and cancelled since
            self._free(prompt_id, load.url)
        elif task.answer.undelivered and not task.settled:
            await self._move(task)

    def _free(self, prompt_id: str, url: str) -> None:
        self._scheduler.end(prompt_id, url, self._client.runner.clock())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        posting = asyncio.create_task(work)
        self._posting.add(posting)
        posting.add_done_callback(self._posting.discard)
        posting.add_done_callback(_report)

    # what becomes of it

    async def _take_up(self, task: Task) -> None:
        """Take up a task that an earlier process posted: count it, learn from it, or move it."""
        job, load = task.job, self._scheduler.loads.get(task.server)
        if job is None:
            return
        if await self._may_move(task):
            await self._move(task)
        elif load is not None and not task.settled:
            seconds = self._scheduler.durations.expected(job.graph, task.server)
            load.begin(job.prompt_id, seconds, job.graph, task.submitted_at or job.at)
        elif task.state is State.COMPLETED:
            self._learn(task, job)

    async def moves(self, result: Result) -> bool:
        """Return whether the job of a settled task goes on as another task; then this end is reported to nobody."""
        if (result.server, result.prompt_id) in self._moved:
            self._moved.discard((result.server, result.prompt_id))
            return True
        task = self._client.board.task(result.prompt_id or "", result.server)
        if task is None or (job := task.job) is None:
            return False
        self._free(job.prompt_id, task.server)
        if task.started_at is not None and task.state in (State.COMPLETED, State.FAILED):
            self._scheduler.loads[task.server].breaker.complete()
        if task.state is State.COMPLETED:
            self._learn(task, job)
        moved = await self._may_move(task) and await self._move(task)
        if not moved and task.state is State.LOST:
            _logger.warning("%s forgot task %s, which may have run: it is not moved", task.server, task.prompt_id)
        self._news.set()
        return moved

    async def _may_move(self, task: Task) -> bool:
        """Return whether it is proved that the task never ran; if the server may have forgotten it, query a witness
        first.
        """
        board, exchange = self._client.board, self._client.runner.exchanges.get(task.server)
        if board.may_move(task) is None and task.state in (State.LOST, State.CANCELLED) and exchange is not None:
            witness = board.witness_for(task)
            if witness is not None and witness.prompt_id is not None:
                await exchange.send(requests.history(witness.prompt_id), witness.window)
        concluded = task.state in (State.LOST, State.CANCELLED)
        return board.may_move(task) is not None and (not concluded or await self._client.runner.confirm(task))

    async def _move(self, task: Task) -> bool:
        """Queue the job of a task again, under a new id, in its old turn."""
        runner, job, old = self._client.runner, task.job, task.prompt_id
        if job is None or old is None:
            return False
        new, open_still = str(uuid.uuid4()), not task.settled
        if open_still:
            self._moved.add((task.server, old))
        why = runner.board.may_move(task)
        handle = self._held.requeue(task, new)
        await runner.command("rebind", old, task.window, task.server, to=new)
        self._free(job.prompt_id, task.server)
        if (again := runner.board.backlog.waiting.get(new)) is None:
            self._client.handles.become(handle, task.server, task.window or "", old)
            return False
        _logger.info("%s: the job of task %s waits again as %s: %s", task.server, old, new, why)
        self._scheduler.wait(again)
        self._news.set()
        return True

    def _learn(self, task: Task, job: Job) -> None:
        """Learn how long the job ran: from its start if that was seen, otherwise from when its server was free."""
        if task.ended_at is None or task.submitted_at is None:
            return
        began = task.started_at or max(task.submitted_at, self._ended_at.get(task.server, 0.0))
        self._ended_at[task.server] = task.ended_at
        self._scheduler.durations.learn(job.graph, task.server, max(task.ended_at - began, 0.0))


def _report(ended: asyncio.Task[None]) -> None:
    if not ended.cancelled() and (error := ended.exception()) is not None:
        _logger.error("the dispatcher met an unexpected error: %s", error, exc_info=error)
