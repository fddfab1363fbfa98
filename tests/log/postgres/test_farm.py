"""Tests of all logs of a database as one: merged by time, followed while they grow, each log in its own order."""

import asyncio
import json

import pytest

from comfy_fsm.errors import LogUnreachable, NotALog
from comfy_fsm.log import opening
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.farm import Farm
from comfy_fsm.log.postgres.log import PostgresLog
from tests.support import postgres

postgres.must_be_had()


@pytest.fixture
def server() -> postgres.Postgres:
    """The server, with an empty database."""
    postgres.server().fresh()
    return postgres.server()


def line(at: float, name: str) -> bytes:
    return json.dumps({"at": at, "kind": "tick", "data": {}, "name": name}).encode()


async def write(address: str, *lines: bytes) -> None:
    async with await PostgresLog.open(address) as log:
        await log.append(*lines)


def names(rows: list) -> list[str]:
    assert not [row for row in rows if row.damage]
    return [json.loads(row.line)["name"] for row in rows]


def test_the_logs_are_merged_by_time_and_each_keeps_its_order(server: postgres.Postgres) -> None:
    asyncio.run(write(server.address("a"), line(1, "a1"), line(4, "a2"), line(3, "a3"), b"no json", line(9, "a5")))
    asyncio.run(write(server.address("b"), line(2, "b1"), line(5, "b2")))
    rows = list(opening.read(server.address(None)))
    assert [row.position for row in rows] == list(range(1, 8))
    merged = ["a1", "b1", "a2", "a3", "b2", "a5"]
    assert names([row for row in rows if row.line != b"no json"]) == merged


def test_a_follower_gets_what_is_new_of_each_log_and_of_logs_that_come(server: postgres.Postgres) -> None:
    asyncio.run(write(server.address("a"), line(1, "a1")))
    farm = Farm(Address.of(server.address(None)))
    assert names(list(farm.read())) == ["a1"]
    asyncio.run(write(server.address("a"), line(2, "a2")))
    asyncio.run(write(server.address("b"), line(3, "b1")))
    farm.wait()
    assert names(list(farm.read(0))) == ["a1", "a2", "b1"]  # as a follower asks that wants to see its last one again
    assert names(list(farm.read(2))) == ["b1"]
    farm.close()


def test_a_follower_that_stopped_early_goes_on_where_it_was(server: postgres.Postgres) -> None:
    asyncio.run(write(server.address("a"), *(line(n, f"a{n}") for n in range(50))))
    asyncio.run(write(server.address("b"), *(line(n + 0.5, f"b{n}") for n in range(50))))
    whole = names(list(opening.read(server.address(None))))
    farm = Farm(Address.of(server.address(None)))
    got: list = []
    while len(got) < 100:
        reading = farm.read(len(got))
        got += [row for row, _ in zip(reading, range(7), strict=False)]
        reading.close()
    assert names(got) == whole
    farm.close()


def test_of_one_log_the_positions_are_its_own(server: postgres.Postgres) -> None:
    asyncio.run(write(server.address("a"), *(line(n, f"a{n}") for n in range(5))))
    server.sql("DELETE FROM comfy_fsm.entries WHERE position = 3")
    rows = list(opening.read(server.address("a")))
    assert [(row.position, row.damage) for row in rows][2] == (3, "row 3 is missing")
    assert [row.position for row in rows if row.line] == [1, 2, 4, 5]


def test_what_is_not_there_is_told(server: postgres.Postgres) -> None:
    with pytest.raises(NotALog):
        opening.logs_of(server.address(None))
    asyncio.run(write(server.address("a"), line(1, "a")))
    assert [Address.of(each).name for each in opening.logs_of(server.address(None))] == ["a"]
    with pytest.raises(NotALog, match="no log of this name"):
        list(opening.read(server.address("b")))
    with pytest.raises(LogUnreachable):
        list(opening.read(server.address("a", port=9)))
