"""OpenTelemetry spans: one for each task, from its POST to the first sign of its end, made after its delivery.

    client.accompany(Spans(client.board))

Needs the extra `otel`. A span is a child of the span that was current when the task was submitted. Times, state and
findings are read from committed entries, so a process that takes over a log makes the spans that the last one could not
make. Missed frames are judged a little after the end, so a span waits for that; its times do not change.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from comfy_fsm.core import observations as seen
from comfy_fsm.core.fold.board import Board
from comfy_fsm.core.machine import State
from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.task import Task
from comfy_fsm.errors import MissingExtra
from comfy_fsm.live.client.companion import Companion

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider

__all__ = ["Spans"]

_NAME = "comfyui task"
_LONGEST = 100  # characters of an id; ComfyUI's have 36, and one that a server made up may have any number
_PULSE = 0.5  # seconds
_END_OF_TIME = 1e10  # seconds; beyond, nanoseconds fit no 64 bits


class Spans(Companion):
    """Companion that makes the spans; `provider` is the application's, by default OpenTelemetry's global one. Raises
    MissingExtra.
    """

    def __init__(
        self, board: Board, provider: TracerProvider | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        try:
            from opentelemetry import context, trace
        except ImportError as error:
            raise MissingExtra("otel", "no spans can be made") from error
        self._api = trace
        self._here = context.get_current
        self._within: dict[int, Context] = {}
        self._tracer = trace.get_tracer("comfy_fsm", tracer_provider=provider)
        self._board = board
        self._clock = clock
        self._patience = 2 * board.registry.policy.settle_seconds
        self._waiting: deque[tuple[float, Task]] = deque()

    def submitted(self, task: Task) -> None:
        self._within[task.number] = self._here()

    def observe(self, observation: AnyObservation) -> None:
        if isinstance(observation, seen.Delivered):
            task = self._board.task(observation.data.prompt_id, observation.server or "")
            if task is not None and task.settled:
                self._waiting.append((self._clock() + self._patience, task))

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(_PULSE)
                self._make(self._clock())
        finally:
            self._make(float("inf"))

    def _make(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            self._make_one(self._waiting.popleft()[1])

    def _make_one(self, task: Task) -> None:
        at = task.settled_at or self._board.now
        begin = task.submitted_at if task.submitted_at is not None else task.started_at or at
        span = self._tracer.start_span(
            _NAME, self._within.pop(task.number, None), self._api.SpanKind.CLIENT, _attributes(task),
            start_time=_nanoseconds(begin),
        )  # fmt: skip
        for finding in self._board.findings_of(task):
            span.add_event(finding.code, {"severity": str(finding.severity)}, _nanoseconds(finding.at))
        if task.state is State.COMPLETED:
            span.set_status(self._api.StatusCode.OK)
        else:
            span.set_status(self._api.StatusCode.ERROR, str(task.state))
        span.end(_nanoseconds(max(begin, task.ended_at or at)))


def _attributes(task: Task) -> dict[str, str | float]:
    """Return attributes from our own closed sets, except for id, server and file count; nothing of the workflow."""
    found: dict[str, str | float] = {
        "comfyui.server": _plain(task.server),
        "comfyui.prompt_id": _plain(task.prompt_id or ""),
        "comfyui.state": str(task.state),
        "comfyui.source": task.completion_source or "none",
        "comfyui.confidence": task.confidence or "inferred",
        "comfyui.outputs": len(task.outputs),
    }
    if task.submitted_at is not None and task.started_at is not None:
        found["comfyui.waited_seconds"] = max(0.0, task.started_at - task.submitted_at)
    return found


def _plain(text: str) -> str:
    """Return text of a server in a harmless form, since a tracing backend may display it."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:_LONGEST])


def _nanoseconds(at: float) -> int:
    return int(at * 1e9) if 0 <= at < _END_OF_TIME else 0  # a log can say anything, and no exporter takes it
