"""Tests of deadlines: stall ends a request, and neither slow progress nor a long upload does."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from comfy_fsm.live.transport.timeouts import PIECE, StallTimeout
from tests.support.virtual import Jumping


def in_virtual_time(story: Callable[[], object]) -> None:
    """Run it in a loop whose clock jumps to the next thing that somebody waits for."""
    with asyncio.Runner(loop_factory=Jumping) as runner:
        runner.run(story())


async def blocks(*content: bytes) -> AsyncIterator[bytes]:
    for block in content:
        yield block


def test_an_answer_that_does_not_begin_ends_the_wait() -> None:
    async def story() -> None:
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            async with StallTimeout(answer=2.0, writing=1.0):
                await asyncio.sleep(60)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(2.0)

    in_virtual_time(story)


def test_an_answer_that_keeps_coming_may_take_as_long_as_it_likes() -> None:
    async def story() -> None:
        async with StallTimeout(answer=2.0, writing=1.0) as stall:
            for _ in range(100):
                await asyncio.sleep(1.5)
                stall.read(1024 * 1024)

    in_virtual_time(story)


def test_a_drip_is_no_progress() -> None:
    async def drip() -> None:
        async with StallTimeout(answer=2.0, writing=1.0) as stall:
            for _ in range(100):
                await asyncio.sleep(0.5)
                stall.read(1)

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await drip()

    in_virtual_time(story)


def test_an_upload_that_is_taken_has_no_limit_but_the_total() -> None:
    async def send(total: float | None) -> int:
        sent = 0
        async with StallTimeout(answer=2.0, writing=1.0, total=total) as stall:
            async for piece in stall.sending(blocks(bytes(100 * PIECE), b"end")):
                assert len(piece) <= PIECE
                sent += len(piece)
                await asyncio.sleep(0.9)
        return sent

    async def story() -> None:
        assert await send(None) == 100 * PIECE + 3
        with pytest.raises(TimeoutError):
            await send(30.0)

    in_virtual_time(story)


def test_an_upload_that_nobody_takes_ends() -> None:
    async def upload() -> None:
        async with StallTimeout(answer=2.0, writing=1.0) as stall:
            async for _ in stall.sending(blocks(bytes(10 * PIECE))):
                await asyncio.sleep(1.1)

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await upload()

    in_virtual_time(story)
