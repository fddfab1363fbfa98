"""A dispatcher in plain calls, in the loop of a client in plain calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypedDict, TypeVar, Unpack

from comfy_fsm.core.wire.updates import Update
from comfy_fsm.live.blocking.client import BlockingClient
from comfy_fsm.live.blocking.tasks import BlockingTask, adapted
from comfy_fsm.live.dispatch.dispatcher import Dispatcher, Stuck

__all__ = ["BlockingDispatcher", "Dispatching", "Enqueuing"]

_T = TypeVar("_T")


class Dispatching(TypedDict, total=False):
    """What `Dispatcher` takes beside its client."""

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
    """What `Dispatcher.enqueue` takes beside the workflow."""

    priority: float
    extra_data: Mapping[str, Any] | None
    tag: Any
    on_progress: Callable[[Update], Any] | None
    on_complete: Callable[[BlockingTask], Any] | None


class BlockingDispatcher:
    """`with BlockingClient(urls, log=…) as client, BlockingDispatcher(client) as dispatcher:`; what `Dispatcher` is."""

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
        """Place nothing more. What waits stays in the log, what was placed goes on."""
        self._calls.call(self._dispatcher.close())

    def enqueue(self, workflow: Mapping[str, Any], **options: Unpack[Enqueuing]) -> BlockingTask:
        """Have it run where and when its turn comes, the sooner the higher its priority; it is in the log on return."""
        given: Any = dict(options)
        if given.get("on_complete") is not None:
            given["on_complete"] = adapted(self._calls, given["on_complete"])
        return BlockingTask(self._calls, self._calls.call(self._dispatcher.enqueue(workflow, **given)))

    def drain(self, server: str) -> None:
        """Give this server nothing more, and take back what it has not begun if another one can take it."""
        self._calls.call(self._dispatcher.drain(server))

    def undrain(self, server: str) -> None:
        self._calls.call(self._dispatcher.undrain(server))

    @property
    def waiting(self) -> list[BlockingTask]:
        """What is not placed yet, in the order of its enqueuing; after a crash, what an earlier process left."""
        return [BlockingTask(self._calls, handle) for handle in self._asked(lambda its: its.waiting)]

    @property
    def stuck(self) -> list[Stuck]:
        """Tasks at servers that do not answer, or where nothing moves."""
        return self._asked(lambda its: its.stuck)

    @property
    def standings(self) -> dict[str, str]:
        """How each server stands: `up`, `trial`, `out` or `still`."""
        return self._asked(lambda its: its.standings)

    def _asked(self, ask: Callable[[Dispatcher], _T]) -> _T:
        """In the loop, where what it looks at does not change meanwhile."""

        async def asked() -> _T:
            return ask(self._dispatcher)

        return self._calls.call(asked())
