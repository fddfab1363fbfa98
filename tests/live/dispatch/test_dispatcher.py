"""Tests of the dispatcher with real sockets and a real log: crashes, refusals, moves and reports."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comfy_fsm import Board, Entry, State, read
from comfy_fsm.core import observations as seen
from comfy_fsm.core.wire import codec
from comfy_fsm.errors import BacklogFull, BadServerUrl, BadWorkflow, ClientClosed, ClientError, SecretInWorkflow
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.dispatch.dispatcher import Dispatcher
from comfy_fsm.log import reader
from comfy_fsm.log.log import Log
from comfy_fsm.testing import FakeComfy, picture
from replay import replay
from tests.support.stage import QUICK, graph, outcome, until

ROOT = Path(__file__).resolve().parents[3]
FAST: dict[str, Any] = {"look_seconds": 0.1, "retry_seconds": (0.05, 0.5)}
Story = Callable[[list[FakeComfy], Client, Dispatcher], Awaitable[None]]


def tell(story: Story, path: Path | None = None, *, servers: int = 2, policy: Any = QUICK, **settings: Any) -> None:
    async def told() -> None:
        fakes = [FakeComfy() for _ in range(servers)]
        for fake in fakes:
            await fake.start()
        try:
            async with (
                Client([fake.url for fake in fakes], log=path, policy=policy, secrets=["hunter2hunter2"]) as client,
                Dispatcher(client, **(FAST | settings)) as dispatcher,
            ):
                async with asyncio.timeout(60):
                    await story(fakes, client, dispatcher)
        finally:
            for fake in fakes:
                await fake.kill()

    asyncio.run(told())


def ran(fakes: list[FakeComfy]) -> Counter[str]:
    return sum((fake.runs for fake in fakes), Counter[str]())


def commands(path: Path, name: str) -> list[seen.Command]:
    found = [read(line) for _, line, _ in reader.read(path) if line is not None]
    return [o for o in found if isinstance(o, seen.Command) and o.data.name == name]


# what survives


async def test_a_dispatching_process_that_is_killed_again_and_again_runs_each_workflow_once(tmp_path: Path) -> None:
    jobs, kills, log = 60, 6, tmp_path / "tasks.log"
    fakes = [FakeComfy(step_seconds=0.005 * (number + 1)) for number in range(3)]
    for fake in fakes:
        await fake.start()
    command = (
        sys.executable,
        "-m",
        "tests.support.dispatching",
        str(log),
        str(jobs),
        *(fake.url for fake in fakes),
    )
    try:
        for _ in range(kills):
            worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            assert worker.stdout is not None
            await worker.stdout.readline()
            before = ran(fakes).total()
            async with asyncio.timeout(60):
                await until(lambda before=before: ran(fakes).total() >= min(before + 5, jobs))
            worker.kill()
            await worker.wait()
        last = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(90):
            assert await last.wait() == 0
    finally:
        for fake in fakes:
            await fake.kill()
    fakes = fakes
    prompts = [record["prompt"] for fake in fakes for record in fake.records.values()]
    colors = Counter(str(prompt[2]["1"]["inputs"]["color"]) for prompt in prompts)
    assert colors == Counter({str(number): 1 for number in range(jobs)}), "each workflow in one history, once"
    assert max(ran(fakes).values()) == 1
    assert all(count == 1 for fake in fakes for count in fake.posts.values())
    replayed = replay(log)
    assert not [finding for finding in replayed.findings if finding.code in ("double-delivery", "resubmitted")]
    assert in_turn(log)


IN_FLIGHT = 6  # what three servers of two places each may have taken, and not yet written down


def in_turn(log: Path) -> bool:
    """Of what was posted once all was enqueued, nothing passed a job of a higher priority that was not in flight."""
    board, passed, posted = Board(), [0], 0
    last = max(position for position, line, _ in reader.read(log) if b'"enqueue"' in (line or b""))
    for position, line, _ in reader.read(log):
        o = read(line or b"")
        if isinstance(o, seen.Request) and (o.data.method, o.data.path) == ("POST", "/prompt") and position > last:
            waiting, posted = board.backlog.waiting, posted + 1
            job = waiting.get(json.loads(bytes(o.data.body))["prompt_id"])
            if job is not None and posted > IN_FLIGHT:
                passed.append(sum(other.priority > job.priority for other in waiting.values()))
        board.fold(Entry(position, o))
    return max(passed) <= IN_FLIGHT and len(passed) > IN_FLIGHT


def test_what_waits_waits_again_in_the_same_order_and_is_posted_as_it_was_written(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"

    async def first(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        for fake in fakes:
            await dispatcher.drain(fake.url)
        for number in range(9):
            await dispatcher.enqueue(picture(number), priority=number % 3)
        assert len(dispatcher.waiting) == 9
        assert all(task.waits and task.state is State.SUBMITTING for task in dispatcher.waiting)

    async def second(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        tasks = dispatcher.waiting
        assert len(tasks) == 9
        assert [await outcome(task) for task in tasks] == ["completed"] * 9
        order = [record["prompt"][2]["1"]["inputs"]["color"] for record in fakes[0].records.values()]
        assert order == [2, 5, 8, 1, 4, 7, 0, 3, 6]

    tell(first, log)
    tell(second, log, servers=1, capacity=1)


def test_a_replay_of_the_log_folds_to_the_same_backlog(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"

    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        for fake in fakes:
            await dispatcher.drain(fake.url)
        tasks = [await dispatcher.enqueue(picture(number), priority=number) for number in range(3)]
        assert await tasks[1].cancel()
        assert await outcome(tasks[1]) == "cancelled"
        live.append((dict(client.board.backlog.waiting), [*client.board.backlog.drained]))

    live: list[Any] = []
    tell(story, log)
    board = Board()
    for position, line, _ in reader.read(log):
        board.fold(Entry(position, read(line or b"")))
    assert (board.backlog.waiting, [*board.backlog.drained]) == live[0]


# what is refused


def test_what_may_not_be_written_down_is_not_enqueued(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"

    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        for node in ({"class_type": "hunter2hunter2"}, {"class_type": "X", "_meta": {"title": "hunter2hunter2"}}):
            with pytest.raises(SecretInWorkflow, match="was not enqueued"):
                await dispatcher.enqueue(picture() | {"9": node})
        for odd in ({}, {"nodes": []}, picture() | {"9": {"inputs": {}}}):
            with pytest.raises(BadWorkflow):
                await dispatcher.enqueue(odd)
        for priority in (float("nan"), float("inf"), 1e7):
            with pytest.raises(ClientError, match="priority"):
                await dispatcher.enqueue(picture(), priority=priority)
        for act in (dispatcher.drain, dispatcher.undrain):
            with pytest.raises(BadServerUrl):
                await act("http://elsewhere:1")
        with pytest.raises(ClientError, match="already"):
            async with Dispatcher(client):
                pass
        assert not client.tasks
        assert await outcome(await dispatcher.enqueue(picture())) == "completed"

    tell(story, log)
    assert not any(b"hunter2" in (line or b"") or b"password1" in (line or b"") for _, line, _ in reader.read(log))
    assert len(commands(log, "enqueue")) == 1


def test_more_than_may_wait_is_refused_and_what_waits_is_told_when_the_dispatcher_closes() -> None:
    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        await dispatcher.drain(fakes[0].url)
        first = await dispatcher.enqueue(picture())
        with pytest.raises(BacklogFull):
            await dispatcher.enqueue(picture())
        await dispatcher.close()
        with pytest.raises(ClientClosed, match="waits in the log"):
            await first
        with pytest.raises(ClientClosed):
            await dispatcher.enqueue(picture())

    tell(story, servers=1, policy=msgspec.structs.replace(QUICK, jobs=1))


def test_extra_data_goes_with_the_post_and_never_into_the_log(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"

    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        task = await dispatcher.enqueue(picture())
        assert await outcome(task) == "completed"
        assert "api_key_comfy_org" not in fakes[0].records[task.prompt_id]["prompt"][3]
        assert fakes[0].records[task.prompt_id]["prompt"][3]["tenant"] == "a blue one"

    tell(story, log, servers=1, extra_data={"api_key_comfy_org": "sk-123456789", "tenant": "a blue one"})
    assert not any(
        b"sk-123456789" in (line or b"") or b"a blue one" in (line or b"") for _, line, _ in reader.read(log)
    )


# what is moved, and what is not


def test_a_drained_server_gives_back_what_it_has_not_begun_and_finishes_the_rest(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"

    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        await dispatcher.drain(fakes[1].url)
        tasks = [await dispatcher.enqueue(graph(number, seconds=1.0)) for number in range(3)]
        await until(lambda: len(fakes[0].runs) == 1 and len(fakes[0].posts) == 3)
        await dispatcher.undrain(fakes[1].url)
        await dispatcher.drain(fakes[0].url)
        assert [await outcome(task) for task in tasks] == ["completed"] * 3
        assert (len(fakes[0].runs), len(fakes[1].runs)) == (1, 2)
        assert tasks[2].server == fakes[1].url

    tell(story, log, capacity=3)
    assert len(commands(log, "rebind")) == len(commands(log, "recall")) == 2


def test_what_a_refusing_server_never_got_is_done_by_another_and_a_bad_workflow_is_not_offered_around(
    tmp_path: Path,
) -> None:
    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        await until(lambda: set(dispatcher.standings.values()) == {"trial"})
        await fakes[0].kill()
        tasks = [await dispatcher.enqueue(picture(number)) for number in range(6)]
        assert [await outcome(task) for task in tasks] == ["completed"] * 6
        assert dispatcher.standings[fakes[0].url] == "out"
        assert not client.tasks
        bad = await dispatcher.enqueue({"1": {"class_type": "NoSuchNode", "inputs": {}}})
        assert await outcome(bad) == "rejected"
        assert len(fakes[1].runs) == 6
        await fakes[0].start()
        await until(lambda: dispatcher.standings[fakes[0].url] != "out")

    tell(story, tmp_path / "tasks.log", policy=msgspec.structs.replace(QUICK, open_seconds=1))


def test_a_task_at_a_dead_server_is_reported_and_never_moved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = tmp_path / "tasks.log"

    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        await dispatcher.drain(fakes[1].url)
        task = await dispatcher.enqueue(graph(seconds=30.0))
        await until(lambda: len(fakes[0].runs) == 1)
        await dispatcher.undrain(fakes[1].url)
        with caplog.at_level(logging.WARNING, "comfy_fsm"):
            await fakes[0].kill()
            await until(lambda: bool(dispatcher.stuck))
        assert [(stuck.prompt_id, stuck.server) for stuck in dispatcher.stuck] == [(task.prompt_id, fakes[0].url)]
        assert "may have run" in caplog.text
        fakes[0].state.outlive(False)
        await fakes[0].start()
        assert await outcome(task) == "lost"
        assert not fakes[1].posts

    tell(story, log)
    assert not commands(log, "rebind")


def test_a_wedged_server_gets_no_more_and_what_it_had_not_begun_goes_elsewhere() -> None:
    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        fakes[0].faults.dead_worker = True
        tasks = [await dispatcher.enqueue(picture(number)) for number in range(12)]
        assert {await outcome(task) for task in tasks} == {"completed"}
        assert dispatcher.standings[fakes[0].url] in ("still", "trial", "up")
        assert len(fakes[1].runs) == 12
        assert not fakes[0].runs

    tell(story, still_seconds=0.5)


def test_a_post_that_was_swallowed_is_found_and_not_posted_again(tmp_path: Path) -> None:
    async def story(fakes: list[FakeComfy], client: Client, dispatcher: Dispatcher) -> None:
        assert await outcome(await dispatcher.enqueue(picture(99))) == "completed"  # who is known can be a witness
        for fake in fakes:
            fake.faults.swallow_post, fake.faults.drop_post = 1, 1
        tasks = [await dispatcher.enqueue(picture(number)) for number in range(6)]
        assert [await outcome(task) for task in tasks] == ["completed"] * 6
        assert ran(fakes).total() == 7

    tell(story, tmp_path / "tasks.log", policy=msgspec.structs.replace(QUICK, resubmits=1))


@pytest.mark.parametrize("version", ["0.3.10", "0.3.64"])
async def test_servers_that_give_ids_of_their_own_are_dispatched_to_as_well(version: str) -> None:
    async with (
        FakeComfy(version=version) as fake,
        Client(fake.url, policy=QUICK) as client,
        Dispatcher(client, capacity=1, **FAST) as dispatcher,
    ):
        tasks = [await dispatcher.enqueue(picture(number)) for number in range(4)]
        async with asyncio.timeout(30):
            assert [await outcome(task) for task in tasks] == ["completed"] * 4
        assert fake.runs.keys() == {task.prompt_id for task in tasks}


# the command


async def command(*words: object, cwd: Path) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "comfy_fsm", *map(str, words), cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


async def test_run_with_a_capacity_places_by_and_by_and_resume_places_what_waits(tmp_path: Path) -> None:
    names = [f"{number}.json" for number in range(4)]
    for number, name in enumerate(names):
        (tmp_path / name).write_text(json.dumps(picture(number)))
    async with FakeComfy() as fake:
        status, _, complained = await command("run", *names, "--server", fake.url, "--capacity", 1, cwd=tmp_path)
        assert (status, complained) == (0, "")
        assert len(fake.runs) == 4
        async with Client(fake.url, log=tmp_path / "comfy-fsm.log") as client, Dispatcher(client) as dispatcher:
            await dispatcher.drain(fake.url)
            await dispatcher.enqueue(picture(9))
            await client.close()  # what follows is an operator's word, written by nobody who could place it
        async with await Log.open(tmp_path / "comfy-fsm.log") as log:
            undrain = seen.Command(at=time.time(), server=fake.url, data=seen.CommandData("undrain"))
            await log.append(codec.encode(undrain))
        assert len(fake.runs) == 4
        status, _, complained = await command("resume", "--server", fake.url, cwd=tmp_path)
        assert (status, complained) == (0, "")
        assert len(fake.runs) == 5
    assert len(list(tmp_path.glob("picture_*.png"))) == 5


@pytest.mark.parametrize("capacity", ["0", "-1", "many"])
async def test_a_capacity_is_a_number_above_zero(tmp_path: Path, capacity: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(picture()))
    words = ("run", "a.json", "--server", "http://127.0.0.1:9", f"--capacity={capacity}")
    status, said, complained = await command(*words, cwd=tmp_path)
    assert (status, said, complained.count("\n")) == (64, "", 1)
    assert not (tmp_path / "comfy-fsm.log").exists()
