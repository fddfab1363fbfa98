"""Timeouts of a server: those of the policy, and the one for a transfer that stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from comfy_fsm.core.policy import Policy

__all__ = ["PIECE", "StallTimeout", "timeouts"]

PIECE = 64 * 1024
"""Bytes that are handed over at a time: each has a deadline of its own."""
_SLOWEST = 64 * 1024
"""Bytes a second that an answer must bring on the whole, once its first deadline is over: a drip is not progress."""
_BUFFERED = 8 * 1024 * 1024
"""Bytes that kernels and proxies on the way may hold: they were taken, and have not arrived."""
_ON_THE_WAY = 128 * 1024
"""Bytes a second at which what is held goes on, at least."""


class StallTimeout:
    """Timeout that moves as long as bytes move, in either direction.

    Raises TimeoutError if nothing was read for `answer` seconds, or nothing was sent for `writing`. Sending has no
    other limit than `total`, if given; reading must also keep a minimum pace.
    """

    def __init__(self, answer: float, writing: float, total: float | None = None) -> None:
        self._answer = answer
        self._writing = writing
        self._total = total
        self._end = float("inf")
        self._slow = 0.0
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        self._now = asyncio.get_running_loop().time
        self._slow = self._now() + self._answer
        self._end = self._now() + self._total if self._total is not None else float("inf")
        await self._timeout.__aenter__()
        self._move(self._slow)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._timeout.__aexit__(kind, error, trace)

    async def sending(self, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the content in small pieces: each must be taken within `writing`; the last one starts `answer`.

        What was taken may still be on its way, so a long body has more time until its answer.
        """
        sent = 0
        async for part in content:
            for start in range(0, len(part), PIECE):
                self._move(self._now() + self._writing)
                yield part[start : start + PIECE]
            sent += len(part)
        self._slow = self._now() + self._answer + min(sent, _BUFFERED) / _ON_THE_WAY
        self._move(self._slow)

    def read(self, size: int) -> None:
        """Note that this many bytes of the answer came."""
        self._slow += size / _SLOWEST
        self._move(min(self._now() + self._answer, self._slow))

    def _move(self, when: float) -> None:
        self._timeout.reschedule(min(when, self._end))


def timeouts(policy: Policy) -> dict[str, Any]:
    """Return the timeouts of a policy, as options of `Comfy`."""
    return {
        "deadline_seconds": policy.deadline_seconds, "connect_seconds": policy.connect_seconds,
        "write_seconds": policy.write_seconds, "upload_seconds": policy.upload_seconds or None,
        "damp_seconds": policy.damp_seconds, "backoff_seconds": (policy.reopen_seconds, policy.reopen_limit_seconds),
    }  # fmt: skip
