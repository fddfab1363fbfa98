"""Tests of closing: whatever is cancelled, however often, the log is released and nothing runs on."""

import asyncio
import gc
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.live.client.client import Client
from comfy_fsm.live.dispatch.dispatcher import Dispatcher
from comfy_fsm.live.engine.closing import Closing, finish
from comfy_fsm.live.engine.listener import Listener
from comfy_fsm.live.engine.runner import Runner
from comfy_fsm.log.log import Log
from comfy_fsm.log.reader import verify
from comfy_fsm.testing import FakeComfy
from comfy_fsm.testing.workflows import sleeping

OURS = ("ingest", "log ", "listener ", "closing")


class Steps:
    """The suspensions of a coroutine, counted; at the chosen ones its task is cancelled."""

    def __init__(self, *cancelled: int) -> None:
        self.cancelled = cancelled
        self.count = 0

    @types.coroutine
    def walk(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        inner, send, value = work.__await__(), "send", None
        while True:
            try:
                waited = getattr(inner, send)(value)
            except StopIteration as ended:
                return ended.value
            self.count += 1
            if self.count in self.cancelled:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value, send = (yield waited), "send"
            except BaseException as error:
                value, send = error, "throw"

    async def __call__(self, work: Coroutine[Any, Any, Any]) -> Any:
        return await self.walk(work)


async def settled(threads: set[threading.Thread]) -> None:
    """All that is ours has ended: tasks of the loop, and threads of the log."""
    while left := [task for task in asyncio.all_tasks() if task.get_name().startswith(OURS)]:
        await asyncio.wait(left, timeout=20)
        assert not [task for task in left if not task.done()], left
    for thread in set(threading.enumerate()) - threads:
        if not thread.name.startswith("asyncio"):
            await asyncio.to_thread(thread.join, 20)
            assert not thread.is_alive(), thread


async def is_free(path: Path, threads: set[threading.Thread]) -> None:
    await settled(threads)
    await (await Log.open(path)).close()
    assert verify(path).damaged == 0


def pairs(most: int) -> list[tuple[int, ...]]:
    return [(n,) for n in range(1, most + 1)] + [(n, m) for n in range(1, most + 1) for m in range(n + 1, most + 2)]


# The log

STEPS_OF_OPEN = 4


@pytest.mark.parametrize("at", pairs(STEPS_OF_OPEN))
async def test_an_opening_that_is_cancelled_at_any_step_and_again_holds_no_lock(
    tmp_path: Path, at: tuple[int, ...]
) -> None:
    threads, path = set(threading.enumerate()), tmp_path / "a.log"
    opened = await asyncio.gather(Steps(*at)(Log.open(path)), return_exceptions=True)
    if isinstance(opened[0], Log):  # it has fewer steps
        await opened[0].close()
    await is_free(path, threads)


async def test_an_opening_has_no_more_steps_than_are_walked(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    steps = Steps()
    await (await steps(Log.open(path))).close()
    cancelled = Steps(1)
    await asyncio.gather(cancelled(Log.open(path)), return_exceptions=True)
    assert max(steps.count, cancelled.count) <= STEPS_OF_OPEN


# The client


async def use(comfy: FakeComfy, path: Path, *, dispatching: bool) -> None:
    async with Client(comfy.url, log=path) as client:
        if dispatching:
            async with Dispatcher(client) as dispatcher:
                await dispatcher.enqueue(sleeping(60))
        else:
            await client.window().submit(sleeping(60))


async def count_steps(tmp_path: Path, work: Callable[[FakeComfy, Path], Coroutine[Any, Any, None]]) -> int:
    async with FakeComfy() as comfy:
        steps = Steps()
        await steps(work(comfy, tmp_path / "counted.log"))
        return steps.count


@pytest.mark.parametrize("dispatching", [False, True])
async def test_a_client_that_is_cancelled_at_any_step_and_again_at_the_next_lets_its_log_go(
    tmp_path: Path, dispatching: bool
) -> None:
    most = await count_steps(tmp_path, lambda comfy, path: use(comfy, path, dispatching=dispatching))
    assert most >= 5
    async with FakeComfy() as comfy:
        for first in range(1, most + 1):
            for again in (0, 1, 2):
                threads, path = set(threading.enumerate()), tmp_path / f"{first}-{again}.log"
                steps = Steps(first, *[first + again] * bool(again))
                await asyncio.gather(steps(use(comfy, path, dispatching=dispatching)), return_exceptions=True)
                await is_free(path, threads)


CLOSERS: dict[str, type] = {"Client": Client, "Runner": Runner, "Dispatcher": Dispatcher, "Listener": Listener}


@pytest.mark.parametrize("who", CLOSERS)
async def test_the_one_that_closes_is_cancelled_at_each_of_its_steps_twice_and_closes_all_the_same(
    tmp_path: Path, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the end of a loop does, which cancels every task that is left."""
    name = "close" if who == "Listener" else "_close"
    whole, walked = getattr(CLOSERS[who], name), Steps()
    monkeypatch.setattr(CLOSERS[who], name, lambda self: walked(whole(self)))
    async with FakeComfy() as comfy:
        await use(comfy, tmp_path / "counted.log", dispatching=who == "Dispatcher")
        most = walked.count
        assert most
        for first in range(1, most + 1):
            walked = Steps(first, first + 1)
            threads, path = set(threading.enumerate()), tmp_path / f"{first}.log"
            await asyncio.gather(use(comfy, path, dispatching=who == "Dispatcher"), return_exceptions=True)
            await is_free(path, threads)


@pytest.mark.filterwarnings("ignore:coroutine 'connect_tcp")  # anyio's own, whose group ends before it began
@pytest.mark.filterwarnings("ignore:unclosed (transport|<socket):ResourceWarning")  # a connection that a cancel cut off
def test_a_loop_that_ends_at_any_step_of_a_client_lets_its_log_go(tmp_path: Path) -> None:
    most = asyncio.run(count_steps(tmp_path, lambda comfy, path: use(comfy, path, dispatching=False)))

    class End(Exception):
        """It ends here, and `asyncio.run` cancels what is left."""

    for step in range(1, most + 1):
        path, threads = tmp_path / f"{step}.log", set(threading.enumerate())

        async def story(path: Path = path, step: int = step) -> None:
            async with FakeComfy() as comfy:
                steps = Steps()
                using = asyncio.ensure_future(steps(use(comfy, path, dispatching=False)))
                while steps.count < step and not using.done():
                    await asyncio.sleep(0)
                raise End

        with pytest.raises(End):
            asyncio.run(story())
        asyncio.run(is_free(path, threads))
    gc.collect()  # here, and not in another test


async def test_who_closes_again_waits_for_the_first_closing(tmp_path: Path) -> None:
    async with FakeComfy() as comfy:
        threads, path = set(threading.enumerate()), tmp_path / "a.log"
        client = Client(comfy.url, log=path)
        await client.__aenter__()
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await client.close()
        await (await Log.open(path)).close()
        await is_free(path, threads)


# The parts


async def test_a_closing_is_done_once_and_tells_each_caller_how_it_ended() -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("closed")
        await asyncio.sleep(0)
        raise RuntimeError("as it happens")

    closing = Closing(work)
    first, second = await asyncio.gather(closing(), closing(), return_exceptions=True)
    assert isinstance(first, RuntimeError)
    assert isinstance(second, RuntimeError)
    with pytest.raises(RuntimeError, match="as it happens"):
        await closing()
    assert done == ["closed"]


async def test_what_is_to_be_finished_is_waited_for_however_often_we_are_cancelled() -> None:
    gate, over = asyncio.Event(), asyncio.Event()

    async def step() -> None:
        await gate.wait()
        over.set()

    async def fails() -> None:
        raise ValueError("of no concern to the next step")

    waiting = asyncio.create_task(finish(step(), fails()))
    for _ in range(5):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    await waiting
    assert over.is_set()
