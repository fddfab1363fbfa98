"""Tests of the loop that is shared with the application: thousands of tasks are taken up in turns, by few coroutines,
and are left out of garbage collections.
"""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.handles import Handles
from comfy_fsm.live.engine.poller import Poller
from comfy_fsm.live.engine.responsiveness import IN_A_TURN, MANY_TASKS, Exemption, in_turns, paused
from comfy_fsm.live.engine.runner import Runner
from comfy_fsm.testing import FakeComfy
from tests.campaigns.hostile import earlier, write
from tests.support.stage import QUICK, until

TASKS = 20 * IN_A_TURN
FEW = 40  # coroutines of one client, its HTTP and its socket, and of this test


@pytest.fixture(autouse=True)
def collector_is_left_as_it_was() -> Iterator[None]:
    gc.unfreeze()  # what the collection of the tests froze
    yield
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    gc.freeze()


class Turns:
    """Counts what is done between two turns of a coroutine that only ever gives the loop back."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.sum: dict[str, int] = {}

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def work(*args: Any, **kwargs: Any) -> Any:
            self.done[name] = self.done.get(name, 0) + 1
            self.sum[name] = self.sum.get(name, 0) + 1
            self.most[name] = max(self.most.get(name, 0), self.done[name])
            return function(*args, **kwargs)

        return work

    async def beat(self) -> None:
        while True:
            self.done.clear()
            await asyncio.sleep(0)


@pytest.mark.parametrize("count", [0, 1, IN_A_TURN, IN_A_TURN + 1, 5 * IN_A_TURN])
async def test_others_have_the_loop_after_so_many_things(count: int) -> None:
    turns, seen = Turns(), list[int]()
    beating = asyncio.create_task(turns.beat())
    note = turns.counted("seen", seen.append)
    async for item in in_turns(range(count)):
        note(item)
    beating.cancel()
    assert seen == [*range(count)]
    assert turns.most.get("seen", 0) <= IN_A_TURN


async def test_tasks_of_an_earlier_process_are_taken_up_in_turns_by_few_coroutines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, turns = FakeComfy(), Turns()
    await server.start()
    for kind, name in ((Handles, "hold_again"), (Runner, "_perform_one"), (Poller, "_fetch_soon")):
        monkeypatch.setattr(kind, name, turns.counted(name, getattr(kind, name)))
    await write(tmp_path / "a.log", earlier(server.url, TASKS))
    beating = asyncio.create_task(turns.beat())
    async with Client(server.url, log=tmp_path / "a.log") as client:
        assert len(client.tasks) == TASKS
        assert gc.get_freeze_count() > TASKS
        await until(lambda: turns.sum.get("_perform_one", 0) >= TASKS and turns.sum.get("_fetch_soon", 0) > 0)
        assert len(asyncio.all_tasks()) < FEW
    beating.cancel()
    await server.kill()
    assert turns.sum["hold_again"] == TASKS
    assert turns.most["hold_again"] <= IN_A_TURN
    assert turns.most["_perform_one"] <= 2 * IN_A_TURN


async def test_tasks_that_no_collection_sees_are_freed_as_they_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = FakeComfy()
    await server.start()
    monkeypatch.setattr("comfy_fsm.live.client.client.MANY_TASKS", 20)
    await write(tmp_path / "a.log", earlier(server.url, 20))
    async with Client(server.url, log=tmp_path / "a.log", policy=QUICK) as client:
        assert gc.get_freeze_count() > 0
        left = [weakref.ref(task) for task in client.tasks]
        with paused():
            await until(lambda: not client.tasks)  # its server has none of them: they are lost
            await until(lambda: not any(task() for task in left))
    await server.kill()
    assert len(left) == 20


async def test_a_client_with_few_tasks_leaves_the_collector_alone(tmp_path: Path) -> None:
    server = FakeComfy()
    await server.start()
    await write(tmp_path / "a.log", earlier(server.url, MANY_TASKS - 1))
    async with Client(server.url, log=tmp_path / "a.log"):
        assert gc.get_freeze_count() == 0
    await server.kill()


def test_nothing_is_collected_while_any_thread_asks_for_that() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with paused():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(30)
    with paused(), paused():
        assert not gc.isenabled()
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_an_application_that_collects_by_hand_goes_on_so() -> None:
    gc.disable()
    try:
        with paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_last_client_that_is_closed_ends_the_exemption() -> None:
    first, second = Exemption(), Exemption()
    first.begin()
    second.begin()
    first.end()
    first.end()
    assert gc.get_freeze_count() > 0
    second.end()


def test_what_an_application_froze_stays_as_it_wants_it() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        exemption = Exemption()
        exemption.begin()
        exemption.end()
        assert gc.get_freeze_count() == pytest.approx(frozen, abs=100)  # less what was freed since
    finally:
        gc.unfreeze()
