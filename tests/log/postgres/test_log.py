"""Tests of the log in a database: the contract of every log, one writer, followers, and what is read back."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from comfy_fsm.errors import LogError, LogLocked, LogReadOnly, LogTakenOver, LogVersionError, NotALog
from comfy_fsm.log.chain import summed
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.log import PostgresLog
from comfy_fsm.log.postgres.reader import Reader
from tests.support import postgres
from tests.support.log_contract import WRITES_FOR_EVER, LogContract, lines_of, some_lines, start

postgres.must_be_had()

_number = itertools.count(1)


@pytest.fixture
def address() -> str:
    """A log that is not there yet."""
    return postgres.server().address(f"log-{next(_number)}")


def read(address: str, after: int = 0) -> list:
    with Reader(Address.of(address)) as reader:
        return list(reader.read(after))


class TestPostgres(LogContract):
    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[PostgresLog]:
        address = postgres.server().address(f"contract-{next(_number)}")
        async with await PostgresLog.open(address) as log:
            yield log
            await log.close()
        assert not [record for record in read(address) if record.damage]


def test_a_log_opened_again_goes_on_where_it_was(address: str) -> None:
    async def story() -> None:
        for turn in range(1, 4):
            async with await PostgresLog.open(address) as log:
                assert log.position == turn - 1
                assert await log.append(b"%d" % turn) == turn
        assert lines_of(log) == [b"1", b"2", b"3"]

    asyncio.run(story())


def test_logs_of_one_database_know_nothing_of_each_other() -> None:
    async def story() -> None:
        one, other = postgres.server().address("one"), postgres.server().address("other")
        async with await PostgresLog.open(one) as first, await PostgresLog.open(other) as second:
            ends = await asyncio.gather(first.append(b"a"), second.append(b"b"), first.append(b"c"))
            assert ends == [1, 1, 2]
            assert (lines_of(first), lines_of(second)) == ([b"a", b"c"], [b"b"])

    asyncio.run(story())


def test_a_second_writer_is_refused_and_is_told_who_has_the_log(address: str) -> None:
    async def story() -> None:
        async with await PostgresLog.open(address) as log:
            with pytest.raises(LogLocked, match=r"is being written by process \d+ on .*; close that log"):
                await PostgresLog.open(address)
            assert await log.append(b"a") == 1
        await (await PostgresLog.open(address)).close()

    asyncio.run(story())


def test_whether_a_log_is_written_is_told_for_it_and_for_its_database(address: str) -> None:
    async def story() -> list[bool]:
        with Reader(Address.of(address)) as one, Reader(Address.of(address)._replace(name=None)) as any_of_them:
            async with await PostgresLog.open(address):
                told = [one.is_written(), any_of_them.is_written()]
            return [*told, one.is_written()]

    assert asyncio.run(story()) == [True, True, False]


@pytest.mark.parametrize("acknowledged", [1, 300])
def test_after_kill_9_of_the_writer_all_that_was_acknowledged_is_there_and_the_log_is_free(
    address: str, acknowledged: int
) -> None:
    with start(WRITES_FOR_EVER, address) as child:
        assert child.stdout
        told = [child.stdout.readline() for _ in range(acknowledged)]
        child.send_signal(signal.SIGKILL)
        told += child.stdout.read().splitlines(keepends=True)

    async def again() -> int:
        async with await PostgresLog.open(address) as log:
            return await log.append(b"after")

    end = asyncio.run(again())
    rows = {row.position: row for row in read(address)}
    assert summed(rows.values()) == (end, 0, None, None)
    for position, last, count in (line.split() for line in told if line.endswith("\n")):
        stem = last.rpartition("-")[0]
        written = [rows[at].line for at in range(int(position) - int(count) + 1, int(position) + 1)]
        assert written == [f"{stem}-{part}".encode() for part in range(int(count))]


def test_lines_beyond_what_a_statement_takes_are_one_transaction_all_the_same(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_fsm.log.postgres.writer._CHUNK_BYTES", 1000)
    monkeypatch.setattr("comfy_fsm.log.postgres.writer._CHUNK_ROWS", 7)
    lines = some_lines(100, 200)

    async def story() -> None:
        async with await PostgresLog.open(address) as log:
            assert await log.append(*lines) == 100
            assert lines_of(log) == lines

    asyncio.run(story())
    inserted = "SELECT count(DISTINCT entries.xmin::text) FROM comfy_fsm.entries JOIN comfy_fsm.logs ON log = id"
    assert postgres.server().sql(f"{inserted} WHERE name = '{Address.of(address).name}'") == [(1,)]


def test_a_reader_takes_pages_of_few_bytes(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_fsm.log.postgres.reader._PAGES", (1, 3))
    lines = some_lines(20)

    async def story() -> None:
        async with await PostgresLog.open(address) as log:
            await log.append(*lines)
            assert lines_of(log) == lines
            assert lines_of(log, 13) == lines[13:]

    asyncio.run(story())


# What only a follower in another process sees


def test_a_follower_elsewhere_is_woken_by_a_notification(address: str) -> None:
    async def story() -> None:
        async with await PostgresLog.open(address) as log:
            await log.append(b"a")
            reader = Reader(Address.of(address))
            assert reader.wait(0.0)  # it only began to listen: of what came before nobody was told
            waiting = asyncio.create_task(asyncio.to_thread(reader.wait, 30.0))
            await asyncio.sleep(0.05)
            await log.append(b"b")
            assert await asyncio.wait_for(waiting, 25)
            reader.close()

    asyncio.run(story())


# One writer, whatever happens to its session


def test_whoever_lost_its_session_cannot_append_after_another_took_over(address: str) -> None:
    async def story() -> None:
        old = await PostgresLog.open(address)
        await old.append(b"a")
        postgres.server().sql(f"SELECT pg_terminate_backend({old._database._pid})")
        async with await PostgresLog.open(address) as new:
            assert await new.append(b"b") == 2
            with pytest.raises(LogTakenOver, match="taken up by another writer"):
                await old.append(b"c")
            with pytest.raises(LogTakenOver):
                await old.append(b"d")
            assert lines_of(new) == [b"a", b"b"]
        await old.close()

    asyncio.run(story())


def test_the_fence_refuses_an_append_even_of_a_session_that_still_holds_the_lock(address: str) -> None:
    async def story() -> None:
        async with await PostgresLog.open(address) as log:
            await log.append(b"a")
            postgres.server().sql(
                f"UPDATE comfy_fsm.logs SET fence = fence + 1 WHERE name = '{Address.of(address).name}'"
            )
            with pytest.raises(LogTakenOver):
                await log.append(b"b")
        assert [row.line for row in read(address)] == [b"a"]

    asyncio.run(story())


def test_a_session_that_was_ended_is_begun_anew_and_the_append_goes_through(address: str) -> None:
    async def story() -> None:
        async with await PostgresLog.open(address) as log:
            await log.append(b"a")
            postgres.server().sql(f"SELECT pg_terminate_backend({log._database._pid})")
            assert await log.append(b"b") == 2
            assert lines_of(log) == [b"a", b"b"]

    asyncio.run(story())


# Refusals


@pytest.mark.parametrize("name", ["", "?log=", "?log=a/b", "?log=..", "?log=" + "x" * 101, "?log=a%00b"])
def test_what_names_no_log_is_refused_before_anything_is_opened(name: str) -> None:
    with pytest.raises(NotALog, match="log=NAME"):
        asyncio.run(PostgresLog.open(f"postgresql://127.0.0.1:9/none{name}"))


def test_a_newer_schema_is_not_touched(address: str) -> None:
    async def story() -> None:
        await (await PostgresLog.open(address)).close()
        postgres.server().sql("UPDATE comfy_fsm.schema SET version = version + 1")
        try:
            with pytest.raises(LogVersionError, match="newer than this release"):
                await PostgresLog.open(address)
            with pytest.raises(LogVersionError):
                read(address)
        finally:
            postgres.server().sql("UPDATE comfy_fsm.schema SET version = version - 1")

    asyncio.run(story())


def test_a_log_that_is_not_there_is_not_made_by_reading(address: str) -> None:
    asyncio.run(_open_and_close(postgres.server().address("there")))
    with pytest.raises(NotALog, match="no log of this name"):
        read(address)
    with Reader(Address.of(address)) as reader:
        assert reader.names() == []


async def _open_and_close(address: str) -> None:
    await (await PostgresLog.open(address)).close()


def test_a_database_without_logs_is_told_as_such() -> None:
    with pytest.raises(NotALog, match="a database without logs"):
        read(postgres.server().address(database="postgres"))


def test_a_session_that_may_only_read_opens_no_log(address: str) -> None:
    asyncio.run(_open_and_close(address))
    with pytest.raises(LogReadOnly, match="takes no writes"):
        asyncio.run(PostgresLog.open(address + "&options=-c%20default_transaction_read_only%3Don"))


def test_a_server_that_does_not_sync_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = postgres.server()
    real.sql("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)")
    try:
        with pytest.raises(LogError, match="no commit would be safe"):
            asyncio.run(PostgresLog.open(address))
    finally:
        real.sql("ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)")


# Damage


DAMAGES = {
    "UPDATE comfy_fsm.entries SET line = 'x' WHERE log = {log} AND position = 3": (3, "its checksum does not fit"),
    "UPDATE comfy_fsm.entries SET checksum = 'x' WHERE log = {log} AND position = 3": (3, "does not fit"),
    "DELETE FROM comfy_fsm.entries WHERE log = {log} AND position = 3": (3, "row 3 is missing"),
    "DELETE FROM comfy_fsm.entries WHERE log = {log} AND position > 3": (4, "rows 4 to 5 are missing"),
    "UPDATE comfy_fsm.entries SET position = 0 WHERE log = {log} AND position = 3": (3, "row 3 is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_row_that_is_not_what_was_written_shows_and_the_rest_is_read(address: str, damage: str) -> None:
    async def story() -> int:
        async with await PostgresLog.open(address) as log:
            await log.append(*some_lines(5))
            return log._database._log

    postgres.server().sql(damage.format(log=asyncio.run(story())))
    rows = read(address)
    first, told = DAMAGES[damage]
    found = summed(rows)
    assert found.first_damaged == first
    assert told in (found.reason or "")
    assert {row.position: row.line for row in rows if row.damage is None}.items() <= dict(
        enumerate(some_lines(5), 1)
    ).items()
