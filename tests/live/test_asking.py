"""What is asked of one server over HTTP."""

import asyncio
import time
from contextlib import suppress

import pytest

from comfy_fsm import Board, Policy
from comfy_fsm.live.asking import Asking
from comfy_fsm.live.comfy import Comfy
from comfy_fsm.live.log import MemoryLog
from comfy_fsm.live.recorder import Recorder
from comfy_fsm.live.redact import Redactor

NOBODY = "http://127.0.0.1:9"


@pytest.mark.parametrize("breaths", range(5))
def test_a_cancel_that_comes_with_news_is_heeded(breaths: int) -> None:
    async def story() -> None:
        board, redactor, server = Board(Policy()), Redactor(), Comfy(NOBODY)
        recorder = Recorder(MemoryLog(), board, redactor, lambda *_: None, lambda: None)
        asking = Asking(server, recorder, board, redactor, Policy(), time.time)
        running = asyncio.create_task(asking.run())
        await asyncio.sleep(0.01)
        asking.want("a prompt", time.time() + 1_000, look=True)
        for _ in range(breaths):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running], timeout=1)
        assert running.cancelled()
        with suppress(asyncio.CancelledError):
            await running
        await recorder.close()
        await server.close()

    asyncio.run(story())
