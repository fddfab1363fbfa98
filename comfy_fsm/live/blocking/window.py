"""Window for programs without an event loop, and the options of a submission."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from comfy_fsm.core.updates import Update
from comfy_fsm.live.blocking.outputs import Calls
from comfy_fsm.live.blocking.task_handle import BlockingTask, adapted
from comfy_fsm.live.client.window import Window

__all__ = ["BlockingWindow", "Submission"]


class Submission(TypedDict, total=False):
    """Options of `Window.submit`, besides the workflow."""

    server: str | None
    extra_data: Mapping[str, Any] | None
    number: float | None
    front: bool
    partial_execution_targets: Sequence[str] | None
    tag: Any
    on_progress: Callable[[Update], Any] | None
    on_complete: Callable[[BlockingTask], Any] | None


class BlockingWindow:
    """Blocking form of `Window`. Callbacks are plain functions, each called in a thread of its own."""

    def __init__(self, calls: Calls, window: Window) -> None:
        self._calls = calls
        self._window = window

    def id_at(self, server: str) -> str:
        """Return its client id at this server."""
        return self._window.id_at(server)

    def submit(self, workflow: Mapping[str, Any], **options: Unpack[Submission]) -> BlockingTask:
        """Queue a workflow in API format; returns once it is posted. Then wait for its result."""
        given: Any = dict(options)
        if given.get("on_complete") is not None:
            given["on_complete"] = adapted(self._calls, given["on_complete"])
        return BlockingTask(self._calls, self._calls.call(self._window.submit(workflow, **given)))

    def follow(self, prompt_id: str, *, server: str | None = None, tag: Any = None) -> BlockingTask:
        """Follow a prompt of somebody else: its server is asked until it has settled."""
        return BlockingTask(self._calls, self._calls.call(self._window.follow(prompt_id, server=server, tag=tag)))
