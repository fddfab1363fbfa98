"""Session of a command: opens a client, follows its tasks, saves their files, and closes in order.

How progress is displayed is up to the screen.
"""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from comfy_fsm.core.effects import Text
from comfy_fsm.core.updates import Update
from comfy_fsm.display import plural
from comfy_fsm.errors import ClientError, DownloadFailed, TaskError
from comfy_fsm.exits import BY_SIGNAL
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.outputs import save_all
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.live.dispatch.dispatcher import Dispatcher
from comfy_fsm.live.engine.runner import Undelivered
from comfy_fsm.live.saving.atomic_files import Names

__all__ = ["Order", "RunSettings", "Screen", "Session", "resume", "submit"]

_COMPLETED, _NOT_COMPLETED = 0, 1
_AT_ONCE = 8  # tasks that are saved at a time: of two hundred that end together, the first are soon there
_LONG, _LINES = 2_000, 40
"""Characters and lines of a text beyond which it is saved as a file, not printed."""


class Screen(Protocol):
    """Display for the progress of a session."""

    def begin(self, name: str, state: str) -> Any: ...
    def move(self, bar: Any, state: str, update: Update) -> None: ...
    def end(self, bar: Any, state: str) -> None: ...
    def say(self, text: str) -> None: ...
    def complain(self, text: str) -> None: ...


class Order(Protocol):
    """Workflow that was read from a file."""

    @property
    def name(self) -> str: ...
    @property
    def workflow(self) -> Mapping[str, Any]: ...
    @property
    def extra_data(self) -> Mapping[str, Any]: ...


class RunSettings(NamedTuple):
    """Settings of a run: where its files go, its client and screen, how many jobs a server may hold at once, and the
    command that resumes it.
    """

    folder: str
    open_client: Callable[[], Client]
    screen: Screen
    capacity: int | None = None
    again: str = ""


def submit(orders: Sequence[Order], settings: RunSettings) -> int:
    """Submit workflows, all at once or at most `capacity` per server, and return the exit status."""

    async def begin(session: Session, dispatcher: Dispatcher | None) -> None:
        submit = dispatcher.enqueue if dispatcher is not None else session.client.window().submit
        for order in orders:
            name = Path(order.name).name
            task = await submit(order.workflow, extra_data=order.extra_data, tag=name, on_complete=session.taker(name))
            session.watch(name, task)

    return asyncio.run(_session(begin, settings))


def resume(settings: RunSettings) -> int:
    """Continue the tasks and waiting jobs in the log, and return the exit status."""

    async def begin(session: Session, _: Dispatcher | None) -> None:
        for task in session.client.tasks:
            if not task.server or task.server in session.client.servers:
                session.watch(_name(task), task)
                continue
            settings.screen.complain(
                f"{task.prompt_id}: left alone, since {task.server} is not named; give it as --server"
            )
            session.status = _NOT_COMPLETED

    return asyncio.run(_session(begin, settings))


class Session:
    """Tasks of one command: each result is saved and printed, and counts as delivered after that."""

    def __init__(self, client: Client, folder: str, screen: Screen) -> None:
        self.client = client
        self.status = _COMPLETED
        self._folder = folder
        self._screen = screen
        self._names = Names()
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._taken: defaultdict[TaskHandle, asyncio.Event] = defaultdict(asyncio.Event)
        self._watching: list[asyncio.Task[None]] = []

    def taker(self, name: str, *, again: bool = False) -> Callable[[TaskHandle], Coroutine[Any, Any, None]]:
        """Return the completion callback of a task: it saves the outputs, and raises Undelivered if saving may succeed
        later.
        """

        async def take(task: TaskHandle) -> None:
            try:
                async with self._at_once:
                    await self._take(name, task, again)
            finally:
                self._taken[task].set()

        return take

    def expect_all(self) -> None:
        """Register the completion callback for tasks of an earlier process, before anything is delivered."""
        for task in self.client.tasks:
            task.when_complete(self.taker(_name(task), again=True))

    def watch(self, name: str, task: TaskHandle) -> None:
        self._watching.append(asyncio.create_task(self._watch(name, task)))

    async def over(self) -> None:
        """Wait until every task has ended and its result was taken."""
        await asyncio.gather(*self._watching)

    async def _watch(self, name: str, task: TaskHandle) -> None:
        bar = self._screen.begin(name, _shown(task))
        async for update in task:
            self._screen.move(bar, _shown(task), update)
        self._screen.end(bar, task.state)
        try:
            with suppress(TaskError):  # which is told by who takes it
                await task
            await self._taken[task].wait()
        except ClientError as error:
            self._complain(name, error)

    async def _take(self, name: str, task: TaskHandle, again: bool) -> None:
        """Save and print the outputs of a task; any that is missing sets the exit status."""
        try:
            await task
        except TaskError as error:
            self._complain(name, error)
        result = task.peek()
        texts = result.texts if result is not None else ()
        for text in texts:
            for line in [] if _is_long(text) else text.text.splitlines():
                self._screen.say(line)
        passing = False
        long = filter(_is_long, texts)
        async for saved in save_all(task.outputs, long, self._folder, self._names, again=again):
            if saved.path is not None:
                self._screen.say(str(saved.path))
            if saved.renamed:
                self._screen.complain(f"{name}: {saved.renamed}")
            if saved.error is not None:
                passing = passing or _may_pass(saved.error)
                self._complain(name, saved.error)
        for lack in _lacks(task):
            self._complain(name, lack)
        if passing:
            self._screen.complain(f"{name}: not all of it is saved, so `resume` saves it again")
            raise Undelivered

    def _complain(self, name: str, why: object) -> None:
        self._screen.complain(self.client.scrub(f"{name}: {why}"))
        self.status = _NOT_COMPLETED

    def report_unfinished(self, again: str) -> None:
        """Print how many tasks go on without this command, and how to resume them."""
        for watching in self._watching:
            watching.cancel()
        tasks = sum(1 for task in self.client.tasks if task.server)
        jobs = len(self.client.tasks) - tasks
        told = [f"{plural(tasks, 'task')} at the server"] * (tasks > 0)
        told += [f"{plural(jobs, 'job')} in the log"] * (jobs > 0)
        if told:
            how = f"; to resume: {again}" if again else ""
            self._screen.complain(f"ended before {' and '.join(told)} had ended{how}")


