"""Checks of what a type checker infers for the names that users annotate with: read by mypy, never run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import assert_type

import comfy_fsm
from comfy_fsm import (
    BlockingClient,
    BlockingDispatcher,
    BlockingResult,
    BlockingTask,
    Board,
    Client,
    Deliver,
    Dispatcher,
    OutputFile,
    Policy,
    Progress,
    Result,
    State,
    TaskError,
    TaskFailed,
    TaskHandle,
    TaskResult,
    Update,
    Window,
    Workflow,
)

assert_type(comfy_fsm.__version__, str)
_ = comfy_fsm.Clinet  # type: ignore[attr-defined]


async def submits(client: Client, workflow: Workflow) -> Result:
    assert_type(client.board, Board)
    assert_type(client.tasks, list[TaskHandle])
    window = client.window()
    assert_type(window, Window)
    task = await window.submit(workflow.copy().set("KSampler", seed=1), on_complete=taken)
    assert_type(task, TaskHandle)
    assert_type(task.state, State)
    async for update in task:
        assert_type(update, Update)
    assert_type(task.outputs, list[OutputFile])
    assert_type(await task.outputs[0].read(), bytes)
    assert_type(await task.outputs[0].save("here.png"), Path)
    assert_type(task.progress, Progress)
    assert_type(await task.queue_position(), int | None)
    assert_type(await asyncio.gather(task, task), tuple[TaskResult, TaskResult])
    assert_type(await asyncio.wait_for(task, 1), TaskResult)
    assert_type(asyncio.create_task(task.wait()), asyncio.Task[TaskResult])
    result = await task
    assert_type(result, TaskResult)
    assert_type(result.outputs, tuple[OutputFile, ...])
    return result


async def taken(task: TaskHandle) -> None:
    try:
        result = await task
    except TaskFailed as error:
        assert_type(error, TaskFailed)
    except TaskError as error:
        assert_type((error.result.state, error.result.server, error.result.tag), tuple[str, str, object])
    else:
        assert_type(result.state, State)


async def dispatches(client: Client) -> None:
    async with Dispatcher(client, capacity={"localhost:8188": 2}) as dispatcher:
        assert_type(await dispatcher.enqueue({"1": {"class_type": "A", "inputs": {}}}, priority=2), TaskHandle)
        assert_type(dispatcher.waiting, list[TaskHandle])


def embeds(board: Board) -> list[Result]:
    assert_type(Board(Policy(resubmits=1)), Board)
    return [effect.result for effect in board.drain() if isinstance(effect, Deliver)]


def changes(path: Path) -> int:
    workflow = Workflow.load(path)
    assert_type(workflow, Workflow)
    return workflow.set_seed()


def blocks(client: BlockingClient, workflow: Workflow) -> State:
    task = client.submit(workflow, tag={"user": 1}, on_complete=ended)
    assert_type(task, BlockingTask)
    result = task.result(60)
    assert_type(result, BlockingResult)
    assert_type(result.outputs[0].read(), bytes)
    client.submit(workflow, tga=1)  # type: ignore[call-arg]
    with BlockingDispatcher(client, capacity=2) as dispatcher:
        assert_type(dispatcher.enqueue(workflow, priority=1.0), BlockingTask)
    return result.state


def ended(task: BlockingTask) -> None:
    assert_type([update.share for update in task], list[float | None])
