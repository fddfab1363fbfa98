"""What may run beside a client and see what it sees: endpoints, alerts and spans."""

from __future__ import annotations

from comfy_fsm.core.observations import AnyObservation
from comfy_fsm.core.registry.task import Task

__all__ = ["Companion"]


class Companion:
    """Given to `Client.accompany`; what it raises ends it alone."""

    def observe(self, observation: AnyObservation) -> None:
        """An observation was committed and folded. Must be quick: whoever wrote it waits."""

    def submitted(self, task: Task) -> None:
        """A task of ours was posted; called where the application called `submit`, in its context."""

    async def run(self) -> None:
        """Whatever it does meanwhile, until it is cancelled when the client is closed."""
