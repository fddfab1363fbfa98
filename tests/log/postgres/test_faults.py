"""Faults of a database under a log: nothing acknowledged is lost, nothing is written twice, and each has a name."""

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfy_fsm.errors import (
    LogError,
    LogInDoubt,
    LogLocked,
    LogReadOnly,
    LogRewound,
    LogUnreachable,
    LogWriteFailed,
)
from comfy_fsm.log.chain import summed
from comfy_fsm.log.postgres.address import Address
from comfy_fsm.log.postgres.log import PostgresLog
from comfy_fsm.log.postgres.reader import Reader
from comfy_fsm.log.postgres.schema import KEY
from tests.support import postgres
from tests.support.cutting import Cuttable
from tests.support.log_contract import start

postgres.must_be_had()

_number = itertools.count(1)


@pytest.fixture
def address() -> str:
    """A log that is not there yet."""
    return postgres.server().address(f"fault-{next(_number)}")


@contextmanager
def own_server(**how: object) -> Iterator[postgres.Postgres]:
    """A server that may be killed."""
    made = postgres.Postgres(**how)
    try:
        made.fresh()
        yield made
    finally:
        made.close()


def lines_in(address: str) -> list[bytes | None]:
    """All lines, of a log that is sound."""
    with Reader(Address.of(address)) as reader:
        rows = list(reader.read())
    assert summed(rows).damaged == 0
    return [row.line for row in rows]


# The connection is cut in the middle of a commit


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("count", [1, 30])
def test_a_commit_whose_answer_is_lost_is_written_once(address: str, when: str, count: int) -> None:
    """Cut before, it was not committed and is sent again; cut after, it was, and is read back."""
    lines = [b"line-%d" % number for number in range(count)]

    async def story(port: int, way: Cuttable) -> None:
        async with await PostgresLog.open(postgres.server().address(Address.of(address).name, port=port)) as log:
            await log.append(b"first")
            way.cut(when, b"line-0")
            assert await log.append(*lines) == 1 + count
            assert await log.append(b"last") == 2 + count

    with Cuttable(postgres.server().port) as way:
        asyncio.run(story(way.port, way))
        assert way.cuts == 1
    assert lines_in(address) == [b"first", *lines, b"last"]


@pytest.mark.parametrize(("when", "there"), [("before", []), ("after", [b"doubtful"])])
def test_where_the_database_does_not_come_back_the_doubt_is_told_and_is_decided_later(
    address: str, when: str, there: list[bytes]
) -> None:
    async def story(way: Cuttable) -> None:
        name = Address.of(address).name
        log = await PostgresLog.open(postgres.server().address(name, port=way.port), patience=0.3)
        await log.append(b"first")
        way.cut(when, b"doubtful", stay=True)
        with pytest.raises(LogInDoubt, match=r"whether rows 2 to 2 are in the log is not known; all are, or none"):
            await log.append(b"doubtful")
        with pytest.raises(LogInDoubt):
            await log.append(b"not sent")
        way.mend()
        assert await log.append(b"last") == 2 + len(there)
        await log.close()

    with Cuttable(postgres.server().port) as way:
        asyncio.run(story(way))
    assert lines_in(address) == [b"first", *there, b"last"]


def test_what_was_never_sent_is_refused_and_not_in_doubt(address: str) -> None:
    async def story(way: Cuttable) -> None:
        name = Address.of(address).name
        async with await PostgresLog.open(postgres.server().address(name, port=way.port), patience=0.3) as log:
            way.cut("before", b"LISTEN", stay=True)
            way._drop()
            with pytest.raises((LogUnreachable, LogInDoubt)):
                await log.append(b"a")
            with pytest.raises((LogUnreachable, LogInDoubt)):
                await log.append(b"b")
            way.mend()
            assert await log.append(b"c") == 1

    with Cuttable(postgres.server().port) as way:
        asyncio.run(story(way))
    assert lines_in(address) == [b"c"]