async def _session(
    begin: Callable[[Session, Dispatcher | None], Coroutine[Any, Any, None]], settings: RunSettings
) -> int:
    async def work() -> int:
        await begin(session, dispatcher)
        await session.over()
        return session.status

    async with settings.open_client() as client:
        session = Session(client, settings.folder, settings.screen)
        session.expect_all()
        async with _dispatching(client, settings.capacity) as dispatcher:
            session.expect_all()  # what waits is in a hand by now
            try:
                status = await _until_signal(work())
            except ClientError:
                session.report_unfinished(settings.again)
                raise
            if status >= BY_SIGNAL:
                session.report_unfinished(settings.again)
            return status


def _dispatching(client: Client, capacity: int | None) -> AbstractAsyncContextManager[Dispatcher | None]:
    """Return a dispatcher if one was asked for, or if the log holds waiting jobs."""
    if capacity is None and not client.board.backlog.waiting:
        return nullcontext()
    return Dispatcher(client, capacity=capacity) if capacity is not None else Dispatcher(client)


def _shown(task: TaskHandle) -> str:
    return "waiting" if task.waits else task.state


def _name(task: TaskHandle) -> str:
    """Return the file that `run` submitted, from the tag, and the beginning of the id; otherwise the id."""
    tag = task.tag
    return f"{tag} ({task.prompt_id[:8]})" if tag and isinstance(tag, str) else task.prompt_id


def _may_pass(error: Exception) -> bool:
    """Return whether saving may succeed later: the disk is full, or the server is away."""
    gone = isinstance(error, DownloadFailed) and (error.gone or 400 <= (error.status or 0) < 500)
    return isinstance(error, OSError | DownloadFailed) and not gone


def _is_long(text: Text) -> bool:
    return len(text.text) > _LONG or text.text.count("\n") > _LINES


def _lacks(task: TaskHandle) -> Iterator[str]:
    """Yield what is missing from the result, though the server reported it or it should have arrived."""
    result = task.peek()
    if result is not None and result.left_out:
        yield (
            f"{result.left_out:,} of its outputs are left out, since more were reported than one task may have; "
            "fetch them from the server by hand, or split the workflow"
        )
    if result is not None and result.missed:
        yield (
            f"images of node {', '.join(result.missed[:5])} may be missing: they come over the socket alone, which "
            "was not open from start to end; run it again, or save them with SaveImage"
        )


async def _until_signal(work: Coroutine[Any, Any, int]) -> int:
    """Run the work until SIGTERM or SIGINT cancels it; later signals do not interrupt the orderly shutdown."""
    loop, working, got = asyncio.get_running_loop(), asyncio.ensure_future(work), list[int]()

    def end(number: int, _: object) -> None:
        if not got and not working.done():
            got.append(number)
            loop.call_soon_threadsafe(working.cancel)

    # Not by the loop, which would take its handlers back when it closes, and there are none of those on Windows.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        return await working
    except asyncio.CancelledError:
        return BY_SIGNAL + got[0]
