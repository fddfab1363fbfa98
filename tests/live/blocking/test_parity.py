"""Tests that the blocking client has every public name of the async one, with the same parameters and outcomes."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm import (
    BlockingClient,
    BlockingDispatcher,
    BlockingOutput,
    BlockingResult,
    BlockingTask,
    BlockingWindow,
    Client,
    ClientClosed,
    ClientError,
    Dispatcher,
    OutputFile,
    State,
    TaskFailed,
    TaskHandle,
    TaskResult,
    Update,
    Window,
)
from comfy_fsm.live.blocking.client import Settings, Upload
from comfy_fsm.live.blocking.dispatcher import Dispatching, Enqueuing
from comfy_fsm.live.blocking.window import Submission
from comfy_fsm.testing import ThreadedFake
from tests.support.stage import QUICK, graph, with_node

PAIRS: list[tuple[type, type, set[str]]] = [
    (Client, BlockingClient, {"extra_data", "handles", "runner"}),
    (Window, BlockingWindow, {"forget_id"}),
    (
        TaskHandle,
        BlockingTask,
        # what only the client calls, and what only a loop can
        {"abandon", "close", "listens", "push", "resume", "settle"}
        | {"add_done_callback", "get_loop", "remove_done_callback"},
    ),
    (Dispatcher, BlockingDispatcher, {"moves", "withdraw"}),
    (OutputFile, BlockingOutput, {"at", "save_among", "source"}),
    (TaskResult, BlockingResult, set()),
]
each_pair = pytest.mark.parametrize(
    ("awaited", "blocking", "inner"), PAIRS, ids=lambda value: getattr(value, "__name__", "")
)


def opened(server: ThreadedFake, log: Path | None = None, **settings: Any) -> BlockingClient:
    return BlockingClient(server.url, log=log, policy=QUICK, **settings)


def until(condition: Callable[[], object]) -> None:
    """What is waited for is in another thread, which tells nobody."""
    latest = time.monotonic() + 60.0
    while not condition():
        assert time.monotonic() < latest
        time.sleep(0.005)


def public(face: type) -> set[str]:
    return {name for name in dir(face) if name[0] != "_"}


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "timeout")]


@each_pair
def test_every_public_name_of_the_one_is_a_name_of_the_other(awaited: type, blocking: type, inner: set[str]) -> None:
    assert inner <= public(awaited) | {"extra_data", "handles", "runner"}, "what is excepted is there"
    assert public(awaited) - inner - public(blocking) == set()


@each_pair
def test_a_name_means_the_same_in_both(awaited: type, blocking: type, inner: set[str]) -> None:
    for name in public(awaited) - inner:
        one, other = inspect.getattr_static(awaited, name), inspect.getattr_static(blocking, name)
        assert isinstance(one, property) is isinstance(other, property), name
        if inspect.isfunction(one) and "options" not in parameters(other):
            assert parameters(one) == parameters(other) or name == "accompany", name


@pytest.mark.parametrize(
    ("function", "options", "first"),
    [
        (Client, Settings, {"servers"}),
        (Client.upload, Upload, {"self", "file", "name"}),
        (Window.submit, Submission, {"self", "workflow"}),
        (Dispatcher, Dispatching, {"client"}),
        (Dispatcher.enqueue, Enqueuing, {"self", "workflow"}),
    ],
)
def test_the_options_of_the_one_are_those_of_the_other(function: Any, options: Any, first: set[str]) -> None:
    assert set(inspect.signature(function).parameters) - first == set(options.__annotations__)


def test_a_task_is_followed_and_its_files_are_had_in_plain_calls(fake_comfyui: ThreadedFake, tmp_path: Path) -> None:
    with opened(fake_comfyui) as client:
        told: list[BlockingTask] = []
        task = client.window().submit(graph(seconds=0.3), tag={"user": 7}, on_complete=told.append)
        updates = list(task)
        assert updates
        assert all(isinstance(update, Update) for update in updates)
        result = task.wait(60)
        assert (result.state, result.tag, task.tag, task.done(), task.exception()) == (
            State.COMPLETED, {"user": 7}, {"user": 7}, True, None,
        )  # fmt: skip
        assert (task.progress.share, task.queue_position()) == (1.0, None)
        for output in (*result.outputs, *task.outputs):
            assert output.read().startswith(b"\x89PNG")
            assert output.server == fake_comfyui.url
            assert repr(output).startswith("<output 'output/picture_")
        assert result.outputs[0].save(tmp_path / "mine.png") == tmp_path / "mine.png"
        assert result.outputs[0].save_into(tmp_path / "new").exists()
        assert [path.parent for path in task.save_outputs(tmp_path / "made")] == [tmp_path / "made"]
        until(lambda: told)
        assert told == [task]
        failed = client.submit(with_node("FakeFail", message="no"))
        assert isinstance(failed.exception(), TaskFailed)
        peeked = failed.peek()
        assert peeked is not None
        assert peeked.state is State.FAILED


def test_a_timeout_says_what_goes_on(fake_comfyui: ThreadedFake) -> None:
    with opened(fake_comfyui) as client:
        task = client.submit(graph(seconds=60.0))
        until(lambda: task.state == "in_progress")
        for wait in (task.result, task.wait, task.exception):
            with pytest.raises(TimeoutError, match=r"in_progress after 0\.01 s, and goes on; ask for its"):
                wait(0.01)
        assert task.peek() is None
        assert task.cancel()


def test_what_was_left_comes_to_a_function_that_may_wait_for_it(fake_comfyui: ThreadedFake, comfy_log: Path) -> None:
    with opened(fake_comfyui, comfy_log) as client:
        left = client.submit(graph(seconds=1.0), tag="left")
        until(lambda: left.state == "in_progress")
    taken: list[Any] = []

    def take(task: BlockingTask) -> None:
        taken.append((task.tag, task.result().outputs[0].read()[:4]))

    with opened(fake_comfyui, comfy_log, on_resume=take) as client:
        until(lambda: taken)
        until(lambda: not client.tasks)
    assert taken == [("left", b"\x89PNG")]


def test_jobs_wait_and_run_in_plain_calls(fake_comfyui: ThreadedFake, comfy_log: Path) -> None:
    with opened(fake_comfyui, comfy_log) as client, BlockingDispatcher(client, capacity=1) as dispatcher:
        first = dispatcher.enqueue(graph(seconds=0.3), priority=1, tag="first")
        second = dispatcher.enqueue(graph(1))
        assert second in dispatcher.waiting
        assert first.result(60).tag == "first"
        assert second.result(60).state == "completed"
        assert dispatcher.standings == {fake_comfyui.url: "up"}
        assert dispatcher.stuck == []
        dispatcher.drain(fake_comfyui.url)
        third = dispatcher.enqueue(graph(2))
        assert third.waits
        dispatcher.undrain(fake_comfyui.url)
        assert third.result(60).state == "completed"


def test_servers_board_and_readings_are_there(fake_comfyui: ThreadedFake) -> None:
    with opened(fake_comfyui) as client:
        client.run(graph())
        assert client.servers == [fake_comfyui.url]
        assert len(client.board.tasks) == 1
        assert client.readings()
        assert client.upload(b"\x89PNG", "a.png").endswith(".png")
        assert client.policy.check_seconds > 0
        client.close()
        with pytest.raises(ClientClosed):
            client.submit(graph())


USES = [lambda c: c.tasks, lambda c: c.submit(graph()), lambda c: c.upload(b""), lambda c: c.board]


@pytest.mark.parametrize("use", USES)
def test_before_it_is_open_nothing_is_done_and_that_is_told(use: Any) -> None:
    with pytest.raises(ClientError, match="is not open, so nothing was done"):
        use(BlockingClient("127.0.0.1:1"))
