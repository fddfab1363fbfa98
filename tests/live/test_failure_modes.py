"""How users lose tasks today, one by one, against a server that misbehaves so, with real sockets and a real log.

After each story the log is replayed: it must tell what the client told (`stage.play`).
"""

import asyncio
from pathlib import Path

import pytest

from comfy_fsm.errors import ServerUnreachable
from comfy_fsm.live.client import Client
from comfy_fsm.testing import FakeComfy
from tests.live.stage import QUICK, codes, graph, outcome, play


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tasks.log"


def test_f1_a_history_that_is_still_empty_after_the_end_is_asked_again(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.empty_history = 3
        result = await (await client.window().submit(graph()))
        assert (result.state, len(result.outputs)) == ("completed", 1)

    play(story, log)


@pytest.mark.parametrize("lost", [{"execution_success"}, {"executing"}, {"execution_success", "executing", "executed"}])
def test_f2_a_lost_end_is_found_over_http(log: Path, lost: set[str]) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.drop_types = lost
        assert await outcome(await client.window().submit(graph())) == "completed"

    play(story, log)


def test_f4_a_deaf_socket_is_replaced_under_a_fresh_id(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        comfy.faults.deaf = 1
        first = await window.submit(graph(seconds=0.5))
        assert await outcome(first) == "completed"
        while window.id_at(client.servers[0]) == first.window:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        second = await window.submit(graph(1, seconds=0.2))
        assert second.window != first.window
        assert {update.name async for update in second} >= {"executing"}

    assert "deaf-socket" in codes(play(story, log))


def test_f5_two_windows_never_share_an_id(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        windows = [client.window() for _ in range(3)]
        tasks = [await window.submit(graph(number)) for number, window in enumerate(windows)]
        assert len({task.window for task in tasks}) == 3
        assert [await outcome(task) for task in tasks] == ["completed"] * 3

    assert "shared-client-id" not in codes(play(story, log))


@pytest.mark.parametrize("version", ["0.3.50", "0.3.64"])
def test_f7_another_windows_progress_is_never_on_my_bar(log: Path, version: str) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        mine: list[str] = []
        idle = client.window()
        task = await idle.submit(graph(0), on_progress=lambda update: mine.append(update.prompt_id))
        await task
        others = [await client.window().submit(graph(number)) for number in range(1, 4)]
        for other in others:
            await other
        assert set(mine) <= {task.prompt_id}

    play(story, log, version=version)


def test_f8_a_cut_socket_is_reopened_and_every_open_task_reconciled(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit(graph(seconds=0.3))
        comfy.cut()
        assert await outcome(task) == "completed"

    assert "socket-gap" in codes(play(story, log))


def test_f9_a_restart_that_forgets_the_task_is_lost_and_never_done(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit(graph(seconds=30))
        await asyncio.sleep(0.1)
        await comfy.kill()
        await comfy.restart(keep=False)
        assert await outcome(task) == "lost"

    assert "lost" in codes(play(story, log))


def test_f11_a_result_is_asked_of_the_server_that_ran_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeComfy() as one, FakeComfy() as two, Client([one.url, two.url], policy=QUICK) as client:
            window = client.window()
            tasks = [await window.submit(graph(number), server=server.url) for number, server in
                     enumerate([one, two, one])]  # fmt: skip
            results = [await task for task in tasks]
            assert [result.server for result in results] == [one.url, two.url, one.url]
            assert not [finding for finding in client.board.findings if finding.code == "wrong-server"]

    asyncio.run(story())


def test_f12_a_cached_run_is_completed_and_its_files_are_there(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        for _ in range(2):
            assert len((await (await window.submit(graph()))).outputs) == 1

    play(story, log)


def test_f13_the_first_frames_are_heard_since_the_socket_is_open_before_the_post(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        names = []
        task = await client.window().submit(graph(), on_progress=lambda update: names.append(update.name))
        await task
        told = next(each for each in client.board.tasks if each.prompt_id == task.prompt_id)
        assert "execution_start" in [signal.signal for signal in told.signals]

    play(story, log)


@pytest.mark.parametrize(
    ("fault", "runs"), [("swallow_post", 1), ("post_500_queued", 1), ("drop_post", 0), ("post_500", 0)]
)
@pytest.mark.parametrize("version", ["0.3.64", "0.3.10"])
def test_f14_an_unanswered_post_is_looked_for_and_never_run_twice(
    log: Path, fault: str, runs: int, version: str
) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        setattr(comfy.faults, fault, 1)
        task = await client.window().submit(graph())
        assert await outcome(task) == ("completed" if runs else "lost")
        assert sum(comfy.runs.values()) == runs

    assert "resubmitted" not in codes(play(story, log, version=version))


def test_f15_a_cancel_hits_its_own_task_and_no_other(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window, other = client.window(), client.window()
        running = await other.submit(graph(0, seconds=0.6))
        pending = await window.submit(graph(1, seconds=0.6))
        assert await pending.cancel()
        assert await outcome(pending) == "cancelled"
        assert await outcome(running) == "completed"

    assert "foreign-interrupt" not in codes(play(story, log))


def test_f16_a_task_that_somebody_removed_while_it_waited_is_cancelled(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        first = await window.submit(graph(0, seconds=0.5))
        second = await window.submit(graph(1, seconds=0.2))
        await second.cancel()
        assert [await outcome(first), await outcome(second)] == ["completed", "cancelled"]

    play(story, log)


def test_f17_a_task_at_a_wedged_server_expires_and_the_server_is_not_waited_for(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.dead_worker = True
        task = await client.window().submit(graph())
        await asyncio.sleep(1)
        assert task.state == "pending"

    assert "unresolved" in codes(play(story, log))


def test_f18_a_failure_is_a_failure_and_an_interrupt_a_cancellation(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        failing = graph(0) | {"3": {"class_type": "FakeFail", "inputs": {"image": ["1", 0], "message": "no"}}}
        failing["2"]["inputs"]["images"] = ["3", 0]
        assert await outcome(await window.submit(failing)) == "failed"
        slow = await window.submit(graph(1, seconds=30))
        while slow.state != "in_progress":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await slow.cancel()
        assert await outcome(slow) == "cancelled"

    play(story, log)


def test_f19_a_doubled_end_is_delivered_once(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.double = True
        done: list[str] = []
        task = await client.window().submit(graph(), on_complete=lambda task: done.append(task.prompt_id))
        await task
        await asyncio.sleep(0.3)
        assert done == [task.prompt_id]

    play(story, log)


def test_f20_a_frame_of_many_mebibytes_does_not_end_the_socket(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        big = graph() | {"3": {"class_type": "FakeBigFrame", "inputs": {"image": ["1", 0], "bytes": 3 * 1024 * 1024}}}
        big["2"]["inputs"]["images"] = ["3", 0]
        assert await outcome(await client.window().submit(big)) == "completed"

    assert "socket-gap" not in codes(play(story, log))


def test_f24_neither_an_empty_queue_nor_a_first_output_is_an_end(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        two = graph(0)
        two["3"] = {"class_type": "FakeSleep", "inputs": {"image": ["1", 0], "seconds": 0.2}}
        two["4"] = {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "late"}}
        assert len((await (await client.window().submit(two))).outputs) == 2

    play(story, log)


def test_f26_a_blocked_error_is_no_end(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        blocked = graph(0)
        blocked["3"] = {"class_type": "FakeBlock", "inputs": {"image": ["1", 0]}}
        blocked["4"] = {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "never"}}
        assert await outcome(await client.window().submit(blocked)) == "completed"

    play(story, log)


def test_f27_a_queue_that_hides_what_waits_proves_nothing(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        first = await window.submit(graph(0, seconds=0.3))
        second = await window.submit(graph(1, seconds=0.2))
        assert [await outcome(first), await outcome(second)] == ["completed", "completed"]

    play(story, log)


def test_f29_a_flood_of_progress_reaches_a_slow_callback_coalesced_and_the_end_at_once(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        seen: list[float | None] = []

        async def slow(update: object) -> None:
            seen.append(getattr(update, "value", None))
            await asyncio.sleep(0.05)

        flood = graph(0)
        flood["3"] = {"class_type": "FakeProgress", "inputs": {"image": ["1", 0], "steps": 2_000, "seconds": 0}}
        flood["2"]["inputs"]["images"] = ["3", 0]
        assert await outcome(await client.window().submit(flood, on_progress=slow)) == "completed"
        assert len(seen) < 100

    play(story, log)


def test_f30_a_page_instead_of_an_answer_is_unreachable_and_never_absent(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit(graph(seconds=0.3))
        comfy.faults.login_page = {"*": 10_000}
        await asyncio.sleep(0.8)
        assert task.state not in ("lost", "cancelled")
        comfy.faults.login_page = {}
        assert await outcome(task) == "completed"

    play(story, log)


def test_f31_many_tasks_of_one_window_each_get_their_own_answer(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        tasks = [await window.submit(graph(number)) for number in range(20)]
        results = await asyncio.gather(*tasks)
        assert [result.prompt_id for result in results] == [task.prompt_id for task in tasks]
        assert set(comfy.runs.values()) == {1}

    play(story, log)


def test_a_wrong_port_is_told_and_nothing_was_submitted(log: Path) -> None:
    async def story() -> None:
        async with Client("http://127.0.0.1:1", log=log, policy=QUICK) as client:
            with pytest.raises(ServerUnreachable, match="nothing was submitted"):
                await client.window().submit(graph())
            assert client.tasks == []

    asyncio.run(story())