def test_a_transaction_of_a_writer_that_is_gone_is_waited_for_and_cannot_follow(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server still has the statement when the writer comes back: whoever raises the fence waits for its end."""

    async def story() -> None:
        async with await PostgresLog.open(address) as log:
            await log.append(b"first")
            number, fence = log._database._log, log._database._fence
            holding = postgres.server().connect()
            holding.autocommit = False
            insert = "UPDATE comfy_fsm.logs SET position = position + 1 WHERE id = %s AND fence = %s"
            assert holding.execute(insert, (number, fence)).rowcount == 1
            postgres.server().sql(f"SELECT pg_terminate_backend({log._database._pid})")
            appending = asyncio.create_task(log.append(b"second"))
            await asyncio.sleep(0.3)
            assert not appending.done()
            holding.rollback()
            holding.close()
            assert await appending == 2

    asyncio.run(story())
    assert lines_in(address) == [b"first", b"second"]


# The server


WRITES_FOR_EVER = """
import asyncio, sys
from comfy_fsm.log.postgres.log import PostgresLog

async def talk(log, name):
    for n in range(10**9):
        print(await log.append(b"%s-%d" % (name, n)), f"{name.decode()}-{n}", flush=True)

async def main():
    async with await PostgresLog.open(sys.argv[1]) as log:
        await asyncio.gather(*(talk(log, name) for name in (b"a", b"b", b"c")))

asyncio.run(main())
"""


def test_a_server_that_is_killed_and_restarted_loses_nothing_and_doubles_nothing() -> None:
    with own_server() as real, start(WRITES_FOR_EVER, real.address()) as child:
        assert child.stdout
        told = [child.stdout.readline() for _ in range(50)]
        for _ in range(3):
            real.kill()
            real.start()
            told += [child.stdout.readline() for _ in range(50)]  # the same process goes on
        child.kill()
        told += child.stdout.read().splitlines(keepends=True)
        rows = [line.decode() for line in lines_in(real.address()) if line]
    acknowledged = [line.split() for line in told if line.endswith("\n")]
    assert len(acknowledged) >= 200
    assert [rows[int(position) - 1] for position, _ in acknowledged] == [line for _, line in acknowledged]
    for name in "abc":  # each once, in the order of its appends
        own = [row for row in rows if row[0] == name]
        assert own == [f"{name}-{number}" for number in range(len(own))]


def test_a_server_that_is_shut_down_in_order_is_waited_for() -> None:
    async def story(real: postgres.Postgres) -> None:
        async with await PostgresLog.open(real.address()) as log:
            await log.append(b"a")
            await asyncio.to_thread(real.stop)
            appending = asyncio.create_task(log.append(b"b"))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(real.start)
            assert await appending == 2

    with own_server() as real:
        asyncio.run(story(real))
        assert lines_in(real.address()) == [b"a", b"b"]


def test_a_database_that_lost_what_it_acknowledged_is_told_and_not_written_to() -> None:
    """As after a failover to a standby that was behind, or from an older backup."""

    async def story(real: postgres.Postgres) -> None:
        log = await PostgresLog.open(real.address())
        await log.append(b"a")
        await asyncio.to_thread(real.stop)
        backup = real.folder / "backup"
        shutil.copytree(real.data, backup)
        _give(backup, real.data)
        await asyncio.to_thread(real.start)
        await log.append(b"b")
        await asyncio.to_thread(real.kill)
        shutil.rmtree(real.data)
        backup.rename(real.data)
        await asyncio.to_thread(real.start)
        for _ in range(2):
            with pytest.raises(LogRewound, match="the database lost commits"):
                await log.append(b"c")
        await log.close()
        async with await PostgresLog.open(real.address()) as again:
            assert await again.append(b"d") == 2

    with own_server() as real:
        asyncio.run(story(real))
        assert lines_in(real.address()) == [b"a", b"d"]


def _give(path: Path, like: Path) -> None:
    owner = like.stat()
    for each in (path, *path.rglob("*")):
        os.chown(each, owner.st_uid, owner.st_gid)
    path.chmod(0o700)


def test_a_standby_takes_over_where_all_hosts_are_named() -> None:
    """With a synchronous standby, which has all that was acknowledged."""
    with own_server() as primary:
        standby = primary.standby()
        try:
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
            primary.wait_for("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
            both = primary.address(more="target_session_attrs=read-write").replace(
                f":{primary.port}/", f":{primary.port},127.0.0.1:{standby.port}/"
            )

            async def story() -> None:
                async with await PostgresLog.open(both) as log:
                    for number in range(20):
                        await log.append(b"%d" % number)
                    await asyncio.to_thread(primary.kill)
                    appending = asyncio.create_task(log.append(b"after"))
                    standby.promote()
                    assert await appending == 21

            asyncio.run(story())
            assert lines_in(standby.address()) == [*(b"%d" % number for number in range(20)), b"after"]
        finally:
            standby.close()


def test_a_database_that_became_read_only_is_told_as_such(address: str) -> None:
    real = postgres.server()

    async def story() -> None:
        async with await PostgresLog.open(address, patience=0.3) as log:
            await log.append(b"a")
            real.sql("ALTER DATABASE comfy SET default_transaction_read_only = on")
            try:
                real.sql(f"SELECT pg_terminate_backend({log._database._pid})")
                with pytest.raises((LogReadOnly, LogInDoubt), match=r"standby|not known"):
                    await log.append(b"b")
                with pytest.raises((LogReadOnly, LogInDoubt)):
                    await log.append(b"b")
            finally:
                real.sql("ALTER DATABASE comfy RESET default_transaction_read_only", database="postgres")
            assert await log.append(b"c") == 2

    asyncio.run(story())
    assert lines_in(address) == [b"a", b"c"]


def test_a_statement_timeout_refuses_the_append_and_the_log_remains_usable(address: str) -> None:
    real = postgres.server()

    async def story() -> None:
        async with await PostgresLog.open(address + "&options=-c%20statement_timeout%3D300") as log:
            await log.append(b"a")
            holding = real.connect()
            holding.autocommit = False
            holding.execute("SELECT FROM comfy_fsm.logs WHERE id = %s FOR UPDATE", (log._database._log,))
            with pytest.raises(LogWriteFailed, match=r"statement timeout.* are not in the log; raise the"):
                await log.append(b"b")
            holding.rollback()
            holding.close()
            assert await log.append(b"c") == 2

    asyncio.run(story())
    assert lines_in(address) == [b"a", b"c"]


@pytest.mark.skipif(bool(os.name == "nt" or os.geteuid()), reason="NOT TESTED: only root can mount a small disk")
def test_a_full_disk_refuses_the_append_and_the_log_remains_usable() -> None:
    with own_server() as real:
        small = real.folder / "small"
        small.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)], check=False)
        if mounted.returncode:
            pytest.skip("NOT TESTED: this container may not mount a small disk")
        try:
            _give(small, real.data)
            real.sql(f"CREATE TABLESPACE small LOCATION '{small}'", "CREATE DATABASE little TABLESPACE small")
            address = real.address(database="little")
            noise = os.urandom(4 << 20)

            async def story() -> int:
                async with await PostgresLog.open(address) as log:
                    ends = await asyncio.gather(*(log.append(noise) for _ in range(12)), return_exceptions=True)
                    refused = [end for end in ends if isinstance(end, BaseException)]
                    assert refused
                    assert {type(error) for error in refused} == {LogWriteFailed}
                    assert "make room on the disk of the database, then append them again" in str(refused[0])
                    kept = len(ends) - len(refused)
                    assert log.position == kept
                    real.sql("VACUUM comfy_fsm.entries", database="little")  # what was refused left pages behind
                    assert await log.append(b"little") == kept + 1
                    return kept

            kept = asyncio.run(story())
            assert lines_in(address) == [*[noise] * kept, b"little"]
        finally:
            real.stop()
            subprocess.run(["umount", str(small)], check=True)


_FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@pytest.mark.skipif(_FAKETIME is None, reason="NOT TESTED: libfaketime is not installed")
@pytest.mark.parametrize("off", ["-9h", "+7h"])
def test_a_clock_of_the_database_that_is_hours_away_changes_nothing(off: str) -> None:
    env = {"LD_PRELOAD": str(_FAKETIME), "FAKETIME": off, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    async def story(address: str) -> None:
        async with await PostgresLog.open(address) as log:
            await log.append(b"a")
            with pytest.raises(LogLocked):
                await PostgresLog.open(address)
        async with await PostgresLog.open(address) as log:
            assert await log.append(b"b") == 2

    with own_server(env=env) as real:
        (now,) = real.sql("SELECT extract(epoch FROM clock_timestamp())::bigint")[0]
        assert abs(now - time.time()) > 6 * 3600
        asyncio.run(story(real.address()))
        assert lines_in(real.address()) == [b"a", b"b"]


# Hosts that fight


async def _make(address: str) -> None:
    await (await PostgresLog.open(address)).close()


FIGHTS = """
import asyncio, sys
from comfy_fsm.errors import LogError, LogLocked, LogUnreachable
from comfy_fsm.log.postgres.log import PostgresLog

async def main(address, name):
    number = 0
    while number < 60:
        try:
            log = await PostgresLog.open(address)
        except LogError as error:
            assert isinstance(error, LogLocked | LogUnreachable), error
            await asyncio.sleep(0.01)
            continue
        try:
            for _ in range(15):
                print(await log.append(f"{name}-{number}".encode()), f"{name}-{number}", flush=True)
                number += 1
        except LogError as error:
            print("#", type(error).__name__, f"{name}-{number}", flush=True)
            number += 1
        await log.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_hosts_that_fight_for_one_log_lose_nothing_and_write_nothing_twice(address: str) -> None:
    """Their sessions are ended at random meanwhile, so each believes for a while that the log is still its own."""
    real, ended = postgres.server(), threading.Event()
    asyncio.run(_make(address))

    def end_sessions() -> None:
        holders = f"FROM pg_locks WHERE locktype = 'advisory' AND classid::bigint = {KEY}"
        while not ended.wait(0.15):
            real.sql(f"SELECT pg_terminate_backend(pid) {holders}")

    hosts = [start(FIGHTS, address, name) for name in "abc"]
    ending = threading.Thread(target=end_sessions)
    ending.start()
    told = [host.communicate(timeout=120)[0].splitlines() for host in hosts]
    ended.set()
    ending.join()
    rows = [(line or b"").decode() for line in lines_in(address)]
    assert len(set(rows)) == len(rows)
    acknowledged = [line.split() for lines in told for line in lines if line[0] != "#"]
    assert len(acknowledged) > 60
    assert [rows[int(position) - 1] for position, _ in acknowledged] == [line for _, line in acknowledged]
    refused = {line.split()[2] for lines in told for line in lines if line[0] == "#" and "InDoubt" not in line}
    assert not refused & set(rows)
    assert {line.split()[1] for lines in told for line in lines if line[0] == "#"} <= {"LogTakenOver", "LogInDoubt"}


# What is told


@pytest.mark.parametrize(
    "wrong",
    ["port=9", "user=nobody", "dbname=nowhere", "sslmode=require", "sslmode=nonsense", "nonsense=1", "host=256.1.1.1",
     "connect_timeout=x"],
)  # fmt: skip
def test_no_error_repeats_the_password(address: str, wrong: str) -> None:
    with pytest.raises(LogError) as caught:
        asyncio.run(PostgresLog.open(f"{address}&{wrong}"))
    causes = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert "canary" not in "".join(map(repr, causes)) + "".join(map(str, causes))
    assert isinstance(caught.value, LogError)


def test_a_missing_library_is_told_with_its_cure(address: str) -> None:
    code = (
        "import asyncio, sys; sys.modules['psycopg'] = None\n"
        "from comfy_fsm.log.postgres.log import PostgresLog\n"
        "asyncio.run(PostgresLog.open(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, check=False)
    assert "pip install 'comfy-fsm[postgres]'" in done.stderr
