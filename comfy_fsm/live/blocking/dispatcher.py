"""Dispatcher for programs without an event loop; runs in the loop of a `BlockingClient`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypedDict, TypeVar, Unpack

from comfy_fsm.core.updates import Update
from comfy_fsm.live.blocking.client import BlockingClient
from comfy_fsm.live.blocking.task_handle import BlockingTask, adapted
from comfy_fsm.live.dispatch.dispatcher import Dispatcher, Stuck

__all__ = ["BlockingDispatcher", "Dispatching", "Enqueuing"]

_T = TypeVar("_T")


class Dispatching(TypedDict, total=False):
    """Options of `Dispatcher`, besides its client."""

    capacity: int | Mapping[str, int]
    weights: Mapping[str, float] | None
    affinity: float
    ageing_seconds: float
    round_seconds: float
    retry_seconds: tuple[float, float]
    still_seconds: float | None
    look_seconds: float
    extra_data: Mapping[str, Any] | None


class Enqueuing(TypedDict, total=False):
    """Options of `Dispatcher.enqueue`, besides the workflow."""

    priority: float
    extra_data: Mapping[str, Any] | None
    tag: Any
    on_progress: Callable[[Update], Any] | None
    on_complete: Callable[[BlockingTask], Any] | None


class BlockingDispatcher:
    """Blocking form of `Dispatcher`: `with BlockingClient(urls, log=…) as client, BlockingDispatcher(client) as
    dispatcher:`.
    """

    def __init__(self, client: BlockingClient, **settings: Unpack[Dispatching]) -> None:
        self._calls = client
        self._settings = settings
        self._dispatcher: Dispatcher

    def __enter__(self) -> Self:
        async def opened() -> Dispatcher:
            return await Dispatcher(self._calls.inner, **self._settings).__aenter__()

        self._dispatcher = self._calls.call(opened())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop posting jobs. Waiting jobs stay in the log, posted ones go on."""
        self._calls.call(self._dispatcher.close())

    def enqueue(self, workflow: Mapping[str, Any], **options: Unpack[Enqueuing]) -> BlockingTask:
        """Queue a workflow to run when its turn comes; higher priorities go first. The job is in the log on return."""
        given: Any = dict(options)
        if given.get("on_complete") is not None:
            given["on_complete"] = adapted(self._calls, given["on_complete"])
        return BlockingTask(self._calls, self._calls.call(self._dispatcher.enqueue(workflow, **given)))

    def drain(self, server: str) -> None:
        """Give this server no more jobs, and take back those it has not begun, if another server can take them."""
        self._calls.call(self._dispatcher.drain(server))

    def undrain(self, server: str) -> None:
        self._calls.call(self._dispatcher.undrain(server))

    @property
    def waiting(self) -> list[BlockingTask]:
        """Jobs that are not posted yet, in the order in which they were enqueued, including those of an earlier
        process.
        """
        return [BlockingTask(self._calls, handle) for handle in self._asked(lambda its: its.waiting)]

    @property
    def stuck(self) -> list[Stuck]:
        """Tasks at servers that do not answer or make no progress."""
        return self._asked(lambda its: its.stuck)

    @property
    def standings(self) -> dict[str, str]:
        """Standing of each server: `up`, `trial`, `out` or `still`."""
        return self._asked(lambda its: its.standings)

    def _asked(self, ask: Callable[[Dispatcher], _T]) -> _T:
        """Call a function with the dispatcher, in its loop, where nothing changes meanwhile."""

        async def asked() -> _T:
            return ask(self._dispatcher)

        return self._calls.call(asked())
