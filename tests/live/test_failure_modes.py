"""Tests of the ways in which users lose tasks today, one by one, with real sockets and a real log.

After each story the log is replayed: it must tell what the client told (`stage.play`).
"""

import asyncio
import inspect
import re
from contextlib import suppress
from pathlib import Path

import aiohttp
import msgspec
import pytest

from comfy_fsm.errors import ServerUnreachable
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.transport.arrivals import SocketDown
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.testing import Balancer, FakeComfy
from tests.support.stage import QUICK, codes, graph, outcome, play, with_node


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


def test_f3_a_callback_that_hangs_stops_neither_our_reading_nor_anybody_elses(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        hanging, begun = asyncio.Event(), asyncio.Event()

        async def hang(update: object) -> None:
            begun.set()
            await hanging.wait()

        stuck = await client.window().submit(with_node("FakeProgress", steps=500, seconds=0), on_progress=hang)
        await begun.wait()
        other = await client.window().submit(graph(1))
        assert [await outcome(other), await outcome(stuck)] == ["completed", "completed"]
        assert len(comfy.sockets) == 2  # whoever does not read is cut off by the server
        hanging.set()

    replayed = play(story, log)
    assert all(task.run.end_received for task in replayed.tasks)


def test_f4_a_deaf_socket_is_replaced_under_a_fresh_id(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        comfy.faults.deaf = 1
        first = await window.submit(graph(seconds=0.5))
        assert await outcome(first) == "completed"
        while window.id_at(client.servers[0]) == first.window:
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


@pytest.mark.parametrize(("version", "seconds"), [("0.3.64", 0.0), ("0.3.64", 0.4), ("0.3.10", 0.4)])
def test_f6_a_prompt_of_somebody_else_is_followed_over_http_alone(log: Path, version: str, seconds: float) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window, theirs = client.window(), comfy.stranger(seconds)
        task = await window.follow(theirs)
        assert (await task).prompt_id == theirs
        assert await outcome(await window.follow("nobody's")) == "lost"

    play(story, log, version=version)


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


@pytest.mark.parametrize("knobs", [{"empty_history": 1}, {"foreign_history": 5}, {"html": {"GET /history": 5}}])
def test_f10_what_the_history_does_not_show_is_not_absent_while_the_queue_has_it(
    log: Path, knobs: dict[str, object]
) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.turn({"mute": True} | knobs)
        window = client.window()
        tasks = [await window.submit(graph(number, seconds=0.5)) for number in range(2)]
        assert [await outcome(task) for task in tasks] == ["completed", "completed"]

    assert not codes(play(story, log)) & {"lost", "wrong-server"}


async def test_f11_a_result_is_asked_of_the_server_that_ran_it(tmp_path: Path) -> None:
    async with FakeComfy() as one, FakeComfy() as two, Client([one.url, two.url], policy=QUICK) as client:
        window = client.window()
        tasks = [await window.submit(graph(number), server=server.url) for number, server in
                 enumerate([one, two, one])]  # fmt: skip
        results = [await task for task in tasks]
        assert [result.server for result in results] == [one.url, two.url, one.url]
        assert not [finding for finding in client.board.findings if finding.code == "wrong-server"]


async def test_f11_behind_a_sticky_balancer_all_is_asked_where_the_task_runs() -> None:
    async with FakeComfy() as one, FakeComfy() as two, Balancer([one.url, two.url], sticky=True) as balancer:
        for number in range(4):
            async with Client(balancer.url, policy=QUICK) as client:
                window = client.window()
                tasks = [await window.submit(graph(2 * number + more)) for more in range(2)]
                assert [await outcome(task) for task in tasks] == ["completed", "completed"]
        assert one.posts
        assert two.posts


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


@pytest.mark.parametrize(("fault", "posts"), [("drop_post", 1), ("post_500", 1), ("swallow_post", 1)])
def test_f14_an_absent_prompt_is_posted_again_if_the_policy_allows_and_its_absence_is_proved(
    log: Path, fault: str, posts: int
) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        setattr(comfy.faults, fault, 1)
        task = await client.window().submit(graph())
        assert await outcome(task) == "completed"
        assert task.prompt_id in comfy.records
        assert (sum(comfy.posts.values()), sum(comfy.runs.values())) == (posts, 1)

    play(story, log, policy=msgspec.structs.replace(QUICK, resubmits=1))


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
        async with aiohttp.ClientSession() as somebody:
            await somebody.post(f"{comfy.url}/queue", json={"delete": [second.prompt_id]})
        assert [await outcome(first), await outcome(second)] == ["completed", "cancelled"]
        assert not comfy.runs[second.prompt_id]

    play(story, log)


async def test_f17_a_wedged_server_is_told_of_and_gets_no_more_tasks_while_another_works(tmp_path: Path) -> None:
    async with FakeComfy() as wedged, FakeComfy() as sound:
        wedged.faults.dead_worker = True
        servers, policy = [wedged.url, sound.url], msgspec.structs.replace(QUICK, check_seconds=0.2)
        async with Client(servers, policy=policy) as client:
            window = client.window()
            stuck = await window.submit(graph())
            for number in range(1, 5):
                assert await outcome(await window.submit(graph(number))) == "completed"
            assert stuck.server == wedged.url
            assert stuck.state == "pending"
            while "silence" not in {finding.code for finding in client.board.findings}:
                await asyncio.sleep(0.01)
            wedged.faults.dead_worker = False
            assert await outcome(stuck) == "completed"


def test_f18_a_failure_is_a_failure_and_an_interrupt_a_cancellation(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        window = client.window()
        assert await outcome(await window.submit(with_node("FakeFail", message="no"))) == "failed"
        slow = await window.submit(graph(1, seconds=30))
        while slow.state != "in_progress":
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
        big = with_node("FakeBigFrame", bytes=3 * 1024 * 1024)
        assert await outcome(await client.window().submit(big)) == "completed"

    assert "socket-gap" not in codes(play(story, log))


@pytest.mark.parametrize(("ping", "falls"), [(0.2, False), (20.0, True)])
async def test_f21_a_proxy_that_cuts_what_is_idle_finds_nothing_idle(ping: float, falls: bool) -> None:
    async with FakeComfy() as comfy, Balancer([comfy.url], idle_seconds=0.8) as proxy:
        server, fell = Comfy(proxy.url, ping_seconds=ping), asyncio.Event()

        async def listen() -> None:
            async for heard in server.listen("me"):
                if isinstance(heard, SocketDown):
                    fell.set()

        listening = asyncio.create_task(listen())
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await fell.wait()
        assert fell.is_set() is falls
        listening.cancel()
        await asyncio.wait([listening])
        await server.close()
    assert inspect.signature(Comfy).parameters["ping_seconds"].default < 30, "proxies cut after a minute, some sooner"


def test_f22_a_run_that_is_longer_than_every_tier_is_waited_for_while_the_server_says_that_it_runs(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit(graph(seconds=1.2))
        assert await outcome(task) == "completed"

    short = msgspec.structs.replace(QUICK, check_seconds=0.15, warn_seconds=0.3, expire_seconds=0.6)
    play(story, log, policy=short)


def test_f23_a_history_is_asked_for_by_id_and_never_whole(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        comfy.faults.swallow_post = 1
        window = client.window()
        tasks = [await window.submit(graph(number)) for number in range(3)]
        assert [await outcome(task) for task in tasks] == ["completed"] * 3
        asked = {path for _, path in comfy.requests if path.startswith("/history")}
        assert asked == {f"/history/{task.prompt_id}" for task in tasks}

    play(story, log)


def test_f24_neither_an_empty_queue_nor_a_first_output_is_an_end(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        two = graph(0)
        two["3"] = {"class_type": "FakeSleep", "inputs": {"image": ["1", 0], "seconds": 0.2}}
        two["4"] = {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "late"}}
        assert len((await (await client.window().submit(two))).outputs) == 2

    play(story, log)


@pytest.mark.parametrize(("version", "pictures"), [("0.3.64", 5), ("0.3.10", 0)])
def test_f25_a_preview_is_shown_to_the_task_that_it_names_and_else_to_nobody(
    log: Path, version: str, pictures: int
) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        seen: list[list[bytes]] = [[], []]
        window = client.window()
        tasks = [
            await window.submit(
                with_node("FakeProgress", number, steps=5, seconds=0.2, preview=True),
                on_progress=lambda update, mine=mine: mine.append(update.image) if update.name == "preview" else None,
            )
            for number, mine in enumerate(seen)
        ]
        assert [await outcome(task) for task in tasks] == ["completed", "completed"]
        assert [len(mine) > 0 for mine in seen] == [pictures > 0] * 2
        assert all(len(mine) <= pictures and all(image[:2] == b"\xff\xd8" for image in mine) for mine in seen)

    play(story, log, version=version)


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
        first = await window.submit(graph(0, seconds=0.6))
        comfy.faults.hide_pending = True
        second = await window.submit(graph(1, seconds=0.2))
        await asyncio.sleep(0.1)
        comfy.faults.hide_pending = False
        assert [await outcome(first), await outcome(second)] == ["completed", "completed"]

    play(story, log, policy=msgspec.structs.replace(QUICK, check_seconds=0.05, look_seconds=0.3))


def test_f28_sockets_that_fall_as_soon_as_they_open_make_no_storm(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit(graph(seconds=1))
        cuts = 0
        while task.state != "completed":
            comfy.cut()
            cuts += 1
            await asyncio.sleep(0.01)
        handshakes = sum(path == "/ws" for _, path in comfy.requests)
        assert handshakes < cuts / 3, "it was opened again as fast as it fell"
        assert await outcome(task) == "completed"

    play(story, log)


def test_f29_a_flood_of_progress_reaches_a_slow_callback_coalesced_and_the_end_at_once(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        seen: list[float | None] = []

        async def slow(update: object) -> None:
            seen.append(getattr(update, "value", None))
            await asyncio.sleep(0.05)

        flood = with_node("FakeProgress", steps=2_000, seconds=0)
        assert await outcome(await client.window().submit(flood, on_progress=slow)) == "completed"
        assert len(seen) < 100

    play(story, log)


def test_f30_a_page_instead_of_an_answer_is_unreachable_and_never_absent(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        task = await client.window().submit(graph(seconds=0.3))
        comfy.faults.login_page = True
        await asyncio.sleep(0.8)
        assert task.state not in ("lost", "cancelled")
        comfy.faults.login_page = False
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


def test_f32_a_partial_acceptance_is_told(log: Path) -> None:
    async def story(comfy: FakeComfy, client: Client) -> None:
        half = graph() | {"9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "without an image"}}}
        result = await (await client.window().submit(half))
        assert len(result.outputs) == 1

    assert "partial-accept" in codes(play(story, log))


async def test_a_wrong_port_is_told_and_nothing_was_submitted(log: Path) -> None:
    impatient = msgspec.structs.replace(QUICK, open_seconds=0.5)
    async with Client("http://127.0.0.1:1", log=log, policy=impatient) as client:
        with pytest.raises(ServerUnreachable, match="nothing was submitted"):
            await client.window().submit(graph())
        assert client.tasks == []


def test_each_failure_mode_has_its_test() -> None:
    told = {int(found[1]) for name in globals() if (found := re.match(r"test_f(\d+)_", name))}
    assert told == set(range(1, 33))
