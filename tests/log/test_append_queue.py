"""Tests of group commit: appends wait together, within a bound, and each caller is answered for its own lines."""

import asyncio
from pathlib import Path

import pytest

from comfy_fsm.errors import LogClosed
from comfy_fsm.log.log import Log
from comfy_fsm.log.reader import read
from tests.support.gates import Gate
from tests.support.log_contract import first, lines_of

# Group commit


async def test_appends_that_wait_together_share_a_commit(path: Path, gate: Gate) -> None:
    async with await Log.open(path) as log:
        one = asyncio.ensure_future(log.append(b"first"))
        await gate.reached()
        many = [asyncio.ensure_future(log.append(b"%d" % n)) for n in range(500)]
        await asyncio.sleep(0)
        assert log.position == 0  # what is not committed has not happened
        gate.open.set()
        assert [await one, *await asyncio.gather(*many)] == list(range(1, 502))
        assert log._chain.commits == 2


async def test_who_is_cancelled_while_waiting_takes_nothing_from_the_others(path: Path, gate: Gate) -> None:
    async with await Log.open(path) as log:
        in_flight = asyncio.ensure_future(log.append(b"a"))
        await gate.reached()
        waiting = [asyncio.ensure_future(log.append(line)) for line in (b"b", b"c", b"d")]
        await asyncio.sleep(0)
        for cancelled in (in_flight, waiting[1]):
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        gate.open.set()
        assert await waiting[0] == 2
        assert await waiting[2] == 4
        assert await log.append(b"e") == 5
        assert lines_of(log) == [b"a", b"b", b"c", b"d", b"e"]


async def test_beyond_the_limit_an_append_waits_for_room_in_the_order_of_coming(path: Path, gate: Gate) -> None:
    async with await Log.open(path, limit=2000) as log:
        larger_than_the_limit = asyncio.ensure_future(log.append(b"x" * 5000))
        await gate.reached()
        waiting = [asyncio.ensure_future(log.append(b"%d" % n * 1000)) for n in range(10)]
        small = asyncio.ensure_future(log.append(b"s"))
        withdrawn = asyncio.ensure_future(log.append(b"w"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not log._waiting
        withdrawn.cancel()
        gate.open.set()
        assert await larger_than_the_limit == 1
        assert await asyncio.gather(*waiting, small) == list(range(2, 13))
        assert log.position == 12


# Closing


async def test_close_writes_all_that_was_accepted(path: Path, gate: Gate) -> None:
    log = await Log.open(path)
    accepted = [asyncio.ensure_future(log.append(b"a"))]
    await gate.reached()
    accepted += [asyncio.ensure_future(log.append(b"b")), asyncio.ensure_future(log.append(b"c"))]
    await asyncio.sleep(0)
    closing_twice = [asyncio.ensure_future(log.close()), asyncio.ensure_future(log.close())]
    await asyncio.sleep(0)
    with pytest.raises(LogClosed):
        await log.append(b"too late")
    gate.open.set()
    await asyncio.gather(*closing_twice)
    assert [append.result() for append in accepted] == [1, 2, 3]
    assert [record.line for record in read(path)] == [b"a", b"b", b"c"]


async def test_close_refuses_those_who_still_wait_for_room(path: Path, gate: Gate) -> None:
    log = await Log.open(path, limit=100)
    accepted = asyncio.ensure_future(log.append(b"a"))
    await gate.reached()
    outside = [asyncio.ensure_future(log.append(b"b")) for _ in range(3)]
    await asyncio.sleep(0)
    done = asyncio.ensure_future(log.close())
    for waiting in outside:
        with pytest.raises(LogClosed):
            await waiting
    gate.open.set()
    await done
    assert await accepted == 1


async def test_a_close_that_is_cancelled_closes_all_the_same(path: Path, gate: Gate) -> None:
    log = await Log.open(path)
    accepted = asyncio.ensure_future(log.append(b"a"))
    await gate.reached()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(log.close(), 0.01)
    gate.open.set()
    assert await accepted == 1
    await log.close()
    async with await Log.open(path) as again:
        assert again.position == 1


# Followers


async def test_followers_keep_up_with_writers(path: Path) -> None:
    expected = [b"%d" % n for n in range(2000)]
    async with await Log.open(path) as log:
        followers = [asyncio.ensure_future(first(2000, log.follow())) for _ in range(3)]
        for at in range(0, 2000, 7):
            await log.append(*expected[at : at + 7])
        for follower in followers:
            assert await follower == list(enumerate(expected, 1))
