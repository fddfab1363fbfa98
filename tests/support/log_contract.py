"""Contract of a log as a test suite: inherit `LogContract` and say how to open one."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfy_fsm.errors import LogClosed

ROOT = Path(__file__).resolve().parents[2]

WRITES_FOR_EVER = """
import asyncio, sys
from comfy_fsm.log.opening import open_log

async def talk(log, name):
    for n in range(10**9):
        lines = [b"%s-%d-%d" % (name, n, part) for part in range(n % 40 + 1)]
        print(await log.append(*lines), lines[-1].decode(), len(lines), flush=True)

async def main():
    async with await open_log(sys.argv[1]) as log:
        await asyncio.gather(*(talk(log, name) for name in (b"a", b"b", b"c")))

asyncio.run(main())
"""
"""A program that appends groups of lines to a log, by three callers, and prints each that was acknowledged."""


def start(code: str, *args: object) -> subprocess.Popen[str]:
    """A real process, since some of what a log promises is about processes."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def some_lines(count: int, size: int = 300) -> list[bytes]:
    return [(b'{"at":%d,"kind":"tick","data":{}}' % n).ljust(size) for n in range(1, count + 1)]


@contextmanager
def shell(path: Path) -> Iterator[sqlite3.Connection]:
    """A stranger's connection, as one who mends or breaks a closed log by hand has it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


async def first(count: int, lines: AsyncIterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    got = []
    while len(got) < count:
        got.append(await anext(lines))
    return got


def lines_of(log: Any, after: int = 0) -> list[bytes]:
    records = list(log.read(after))
    assert [record.position for record in records] == list(range(after + 1, after + 1 + len(records)))
    assert not [record for record in records if record.damage]
    return [record.line for record in records]


class LogContract:
    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Any]:
        """A new and empty log, closed at the end."""
        raise NotImplementedError
        yield

    def test_a_new_log_is_empty(self) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                assert log.position == 0
                assert lines_of(log) == []

        asyncio.run(story())

    def test_append_answers_the_position_of_its_last_line(self) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                assert await log.append(b"a") == 1
                assert await log.append(b"b", b"c") == 3
                assert log.position == 3
                assert lines_of(log) == [b"a", b"b", b"c"]
                assert lines_of(log, after=1) == [b"b", b"c"]
                assert lines_of(log, after=3) == []

        asyncio.run(story())

    def test_an_append_of_nothing_changes_nothing(self) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                await log.append(b"a")
                assert await log.append() == 1
                assert lines_of(log) == [b"a"]

        asyncio.run(story())

    def test_bytes_come_back_as_they_were_whatever_they_are(self) -> None:
        odd = [b"", b"\0", b"\n\r\n", bytes(range(256)), b"\xff\xfe", b"{" * 100_000]

        async def story() -> None:
            async with self.fresh() as log:
                await log.append(*odd)
                assert lines_of(log) == odd

        asyncio.run(story())

    @pytest.mark.parametrize("line", ["text", bytearray(b"buffer"), None, 7])
    def test_what_is_not_bytes_is_refused_with_all_that_came_with_it(self, line: Any) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                with pytest.raises(TypeError, match=type(line).__name__):
                    await log.append(b"good", line)
                assert await log.append(b"next") == 1

        asyncio.run(story())

    def test_lines_of_one_append_stay_together(self) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                ends = await asyncio.gather(*(log.append(b"%d" % n, b"%d" % n, b"%d" % n) for n in range(50)))
                lines = lines_of(log)
                for n, end in enumerate(ends):
                    assert lines[end - 3 : end] == [b"%d" % n] * 3

        asyncio.run(story())

    def test_after_close_an_append_is_refused_and_the_rest_can_be_read(self) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                await log.append(b"a")
                await log.close()
                with pytest.raises(LogClosed, match="nothing was written"):
                    await log.append(b"b")
                with pytest.raises(LogClosed):
                    await log.append()
                assert lines_of(log) == [b"a"]
                assert log.position == 1

        asyncio.run(story())

    def test_close_may_come_again_and_from_several_at_once(self) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                await asyncio.gather(log.append(b"a"), log.close(), log.close())
                await log.close()

        asyncio.run(story())

    def test_a_follower_gets_what_is_there_then_what_comes_and_ends_with_the_log(self) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                await log.append(b"a", b"b")
                follower, late = log.follow(), log.follow(after=1)
                assert await first(2, follower) == [(1, b"a"), (2, b"b")]
                assert await first(1, late) == [(2, b"b")]
                coming = [asyncio.ensure_future(anext(waiting)) for waiting in (follower, late)]
                await asyncio.sleep(0.01)
                assert not any(waiting.done() for waiting in coming)
                await log.append(b"c")
                assert await asyncio.gather(*coming) == [(3, b"c"), (3, b"c")]
                await log.append(b"d", b"e")
                assert await first(1, follower) == [(4, b"d")]
                await log.close()
                assert [line async for _, line in follower] == [b"e"]
                assert [line async for _, line in late] == [b"d", b"e"]

        asyncio.run(story())

    def test_a_follower_that_waits_is_told_of_the_close(self) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                ends = asyncio.ensure_future(first(1, log.follow()))
                await asyncio.sleep(0.01)
                await log.close()
                with pytest.raises(StopAsyncIteration):
                    await asyncio.wait_for(ends, 10)

        asyncio.run(story())

    # Hypothesis warns where several classes run one test: they share its database of failures. So be it.
    @settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.booleans(), st.lists(st.binary(max_size=40), max_size=60)), max_size=12))
    def test_any_appends_in_any_grouping_read_back_identical_and_in_order(
        self, appends: list[tuple[bool, list[bytes]]]
    ) -> None:
        async def story() -> None:
            async with self.fresh() as log:
                running = []
                for wait, lines in appends:
                    running.append(asyncio.ensure_future(log.append(*lines)))
                    if wait:
                        await running[-1]
                await asyncio.gather(*running)
                assert lines_of(log) == [line for _, lines in appends for line in lines]

        asyncio.run(story())
