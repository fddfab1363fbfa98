"""Tests of a task handle in asyncio, which treats it like a future and never cancels the task."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from comfy_fsm import ClientClosed, Output, OutputFile, Result, State, TaskCancelled, TaskError, TaskHandle
from comfy_fsm.live.blocking.client import BlockingClient
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.outputs import TaskResult
from comfy_fsm.live.client.progress import Paces, Track
from comfy_fsm.live.client.task_handle import ERRORS
from comfy_fsm.testing import FakeComfy, ThreadedFake
from tests.support.stage import QUICK, graph, until, with_node
from tests.support.stage import outcome as ended

OUTCOMES = [State.COMPLETED, *(State(name) for name in ERRORS)]
SERVER = "http://127.0.0.1:1"


def result_of(outcome: State) -> Result:
    return Result("p", "w", SERVER, outcome, outputs=(Output("9", "images", "a.png", type="output"),))


class Pending:
    """A registry that knows one open task, and is asked for nothing else."""

    def state_of(self, _: TaskHandle) -> State:
        return State.PENDING

    async def cancel(self, _: TaskHandle) -> bool:
        raise AssertionError("nobody asked for that")

    async def position_in_queue(self, _: TaskHandle) -> int | None:
        raise AssertionError("nobody asked for that")

    def fetch(self, *_: object) -> Any:
        raise AssertionError("nobody asked for that")

    def note_cut(self, _: TaskHandle) -> None:
        raise AssertionError("nobody asked for that")


def handle() -> TaskHandle:
    return TaskHandle("p", "w", SERVER, registry=Pending(), track=Track(Paces()))


def future(outcome: State) -> asyncio.Future[Result]:
    """What the handle should be like."""
    model: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    error = ERRORS.get(outcome)
    model.set_result(result_of(outcome)) if error is None else model.set_exception(error(result_of(outcome)))
    return model


async def became(waiting: Awaitable[Any]) -> object:
    """A result, or the kind of error."""
    try:
        return await waiting
    except (TaskError, TimeoutError) as error:
        return type(error)


async def in_group(task: Any) -> object:
    async with asyncio.TaskGroup() as group:
        made = group.create_task(became(task.wait() if isinstance(task, TaskHandle) else task))
    return made.result()


async def first(tasks: Any, when: str) -> object:
    done, pending = await asyncio.wait([tasks], return_when=when)
    assert not pending
    (one,) = done
    return one.exception() and type(one.exception())


async def by_completion(task: Any) -> object:
    return await became(next(iter(asyncio.as_completed([task]))))


async def within(task: Any) -> object:
    async with asyncio.timeout(60):
        return await became(task)


async def gathered(task: Any) -> object:
    (found,) = await asyncio.gather(task, return_exceptions=True)
    return type(found) if isinstance(found, Exception) else found


WAYS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "await": became,
    "wait_for": lambda task: became(asyncio.wait_for(task, 60)),
    "timeout": within,
    "gather": gathered,
    "shield": lambda task: became(asyncio.shield(task)),
    "ensure_future": lambda task: became(asyncio.ensure_future(task)),
    "as_completed": by_completion,
    "TaskGroup": in_group,
    "wait": lambda task: first(task, asyncio.ALL_COMPLETED),
    "wait, first": lambda task: first(task, asyncio.FIRST_COMPLETED),
    "wait, first exception": lambda task: first(task, asyncio.FIRST_EXCEPTION),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", [True, False])
async def test_whatever_waits_for_a_future_waits_for_a_task_and_is_told_the_same(way: str, before: bool) -> None:
    for ending in OUTCOMES:
        task, model = handle(), future(ending)
        if before:
            await task.settle(result_of(ending))
        waiting = asyncio.create_task(WAYS[way](task))
        await asyncio.sleep(0)
        assert before or not waiting.done()
        await task.settle(result_of(ending))
        assert await waiting == await WAYS[way](model)


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_gives_up_waiting_cancels_nothing(way: str) -> None:
    task = handle()
    waiting = [asyncio.create_task(WAYS[way](task)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    with suppress(asyncio.CancelledError):
        await waiting[0]
    assert not task.done()
    await task.settle(result_of(State.COMPLETED))
    await waiting[1]
    assert await task == result_of(State.COMPLETED)


async def test_a_timeout_leaves_the_task_as_it_is() -> None:
    task = handle()
    for waits in (asyncio.wait_for(task, 0), asyncio.wait_for(task, 0.01)):
        with pytest.raises(TimeoutError):
            await waits
    done, pending = await asyncio.wait([task], timeout=0.01)
    assert (done, pending) == (set(), {task})


@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_a_task_answers_what_a_future_is_asked(outcome: State) -> None:
    task, model = handle(), future(outcome)
    assert (task.done(), task.cancelled(), task.peek(), task.state) == (False, False, None, State.PENDING)
    for ask in (task.result, task.exception):
        with pytest.raises(asyncio.InvalidStateError, match="task p is pending"):
            ask()
    await task.settle(result_of(outcome))
    assert task.done() is model.done()
    assert type(task.exception()) is type(model.exception())
    assert task.cancelled() is (outcome is State.CANCELLED)
    assert task.peek() == result_of(outcome)
    assert task.get_loop() is model.get_loop()
    if outcome is State.COMPLETED:
        assert task.result() == model.result()
    else:
        with pytest.raises(ERRORS[outcome]):
            task.result()


async def test_done_callbacks_are_called_once_each_and_soon() -> None:
    task, called = handle(), list[tuple[str, TaskHandle]]()

    def gone(task: TaskHandle) -> None:
        called.append(("gone", task))

    task.add_done_callback(lambda task: called.append(("early", task)))
    task.add_done_callback(gone)
    task.add_done_callback(gone)
    assert task.remove_done_callback(gone) == 2
    assert task.remove_done_callback(gone) == 0
    await task.settle(result_of(State.FAILED))
    await task.settle(result_of(State.FAILED))
    task.add_done_callback(lambda task: called.append(("late", task)))
    await asyncio.sleep(0)
    assert called == [("early", task), ("late", task)]


async def test_who_closes_the_client_first_is_told_to_everyone() -> None:
    task, told = handle(), list[TaskHandle]()
    task.add_done_callback(told.append)
    waiting = asyncio.ensure_future(task)
    task.abandon(ClientClosed("closed"))
    with pytest.raises(ClientClosed):
        await waiting
    assert (task.done(), task.cancelled(), task.peek(), told) == (True, False, None, [task])
    assert isinstance(task.exception(), ClientClosed)


async def test_a_coroutine_of_it_is_what_create_task_takes_as_of_any_future() -> None:
    for waiting in (handle(), asyncio.get_running_loop().create_future()):
        with pytest.raises(TypeError, match="a coroutine was expected"):
            await asyncio.create_task(waiting)
    task = handle()
    made = asyncio.create_task(task.wait())
    await task.settle(result_of(State.CANCELLED))
    with pytest.raises(TaskCancelled):
        await made


def test_a_result_is_the_same_beside_the_plain_one_written_down_or_sent_to_another_process() -> None:
    async def story() -> TaskResult:
        task = handle()
        await task.settle(result_of(State.COMPLETED))
        return task.result()

    told, plain = asyncio.run(story()), result_of(State.COMPLETED)
    assert (told, plain) == (plain, told)
    assert len({told, plain, *told.outputs, *plain.outputs}) == 2
    assert msgspec.json.encode(told) == msgspec.json.encode(plain)
    assert isinstance(told.outputs[0], OutputFile)
    assert repr(told.outputs[0]) == "<output 'output/a.png' of node 9: image/png>"
    for copied in (pickle.loads(pickle.dumps(told)), copy.deepcopy(told)):
        assert copied == plain
    with pytest.raises(Exception, match="left the process that has its client"):
        asyncio.run(pickle.loads(pickle.dumps(told)).outputs[0].read())


SENT = {"1": graph(3)["1"], "9": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}}}
"""Its image comes over the socket."""


async def follow(task: TaskHandle) -> None:
    async for _ in task:
        pass


@pytest.mark.parametrize("use", [ended, follow, TaskHandle.cancel])
@pytest.mark.parametrize("workflow", [graph(1), SENT, with_node("FakeFail", 2)], ids=["saved", "sent", "failed"])
async def test_a_settled_task_is_freed_once_the_application_lets_it_go(
    workflow: dict[str, Any], use: Callable[[TaskHandle], Awaitable[object]]
) -> None:
    async with FakeComfy() as comfy, Client(comfy.url, policy=QUICK) as client:
        seen: list[str | None] = []
        task = await client.window().submit(workflow, on_complete=lambda result: seen.append(result.prompt_id))
        await use(task)
        await ended(task)
        await until(lambda: not client.tasks and seen)
        freed = weakref.ref(task)
        del task
        gc.collect()
        assert freed() is None


def test_a_settled_task_of_a_blocking_client_is_freed_too(fake_comfyui: ThreadedFake) -> None:
    with BlockingClient(fake_comfyui.url, policy=QUICK) as client:
        task = client.submit(SENT)
        assert task.result().outputs[0].read()
        freed = weakref.ref(task._handle)
        del task
        while freed() is not None:
            gc.collect()
