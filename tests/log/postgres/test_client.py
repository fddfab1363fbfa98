"""Tests of a client whose log is in a database, and of a follower of all logs, while the database has trouble."""

import asyncio
import json
import time
from collections.abc import Iterator

import pytest

from comfy_fsm import Client
from comfy_fsm.errors import LogTakenOver
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.farm import Farm
from comfy_fsm.log.postgres.log import PostgresLog
from comfy_fsm.log.postgres.writer import Writer
from comfy_fsm.testing import FakeComfy, picture
from comfy_fsm.watch.follower import Follower
from tests.support import postgres

postgres.must_be_had()

GUARD = 90.0


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    """A server that may be killed."""
    made = postgres.Postgres()
    try:
        made.fresh()
        yield made
    finally:
        made.close()


def test_a_client_outlives_its_database_and_submits_nothing_twice(server: postgres.Postgres) -> None:
    async def story() -> None:
        async with FakeComfy(step_seconds=0.05) as comfy:
            async with Client(comfy.url, log=server.address("outlives")) as client:
                tasks = [await client.window().submit(picture(number)) for number in range(3)]
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(server.start)
                results = await asyncio.wait_for(asyncio.gather(*tasks), GUARD)
                assert [str(result.state) for result in results] == ["completed"] * 3
            async with Client(comfy.url, log=server.address("outlives")) as again:
                assert again.tasks == []
            assert sorted(comfy.runs.values()) == [1, 1, 1]

    asyncio.run(story())


def test_a_client_whose_log_was_taken_over_ends_its_tasks_with_that_error(server: postgres.Postgres) -> None:
    async def story() -> None:
        address = server.address("taken")
        async with FakeComfy(step_seconds=0.2) as comfy, Client(comfy.url, log=address) as old:
            task = await old.window().submit(picture())
            server.sql(f"SELECT pg_terminate_backend({old.runner.log._database._pid})")
            async with Client(comfy.url, log=address) as new:
                taken_up = new.tasks  # before they end
                with pytest.raises(LogTakenOver):
                    await asyncio.wait_for(task, GUARD)
                (result,) = await asyncio.wait_for(asyncio.gather(*taken_up), GUARD)
                assert str(result.state) == "completed"
            assert list(comfy.runs.values()) == [1]

    asyncio.run(story())


def tick(at: float) -> bytes:
    return json.dumps({"at": at, "kind": "tick", "data": {}}).encode()


def test_a_follower_trusts_no_notification_alone(server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "tell", lambda self: setattr(self, "untold", False))

    async def story() -> list[int]:
        async with await PostgresLog.open(server.address("untold")) as log:
            await log.append(tick(1))
            farm = Farm(Address.of(server.address("untold")))
            seen = [row.position for row in await asyncio.to_thread(lambda: list(farm.read()))]
            await log.append(tick(2))
            while 2 not in seen:
                await asyncio.to_thread(farm.wait)
                seen += [row.position for row in await asyncio.to_thread(lambda: list(farm.read(1)))]
            farm.close()
            return seen

    assert asyncio.run(asyncio.wait_for(story(), GUARD)) == [1, 2]


def test_what_was_seen_stays_on_show_while_the_database_is_away(server: postgres.Postgres) -> None:
    async def write(*lines: bytes) -> None:
        async with await PostgresLog.open(server.address("shown")) as log:
            await log.append(*lines)

    def advanced(observations: int) -> None:
        until = time.monotonic() + GUARD
        while follower.scene().view.observations != observations or follower.trouble:
            assert time.monotonic() < until
            follower.advance(1.0)
            time.sleep(0.05)

    asyncio.run(write(tick(1), tick(2)))
    follower = Follower(server.address("shown"))
    follower.open(float("inf"))
    assert follower.scene().view.observations == 2
    server.stop()
    until = time.monotonic() + GUARD
    while follower.trouble is None:
        assert time.monotonic() < until
        follower.advance(1.0)
    assert "cannot be reached" in follower.trouble
    assert "canary" not in follower.trouble
    assert follower.scene().view.observations == 2
    server.start()
    asyncio.run(write(tick(3)))
    advanced(3)
    assert follower.beginnings == 1
    follower.close()
