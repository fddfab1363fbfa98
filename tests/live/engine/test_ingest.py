"""Tests of the ingest under floods: memory stays bounded, and the loop of the application free."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from comfy_fsm.core.fold.board import Board
from comfy_fsm.live.engine import ingest
from comfy_fsm.live.engine.ingest import Ingest, Noted
from comfy_fsm.live.redaction.messages import Redactor
from tests.support.lines import frame


class Slow(Board):
    """A board on which each entry takes a millisecond, and which knows how long it was at it without a pause."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0
        self.turn = 0.0
        self.count = 0

    def fold_observation(self, position: int, o: object) -> None:
        self.count += 1
        time.sleep(0.001)
        self.turn += 0.001
        self.longest = max(self.longest, self.turn)


async def test_what_was_committed_is_folded_in_slices() -> None:
    board, committed = Slow(), []

    class Instant:
        async def append(self, *lines: bytes) -> int:
            return len(lines)

    made = Ingest(Instant(), board, Redactor(), lambda *_: None, lambda: committed.append(board.count))

    async def others() -> None:
        while True:
            await asyncio.sleep(0)
            board.turn = 0.0

    turning = asyncio.create_task(others())
    from comfy_fsm.core.wire import codec

    for n in range(200):
        line = frame(f"x{n}")
        made.put(line, codec.read(line))
    await made.close()
    turning.cancel()
    assert board.count == 200
    assert board.longest <= 2 * ingest._SLICE + 0.005
    assert len(committed) > 5
    assert committed[-1] == 200


async def test_a_recorder_that_is_ended_while_it_folds_leaves_nobody_waiting() -> None:
    from comfy_fsm.core import observations as seen
    from comfy_fsm.errors import ClientClosed

    class Instant:
        async def append(self, *lines: bytes) -> int:
            return len(lines)

    def folded(position: int, noted: Noted) -> None:
        time.sleep(ingest._SLICE)

    made = Ingest(Instant(), Board(), Redactor(), folded, lambda: None)
    waiting = [asyncio.ensure_future(made.write(seen.Tick(at=float(n)))) for n in range(5)]
    await waiting[0]
    made._writer.cancel()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert any(isinstance(each, ClientClosed) for each in ended)


@pytest.mark.parametrize("how", ["put", "write"])
async def test_a_long_line_is_scrubbed_while_the_loop_goes_on(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from comfy_fsm.core import observations as seen
    from comfy_fsm.core.wire import codec

    turned = threading.Event()

    def aside(_: Redactor) -> Callable[[bytes], bytes]:
        def scrub(line: bytes) -> bytes:
            assert turned.wait(60), "the loop stood still"
            return line.replace(b"secret", b"[---]")

        return scrub

    monkeypatch.setattr(Redactor, "aside", aside)
    async with asyncio.timeout(60):
        kept: list[bytes] = []

        class Instant:
            async def append(self, *lines: bytes) -> int:
                kept.extend(lines)
                return len(kept)

        made = Ingest(Instant(), Board(), Redactor(), lambda *_: None, lambda: None)
        asyncio.get_running_loop().call_later(0, turned.set)
        if how == "write":
            await made.write(seen.Undecodable(at=1.0, data=seen.UndecodableData("secret" * 20_000, "")))
        else:
            line = frame("secret" * 20_000)
            assert made.put(line, codec.read(line), kept=await made.clean(line))
        await made.close()
        [kept] = kept
    assert b"[---]" in kept
    assert b"secret" not in kept


async def test_lines_that_wait_are_bounded_by_count_too() -> None:
    class Never:
        async def append(self, *lines: bytes) -> int:
            await asyncio.Event().wait()
            return 0

    from comfy_fsm.core.wire import codec

    made = Ingest(Never(), Board(), Redactor(), lambda *_: None, lambda: None)
    taken = 0
    line = frame("x")
    while made.put(line, codec.read(line)):
        taken += 1
        assert taken < 10_000
    made._writer.cancel()
