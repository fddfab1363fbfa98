"""Tests of recovery with fakes on real sockets: what servers prove is adopted, anything else is left alone.

Each story is rehearsed first: the rehearsal must write nothing, and say what the act then does. Every log replays to
what was decided live.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfy_fsm.core.machine import State
from comfy_fsm.core.policy import Policy
from comfy_fsm.core.recovery.probes import Has, ProbeResult
from comfy_fsm.core.recovery.verdicts import CONSISTENT, FETCHED, RECOVERED, Recovered, Recovery, compare
from comfy_fsm.errors import ClientClosed, UnknownTask
from comfy_fsm.live.blocking.client import BlockingClient
from comfy_fsm.live.client.client import Client
from comfy_fsm.live.client.task_handle import TaskHandle
from comfy_fsm.live.recovery import session
from comfy_fsm.live.transport.comfy import Comfy
from comfy_fsm.log.reader import read
from comfy_fsm.testing import Balancer, FakeComfy
from replay import Replay, replay
from tests.support.lines import START, fill, line
from tests.support.stage import QUICK, bytes_of, codes, graph, outcome, record, until

NOWHERE = "http://127.0.0.1:9"  # discard: nobody has listened there for decades
VERSIONS = ("0.3.10", "0.3.64", "0.33.0")
Harm = Callable[[FakeComfy, FakeComfy, str], object]
ENDS = {"execution_success", "executing", "executed", "progress_state", "status"}


async def lose(comfy: FakeComfy, client: Client) -> TaskHandle:
    """A task that its server ran, and then denied for long enough; now it would say the truth again."""
    faults = comfy.faults
    faults.drop_types, faults.empty_history = ENDS, 1_000
    task = await client.window().submit(graph(), server=comfy.url)
    faults.html = {"GET /jobs": 1_000}
    assert await outcome(task) == "lost"
    working = client.runner.pollers[comfy.url]._running  # a question on its way would be told the truth, too late
    await until(lambda: not working)
    faults.drop_types, faults.empty_history, faults.html = set(), 0, {}
    return task


class Scene(NamedTuple):
    one: FakeComfy
    two: FakeComfy
    client: Client
    log: Path

    async def both(self, prompt_id: str | None = None) -> tuple[Recovered, ...]:
        """The rehearsal, which changes nothing, and then the act, which does what the rehearsal said."""
        before = self.states()
        said = await self.client.recover(prompt_id)
        assert not said.acted
        assert self.states() == before
        done = await self.client.recover(prompt_id, act=True)
        assert done.acted
        assert [told(task) for task in said.tasks] == [told(task) for task in done.tasks]
        return done.tasks

    def states(self) -> dict[str | None, tuple[str, str]]:
        return {task.prompt_id: (str(task.state), task.server) for task in self.client.board.tasks}


def told(task: Recovered) -> tuple[object, ...]:
    return task.prompt_id, task.name, task.before, task.state, task.server, task.outputs, set(task.showings)


def play(
    story: Callable[[Scene], Awaitable[None]], folder: Path, version: str = "0.3.64", policy: Policy = QUICK
) -> Replay:
    """Two servers and a client of both; afterwards its log says what was decided, and nothing was asked wrongly."""
    log = folder / "tasks.log"

    async def live() -> dict[str | None, tuple[str, str]]:
        async with (
            FakeComfy(version) as one,
            FakeComfy(version) as two,
            Client([one.url, two.url], log=log, policy=policy) as client,
        ):
            scene = Scene(one, two, client, log)
            async with asyncio.timeout(60):
                await story(scene)
            assert max([*one.posts.values(), *two.posts.values()], default=1) == 1
            return scene.states()

    states = asyncio.run(live())
    replayed = replay(log, policy=policy)
    assert {task.prompt_id: (str(task.state), task.server) for task in replayed.tasks} == states
    assert not codes(replayed) & {"wrong-server", "double-delivery", "resubmitted", "contradiction"}
    return replayed


# what was lost


@pytest.mark.parametrize("version", VERSIONS)
def test_what_its_own_server_knows_after_all_is_settled_and_delivered_once_more(tmp_path: Path, version: str) -> None:
    async def story(scene: Scene) -> None:
        task = await lose(scene.one, scene.client)
        (found,) = await scene.both(task.prompt_id)
        assert (found.name, found.state, found.case.well) == ("settled", State.COMPLETED, True)
        assert [output.filename for output in found.outputs] == ["picture_00001_.png"]
        await until(lambda: not scene.client.tasks)

    replayed = play(story, tmp_path, version)
    assert replayed.verdict == "fail"  # it was lost once, and that is told
    delivered = [line for line in log_lines(tmp_path) if b'"delivered"' in line]
    assert len(delivered) == 2


def log_lines(folder: Path) -> list[bytes]:
    return [row.line for row in read(folder / "tasks.log") if row.line is not None]


def test_a_task_that_is_reopened_is_in_the_hand_of_the_application_again(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        task = await lose(scene.one, scene.client)
        scene.one.faults.delay = {"GET /history": 0.3}
        recovering = asyncio.create_task(scene.client.recover(task.prompt_id, act=True))
        await until(lambda: scene.client.tasks)
        (again,) = scene.client.tasks
        assert (await again).state == "completed"
        assert (await again.outputs[0].read()).startswith(b"\x89PNG")
        await recovering

    play(story, tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_another_server_recorded_is_bound_there_when_its_own_denies_it(tmp_path: Path, version: str) -> None:
    async def story(scene: Scene) -> None:
        task = await lose(scene.one, scene.client)
        scene.two.records[task.prompt_id] = record(task.prompt_id)
        scene.one.records.clear()
        (found,) = await scene.both()
        assert (found.name, found.state, found.bound, found.server) == (
            "adopted", State.COMPLETED, scene.one.url, scene.two.url,
        )  # fmt: skip
        assert (await scene.client.consistency(task.prompt_id)).name == "bound"
        assert not (await scene.client.recover(act=True)).tasks  # nothing needs it any more

    replayed = play(story, tmp_path, version)
    assert [task.confidence for task in replayed.tasks] == ["verified"]


def test_what_runs_at_another_server_is_followed_there_to_its_end(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        task = await lose(scene.one, scene.client)
        scene.one.records.clear()
        submitted = {"prompt": graph(5, seconds=3.0), "prompt_id": task.prompt_id}
        scene.two.execution.submit(submitted)  # as a balancer would have sent it there
        await until(lambda: scene.two.state.running)
        (found,) = (await scene.client.recover(act=True)).tasks
        assert (found.name, found.state, found.server) == ("moved", State.IN_PROGRESS, scene.two.url)
        assert not found.case.well
        (again,) = scene.client.tasks
        result = await again
        assert (result.state, result.server) == ("completed", scene.two.url)
        assert (await again.outputs[0].read()).startswith(b"\x89PNG")  # from the server that made it

    play(story, tmp_path)


async def test_what_a_balancer_gave_to_another_server_is_found_at_that_one(tmp_path: Path) -> None:
    """Its address is one, and behind it are two: the prompt runs at one, the other is asked (P33)."""
    log = tmp_path / "tasks.log"
    async with (
        FakeComfy() as one,
        FakeComfy() as two,
        Balancer([two.url]) as balancer,
        Client([balancer.url, one.url, two.url], log=log, policy=QUICK) as client,
    ):
        two.faults.drop_types = ENDS
        task = await client.window().submit(graph(), server=balancer.url)
        balancer.backends[:] = [one.url]
        await until(lambda: task.state != "pending" and task.prompt_id in two.records)
        assert await outcome(task) == "lost"
        (found,) = (await client.recover(act=True)).tasks
        assert found.state is State.COMPLETED
        prompt_id, server, two = task.prompt_id, found.server, two.url
    assert server == two
    replayed = replay(log, policy=QUICK)
    assert [(task.prompt_id, task.server, task.state) for task in replayed.tasks] == [(prompt_id, two, "completed")]
    assert "wrong-server" not in codes(replayed)


HARMS: dict[str, tuple[Harm, str]] = {
    "no server has it": (lambda one, two, _: None, "lost"),
    "the other has something else": (lambda one, two, _: two.stranger(), "lost"),
    "the other answers about another prompt": (lambda one, two, _: foreign(two), "denied"),
    "the other names another prompt": (lambda one, two, i: two.records.update({i: record("somebody's")}), "denied"),
    "the other has a record without a status": (
        lambda one, two, i: two.records.update({i: record(i, status=None)}), "doubtful"),
    "the other has a page of HTML": (lambda one, two, _: two.faults.html.update({"*": 1_000}), "denied"),
    "the other wants a token": (lambda one, two, _: setattr(two.faults, "token", "sesame"), "denied"),
    "its own says nothing but a page": (lambda one, two, i: nothing_but_a_page(one, two, i), "unreachable"),
    "its own has a login page": (lambda one, two, i: login_page(one, two, i), "unreachable"),
    "its own answers about another prompt": (lambda one, two, i: foreign(one, two, i), "unreachable"),
}  # fmt: skip


def foreign(mine: FakeComfy, two: FakeComfy | None = None, prompt_id: str = "") -> None:
    mine.faults.foreign_history = 1_000
    if two is not None:
        two.records[prompt_id] = record(prompt_id)


def nothing_but_a_page(one: FakeComfy, two: FakeComfy, prompt_id: str) -> None:
    one.faults.html = {"*": 1_000}
    two.records[prompt_id] = record(prompt_id)


def login_page(one: FakeComfy, two: FakeComfy, prompt_id: str) -> None:
    one.faults.login_page = True
    two.records[prompt_id] = record(prompt_id)


@pytest.mark.parametrize(("harm", "name"), HARMS.values(), ids=HARMS)
def test_what_is_not_proved_stays_where_it_is(tmp_path: Path, harm: Harm, name: str) -> None:
    """Silence of its own server is no denial, and what others have that is not this prompt is no proof (P33)."""

    async def story(scene: Scene) -> None:
        task = await lose(scene.one, scene.client)
        scene.one.records.clear()
        harm(scene.one, scene.two, task.prompt_id)
        (found,) = (await scene.client.recover(task.prompt_id)).tasks
        assert (found.name, found.server) == (name, scene.one.url)
        (done,) = (await scene.client.recover(task.prompt_id, act=True)).tasks
        assert told(done) == told(found)
        assert RECOVERED[name].well == (name == "lost")
        scene.one.faults.turn({"html": {}, "login_page": False, "foreign_history": 0})

    play(story, tmp_path)


async def test_of_two_servers_that_both_have_it_neither_is_believed(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"
    async with (
        FakeComfy() as one,
        FakeComfy() as two,
        FakeComfy() as three,
        Client([one.url, two.url, three.url], log=log, policy=QUICK) as client,
    ):
        task = await lose(one, client)
        one.records.clear()
        for other in (two, three):
            other.records[task.prompt_id] = record(task.prompt_id)
        (found,) = (await client.recover(act=True)).tasks
        assert (found.name, found.state, found.server) == ("twofold", State.LOST, one.url)
    assert "wrong-server" not in codes(replay(log, policy=QUICK))


def test_what_another_task_of_the_log_is_called_is_not_adopted(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        task = await lose(scene.one, scene.client)
        scene.one.records.clear()
        scene.two.records[task.prompt_id] = record(task.prompt_id)
        other = await scene.client.window().follow(task.prompt_id, server=scene.two.url)
        assert (await other).state == "completed"
        found = {found.bound: found for found in (await scene.client.recover(task.prompt_id, act=True)).tasks}
        assert found[scene.one.url].name == "taken"
        assert found[scene.two.url].name == "final"

    play(story, tmp_path)


# what else needs it


def test_what_expired_is_asked_for_and_settled(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        scene.one.faults.mute = True
        scene.one.faults.html = {"GET /queue": 1_000, "GET /history": 1_000}
        task = await scene.client.window().submit(graph(), server=scene.one.url)
        assert await outcome(task) == "expired"
        scene.one.faults.html, scene.one.faults.mute = {}, False
        (found,) = await scene.both()
        assert (found.name, found.before, found.state) == ("settled", State.EXPIRED, State.COMPLETED)

    play(story, tmp_path, policy=Policy(
        check_seconds=0.1, warn_seconds=0.2, expire_seconds=0.4, look_seconds=0.05, look_limit_seconds=0.1,
        settle_seconds=0.1, reopen_seconds=0.02, prove_seconds=60))  # fmt: skip


def test_a_task_that_runs_is_not_touched_and_not_called_stuck(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        task = await scene.client.window().submit(graph(seconds=1.0), server=scene.one.url)
        await until(lambda: task.state == "in_progress")
        assert not (await scene.client.recover()).tasks
        (found,) = (await scene.client.recover(task.prompt_id, act=True)).tasks
        assert (found.name, found.case.well, found.state) == ("open", False, State.IN_PROGRESS)
        assert (await task).state == "completed"

    assert play(story, tmp_path).verdict == "pass"


def test_what_is_decided_is_left_alone_and_nobody_is_asked(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        task = await scene.client.window().submit(graph(), server=scene.one.url)
        await task
        await until(lambda: b'"delivered"' in log_lines(tmp_path)[-1])
        asked, rows = len(scene.one.requests), len(log_lines(tmp_path))
        (found,) = (await scene.client.recover(task.prompt_id[:8], act=True)).tasks
        assert (found.name, found.state, found.showings) == ("final", State.COMPLETED, ())
        assert (len(scene.one.requests), len(log_lines(tmp_path))) == (asked, rows)

    assert play(story, tmp_path).verdict == "pass"


def test_every_act_and_every_question_is_in_the_log(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        task = await lose(scene.one, scene.client)
        scene.one.records.clear()
        scene.two.records[task.prompt_id] = record(task.prompt_id)
        await scene.client.recover(act=True)
        commands = [line for line in log_lines(tmp_path) if b'"kind":"command"' in line]
        for name in ("recover", "seek", "adopt"):
            assert sum(f'"name":"{name}"'.encode() in line for line in commands) == 1
        for server in (scene.one, scene.two):
            await until(lambda server=server: questions(tmp_path, server.url) == answered(server))
            assert answered(server)["GET", f"/history/{task.prompt_id}"] >= 1
            assert answered(server)["GET", "/queue"] >= 1

    def answered(server: FakeComfy) -> Counter[tuple[str, str]]:
        return Counter(each for each in server.requests if each[1].startswith(("/queue", "/history")))

    play(story, tmp_path)


def questions(folder: Path, url: str) -> Counter[tuple[str, str]]:
    """What was asked of this server, by the log: each question is written down before it is asked."""
    asked = [json.loads(line) for line in log_lines(folder) if b'"http.request"' in line]
    told = [(line["data"]["method"], line["data"]["path"]) for line in asked if line["server"] == url]
    return Counter(each for each in told if each[1].startswith(("/queue", "/history")))


# consistency and history


def test_consistency_tells_who_has_it_and_who_should(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        one, two, client = scene.one, scene.two, scene.client
        task = await client.window().submit(graph(seconds=0.6), server=one.url)
        rows = len(log_lines(tmp_path))

        async def name() -> str:
            found = await client.consistency(task.prompt_id)
            assert (found.server, found.reason) == (one.url, "it accepted the POST")
            assert b'"http.response"' in log_lines(tmp_path)[found.position - 1]
            assert {showing.server for showing in found.showings} == {one.url, two.url}
            return found.name

        assert await name() == "bound"
        two.records[task.prompt_id] = record(task.prompt_id)
        assert await name() == "twofold"
        two.records.clear()
        await task
        assert await name() == "bound"
        one.records[task.prompt_id] = record(task.prompt_id, "error")
        assert await name() == "contradicted"
        one.records.clear()
        assert await name() == "forgotten"
        two.records[task.prompt_id] = record(task.prompt_id)
        assert await name() == "strayed"
        one.faults.login_page = True
        assert await name() == "unreachable"
        one.faults.login_page = False
        assert not any(b'"name":"seek"' in line for line in log_lines(tmp_path)[rows:])

    assert play(story, tmp_path).verdict == "pass"


@given(
    st.sampled_from(State),
    st.lists(st.sampled_from(get_args(Has)), min_size=1, max_size=3),
    st.sampled_from([*State]),
)  # fmt: skip
@settings(max_examples=500)
def test_every_state_and_every_answer_has_its_case_and_only_a_held_task_is_consistently_held(
    state: State, has: list[Any], outcome: State
) -> None:
    showings = [ProbeResult(f"server {n}", h, outcome=outcome if h == "recorded" else None) for n, h in enumerate(has)]
    case = CONSISTENT[compare(state, "server 0", showings)]
    assert case.so
    held = [showing for showing in showings if showing.held]
    if len(held) > 1 or (held and not showings[0].held) or showings[0].says_nothing:
        assert not case.well
    assert CONSISTENT[compare(state, "nobody named", showings)] is CONSISTENT["unnamed"]


def test_every_case_that_is_not_well_says_what_to_do() -> None:
    for name, case in (RECOVERED | CONSISTENT | FETCHED).items():
        assert case.well or case.next, name


RECORDS: dict[str, tuple[Callable[[str], object], str, str]] = {
    "valid": (record, "complete", ""),
    "failed": (lambda i: record(i, "error"), "complete", ""),
    "without outputs": (lambda i: record(i, outputs={}), "incomplete", "lacks the outputs of node 2"),
    "without a status": (lambda i: record(i, status=None), "incomplete", "no status"),
    "an odd status": (lambda i: record(i, status={"status_str": "odd", "messages": []}), "incomplete", "does not say"),
    "of another": (lambda i: record("another"), "astray", ""),
    "no record": (lambda i: 7, "unreachable", ""),
}


@pytest.mark.parametrize(("make", "name", "missing"), RECORDS.values(), ids=RECORDS)
def test_a_record_is_validated_and_what_it_lacks_is_named(
    tmp_path: Path, make: Callable[[str], Any], name: str, missing: str
) -> None:
    async def story(scene: Scene) -> None:
        task = await scene.client.window().submit(graph(), server=scene.one.url)
        await task  # which told an output of node 2
        scene.one.records[task.prompt_id] = make(task.prompt_id)
        found = await scene.client.history(task.prompt_id, attempts=2)
        assert (found.name, found.attempts) == (name, 1 if name == "complete" else 2)
        assert missing in " ".join(found.showing.missing)
        assert found.case.well == (name == "complete")

    assert play(story, tmp_path).verdict == "pass"


def test_a_stale_status_is_told_and_the_messages_are_believed(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        task = await scene.client.window().submit(graph(), server=scene.one.url)
        await task
        stale = record(task.prompt_id, "error")
        stale["status"]["status_str"] = "success"
        scene.one.records[task.prompt_id] = stale
        showing = (await scene.client.history(task.prompt_id)).showing
        assert (showing.outcome, showing.stale) == (State.FAILED, "status_str says success, the messages say failed")

    play(story, tmp_path)


def test_a_history_is_fetched_again_with_backoff_until_it_is_there(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        task = await scene.client.window().submit(graph(), server=scene.one.url)
        await task
        scene.one.faults.html, scene.one.faults.empty_history = {"GET /history": 1}, 1
        found = await scene.client.history(task.prompt_id, attempts=5)
        assert (found.name, found.attempts) == ("complete", 3)
        assert found.showing.outputs == task.result().outputs

    assert play(story, tmp_path).verdict == "pass"


def test_a_prompt_that_the_log_does_not_know_is_fetched_from_whoever_has_it(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        prompt_id = scene.two.stranger()
        found = await scene.client.history(prompt_id, attempts=50)
        assert (found.name, found.showing.server) == ("complete", scene.two.url)
        assert found.servers == (scene.one.url, scene.two.url)

    assert play(story, tmp_path).verdict == "pass"


# who may, and who may not


def test_an_id_that_is_unknown_or_not_enough_is_refused(tmp_path: Path) -> None:
    async def story(scene: Scene) -> None:
        window = scene.client.window()
        tasks = [await window.submit(graph(seed), server=scene.one.url) for seed in range(20)]  # two begin alike
        for task in tasks:
            await task
        for wrong in ("", "zz", "\x1b[31m", tasks[0].prompt_id + "0"):
            with pytest.raises(UnknownTask):
                await scene.client.recover(wrong)
            with pytest.raises(UnknownTask):
                await scene.client.consistency(wrong)
        first = [task.prompt_id[0] for task in tasks]
        twice = next(letter for letter in first if first.count(letter) > 1)
        for ask in (scene.client.recover, scene.client.consistency, scene.client.history):
            with pytest.raises(UnknownTask, match="begin with"):
                await ask(twice)

    play(story, tmp_path)


async def test_a_closed_client_recovers_nothing(tmp_path: Path) -> None:
    async with FakeComfy() as comfy:
        async with Client(comfy.url, log=tmp_path / "tasks.log", policy=QUICK) as client:
            await lose(comfy, client)
        for act in (False, True):
            with pytest.raises(ClientClosed):
                await client.recover(act=act)


async def test_the_same_without_a_loop(tmp_path: Path) -> None:
    async def lost(comfy: FakeComfy) -> str:
        async with Client(comfy.url, log=tmp_path / "tasks.log", policy=QUICK) as client:
            return (await lose(comfy, client)).prompt_id

    async with FakeComfy() as comfy:
        prompt_id = await lost(comfy)

        def blocking() -> tuple[Recovery, str, str]:
            with BlockingClient(comfy.url, log=tmp_path / "tasks.log", policy=QUICK) as client:
                consistent = client.consistency(prompt_id).name
                return client.recover(act=True), consistent, client.history(prompt_id).name

        done, consistent, fetched = await asyncio.to_thread(blocking)
    assert ([task.name for task in done.tasks], consistent, fetched) == (["settled"], "found", "complete")


# without a client


async def test_an_act_without_a_client_delivers_nothing_and_the_next_client_gets_it_once(tmp_path: Path) -> None:
    log = tmp_path / "tasks.log"
    async with FakeComfy() as comfy:
        async with Client(comfy.url, log=log, policy=QUICK) as client:
            prompt_id = (await lose(comfy, client)).prompt_id
        before = bytes_of(log)
        async with session.on_log(str(log), [Comfy(comfy.url)], act=False, policy=QUICK) as recoverer:
            said = await recoverer.recover(act=False, takes_over=True)
        assert bytes_of(log) == before
        async with session.on_log(str(log), [Comfy(comfy.url)], act=True, policy=QUICK) as recoverer:
            done = await recoverer.recover(act=True, takes_over=True)
        assert [told(task) for task in done.tasks] == [told(task) for task in said.tasks]
        async with Client(comfy.url, log=log, policy=QUICK) as client:
            (task,) = client.tasks
            assert task.prompt_id == prompt_id
            assert (await task).state == "completed"
        async with Client(comfy.url, log=log, policy=QUICK) as client:
            assert client.tasks == []
    assert "double-delivery" not in codes(replay(log, policy=QUICK))


async def test_many_tasks_share_one_queue(tmp_path: Path) -> None:
    log, many = tmp_path / "tasks.log", 40
    async with FakeComfy() as comfy:
        async with Client(comfy.url, log=log, policy=QUICK) as client:
            window = client.window()
            comfy.faults.dead_worker = True
            tasks = [await window.submit(graph(seed), server=comfy.url) for seed in range(many)]
            await comfy.restart()
            assert {await outcome(task) for task in tasks} == {"lost"}
        before = comfy.requests.count(("GET", "/queue"))
        async with session.on_log(str(log), [Comfy(comfy.url)], act=True, policy=QUICK) as recoverer:
            done = await recoverer.recover(act=True, takes_over=True)
        done, queues = done, comfy.requests.count(("GET", "/queue")) - before
    assert [task.name for task in done.tasks] == ["lost"] * many
    assert queues <= 8  # a round asks it once for all of them


EACH_PROOF = {"counts agree": (True, 2, State.LOST), "nothing agrees": (False, 4, State.CANCELLED)}


@pytest.mark.parametrize(("shown", "most", "state"), EACH_PROOF.values(), ids=EACH_PROOF)
async def test_its_server_is_asked_until_an_absence_is_proved_and_no_longer(
    tmp_path: Path, shown: bool, most: int, state: State
) -> None:
    """The counts of a server that showed the task before agree with an absence; then it is proved in a fifth of the
    time. Each wait is at least twice as long as that."""
    policy = {"absence_seconds": 0.05, "look_seconds": 0.1, "settle_seconds": 0.01}
    post = {"method": "POST", "path": "/prompt", "body": {"prompt": {}, "prompt_id": "p", "client_id": "w"}}
    look = {"method": "GET", "path": "/queue"}
    log = tmp_path / "tasks.log"
    async with FakeComfy() as comfy:
        lines = [line("trace", {"version": 1, "policy": policy})]
        for request, answer in [(post, {"prompt_id": "p"}), (look, {"running": ["p"], "pending": []})][: 1 + shown]:
            at = START + len(lines)
            lines.append(line("http.request", {"id": str(at)} | request, at, server=comfy.url))
            lines.append(line("http.response", {"id": str(at), "status": 200, "body": answer}, at, server=comfy.url))
        fill(log, *lines)
        async with session.on_log(str(log), [Comfy(comfy.url)], act=True) as recoverer:
            (found,) = (await recoverer.recover("p", act=True)).tasks
        assert found.state is state
        assert comfy.requests.count(("GET", "/queue")) <= most
