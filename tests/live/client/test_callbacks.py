"""Tests of callbacks: they may raise, hang, re-enter or flood, and nothing else is affected."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from comfy_fsm.core.updates import Update
from comfy_fsm.live.client.callbacks import Callbacks
from comfy_fsm.live.client.update_queue import WAITING, UpdateQueue


def update(number: int = 0, node: str = "3") -> Update:
    return Update("p", "progress", float(number), node=node, value=float(number), max=10.0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def story(tell: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(tell())


def test_a_slow_reader_gets_the_newest_of_each_node_in_order() -> None:
    async def tell() -> None:
        queue = UpdateQueue()
        for number in range(2_000):
            queue.put(update(number, node=str(number % 2)))
        queue.end()
        assert [(got.node, got.value) async for got in queue] == [("0", 1998.0), ("1", 1999.0)]

    story(tell)


def test_a_queue_is_bounded_whatever_nodes_a_server_makes_up() -> None:
    async def tell() -> None:
        queue = UpdateQueue()
        for number in range(3 * WAITING):
            queue.put(update(number, node=str(number)))
        queue.end()
        assert len([got async for got in queue]) == WAITING

    story(tell)


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_while_a_callback_sleeps_updates_are_taken_at_once_and_coalesced(kind: str) -> None:
    async def tell() -> None:
        release, seen = threading.Event(), []

        def slow(got: Update) -> None:
            seen.append(got.value)
            release.wait(30)

        async def slow_too(got: Update) -> None:
            seen.append(got.value)
            await until(release.is_set)

        callbacks = Callbacks(slow if kind == "function" else slow_too, None)
        callbacks.put(update(0))
        await until(lambda: seen == [0.0])
        for number in range(1, 2_001):
            callbacks.put(update(number))
        release.set()
        await until(lambda: len(seen) > 1)
        assert seen == [0.0, 2000.0]
        await callbacks.close()

    story(tell)


@pytest.mark.parametrize("fails", [True, False])
def test_completion_is_called_once_with_progress_silent_meanwhile_and_restored_after(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "comfy_fsm")

    async def tell() -> None:
        order: list[str] = []

        async def complete(_: object) -> None:
            order.append("complete")
            callbacks.put(update(1))
            await asyncio.sleep(0.01)
            if fails:
                raise ValueError("the application's own")

        callbacks = Callbacks(lambda got: order.append(f"progress {got.value:g}"), complete)
        await callbacks.complete("task")
        await callbacks.complete("task")
        assert order == ["complete"]
        callbacks.put(update(2))
        await until(lambda: order == ["complete", "progress 2"])
        await callbacks.close()

    story(tell)


def test_completion_does_not_wait_for_ever_for_a_progress_callback_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_fsm.live.client.callbacks._PATIENCE", 0.05)

    async def tell() -> None:
        hung, done = threading.Event(), []
        callbacks = Callbacks(lambda _: hung.wait(30), lambda _: done.append(True))
        callbacks.put(update())
        await asyncio.sleep(0.01)
        await callbacks.complete("task")
        assert done == [True]
        hung.set()
        await callbacks.close()

    story(tell)


@pytest.mark.parametrize("kind", ["function", "coroutine", "at a distance"])
def test_a_progress_callback_that_causes_its_own_call_is_cut_off_for_good_and_that_is_told_once(kind: str) -> None:
    async def tell() -> None:
        calls, cuts = [], []

        def again(got: Update) -> None:
            calls.append(got)
            if callbacks.recurses():
                cuts.append(True)
            else:
                callbacks.put(got)

        async def again_too(got: Update) -> None:
            again(got)

        async def from_afar(got: Update) -> None:
            await asyncio.create_task(again_too(got))

        function = {"function": again, "coroutine": again_too, "at a distance": from_afar}[kind]
        callbacks = Callbacks(function, None)
        callbacks.put(update(1))
        await until(lambda: bool(cuts))
        callbacks.put(update(2))
        await asyncio.sleep(0.02)
        assert (len(calls), cuts) == (1, [True])
        assert not callbacks.listens
        await callbacks.close()

    story(tell)


def test_a_progress_callback_that_raises_is_told_whole_once_called_again_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def tell() -> None:
        calls = []

        def fails(got: Update) -> None:
            calls.append(got.value)
            raise ValueError("the application's own")

        callbacks = Callbacks(fails, None)
        for number in range(1, 8):
            callbacks.put(update(number))
            await until(lambda n=number: len(calls) == n)
        await callbacks.complete("task")
        assert [bool(record.exc_info) for record in caplog.records] == [True]
        await callbacks.close()
        await callbacks.close()
        assert len(caplog.records) == 2
        assert caplog.records[-1].getMessage().endswith("raised 7 times")

    story(tell)


def test_a_completion_callback_that_raises_is_not_said_to_be_called_again(caplog: pytest.LogCaptureFixture) -> None:
    async def tell() -> None:
        def fails(_: object) -> None:
            raise ValueError("the application's own")

        callbacks = Callbacks(None, fails)
        await callbacks.complete("task")
        await callbacks.close()
        (told,) = caplog.records
        assert "is not called again" in told.getMessage()

    story(tell)


def test_a_function_that_hangs_holds_up_neither_the_loop_nor_the_end() -> None:
    async def tell() -> None:
        hung = threading.Event()
        callbacks = Callbacks(lambda _: hung.wait(30), None)
        callbacks.put(update())
        await asyncio.sleep(0.01)
        await callbacks.close()
        hung.set()

    began = time.monotonic()
    story(tell)
    assert time.monotonic() - began < 30  # else it had been waited for
