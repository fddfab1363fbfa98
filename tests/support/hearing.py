"""What a socket brings, one by one, however much of it came together."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from comfy_fsm.live.transport.arrivals import Heard, Message, Refused, SocketDown, SocketUp

One = Message | SocketUp | SocketDown | Refused


async def one_by_one(frames: AsyncGenerator[Heard, None]) -> AsyncGenerator[One, None]:
    async for heard in frames:
        for each in heard if isinstance(heard, list) else [heard]:
            yield each
